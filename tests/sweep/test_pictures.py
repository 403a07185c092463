"""One slice of the same subject with the maps of all methods, from points that keep maps."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sadm_utils.errors import UserError
from sadm_utils.evaluation.anomaly_map import intensity_map
from sadm_utils.evaluation.scoring import VolumeMaps
from sadm_utils.evaluation.stage import save_maps
from sadm_utils.sadm.fusion import fuse
from sadm_utils.sweep.collect import collect
from sadm_utils.sweep.pictures import write_pictures
from sadm_utils.sweep.slices import STEPS, Picture, pack, read_pictures
from tests.sweep.test_collect import point_id, write_sweep

SHAPE = (12, 10, 5)
LESIONS = {"s0": 2, "s1": 9, "s2": 5}  # voxels in the slice 3; the median is that of s2
RECORDS: dict[str, dict[str, Any]] = {
    "08-ae": {"notebook": "08_baselines", "stages": ["baseline-ae", "baseline-ae-evaluation"],
              "settings": {}},
    "06-a": {"notebook": "06_evaluation", "stages": ["evaluation"],
             "settings": {"evaluation.median": 3}},
    "06-b": {"notebook": "06_evaluation", "stages": ["evaluation"],
             "settings": {"evaluation.median": 3}},
}  # fmt: skip
PLANNED = {"chains": [
    {"results": ["08-ae", "06-a", "08-unfinished"]}, {"results": ["06-b"]},
]}  # fmt: skip
CDDPM, SADM, AE = ("cDDPM", ""), ("SADM_res", "draem"), ("AE", "")


def volumes(subject: str) -> VolumeMaps:
    """Maps of one subject; float16 holds their values."""
    draw = np.random.default_rng(int(subject[1:]))
    image, rebuilt, residual, one = draw.random((4, *SHAPE)).astype(np.float16).astype(np.float32)
    seg = np.zeros(SHAPE, np.uint8)
    seg[: LESIONS[subject], 4, 3] = seg[2, 2, 1] = 1
    mask = np.ones(SHAPE, np.uint8)
    supervised = {("draem", "residual"): 4 * one}
    return VolumeMaps(subject, image, mask, seg, rebuilt, residual, supervised)


def write_points(folder: Path, kept: str = "s2") -> Path:
    """A sweep's folder: chapter 6 twice, with three subjects; chapter 8 with one."""
    for subject in LESIONS:
        maps = volumes(subject)
        for name, own in (("06-a", maps), ("06-b", replace(maps, residual=1 - maps.residual))):
            save_maps(folder / "points" / name / "evaluation" / "maps" / "ATLAS", own)
    stage = folder / "points" / "08-ae" / "baseline-ae-evaluation"
    (stage / "maps" / "ATLAS").mkdir(parents=True)
    own = volumes(kept)
    arrays = {"image": own.image, "score": own.residual / 2, "reconstruction": own.reconstruction}
    np.savez_compressed(stage / "maps" / "ATLAS" / f"{kept}.npz", mask=own.mask, seg=own.seg,
                        **{k: v.astype(np.float16) for k, v in arrays.items()})  # fmt: skip
    (stage / "subjects.csv").write_text("method,annotations,subject\nAE,,s0\n")
    (folder / "results").mkdir()
    return folder


def collected(folder: Path, **changes: Any) -> dict[str, Picture] | None:
    write_pictures(PLANNED, {k: v | changes for k, v in RECORDS.items()}, folder)
    return read_pictures(folder / "results" / "slices.npz")


def assert_close(found: np.ndarray, wanted: np.ndarray) -> None:
    """Equal but for rounding: half a step of the plane's own range."""
    np.testing.assert_allclose(found, wanted, atol=0.51 * np.ptp(wanted) / STEPS)


def test_slice_with_most_lesion_of_the_median_subject(tmp_path: Path) -> None:
    found = collected(write_points(tmp_path))
    assert found is not None and list(found) == ["ATLAS"]
    picture, maps = found["ATLAS"], volumes("s2")
    assert (picture.subject, picture.index) == ("s2", 3)
    np.testing.assert_array_equal(picture.annotation, maps.seg[:, :, 3])
    assert_close(picture.image, maps.image[:, :, 3])
    assert set(picture.maps) == {CDDPM, SADM, AE, ("Intensity", ""), ("Intensity_med", ""),
                                 ("Unet_res", "draem")}  # fmt: skip
    assert set(picture.reconstructions) == {CDDPM, AE}


def test_values_are_those_of_each_method_within_the_rounding(tmp_path: Path) -> None:
    found = collected(write_points(tmp_path))
    assert found is not None
    picture, maps = found["ATLAS"], volumes("s2")
    fused = fuse(maps.residual, maps.supervised["draem", "residual"])
    smooth = intensity_map(maps.image, maps.mask, "dark", 3)
    wanted = {CDDPM: maps.residual, SADM: fused, AE: maps.residual / 2,
              ("Unet_res", "draem"): maps.supervised["draem", "residual"],
              ("Intensity_med", ""): smooth}  # fmt: skip
    for row, volume in wanted.items():
        half = volume.astype(np.float16).astype(np.float32) if row == AE else volume
        assert_close(picture.maps[row], half[:, :, 3])
        assert picture.tops[row] == pytest.approx(np.percentile(half, 99.8)), "of the volume"
    for row in (CDDPM, AE):
        assert_close(picture.reconstructions[row], maps.reconstruction[:, :, 3])


def test_collecting_writes_them(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path, plain0={"settings": {"evaluation.median": 3}})
    collect(folder, mixed=True)
    assert not (folder / "results" / "slices.npz").exists(), "no maps were kept"
    save_maps(folder / "points" / point_id("plain", 0) / "evaluation/maps/WMH", volumes("s0"))
    save_maps(folder / "points" / point_id("other", 0) / "evaluation/maps/ATLAS", volumes("s0"))
    collect(folder, mixed=True)
    found = read_pictures(folder / "results" / "slices.npz")
    assert found is not None and list(found) == ["WMH"], "of the first chain"


def test_another_subject_of_chapter_8_is_left_out(tmp_path: Path) -> None:
    found = collected(write_points(tmp_path, kept="s0"))
    assert found is not None and AE not in found["ATLAS"].maps and CDDPM in found["ATLAS"].maps


def test_without_chapter_6_the_subject_is_that_of_chapter_8(tmp_path: Path) -> None:
    write_pictures(PLANNED, {"08-ae": RECORDS["08-ae"]}, write_points(tmp_path, kept="s1"))
    found = read_pictures(tmp_path / "results" / "slices.npz")
    assert found is not None and set(found["ATLAS"].maps) == {AE}
    assert found["ATLAS"].subject == "s1"


def test_same_maps_make_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for name in "ab":
        collected(write_points(tmp_path / name))
        files.append((tmp_path / name / "results" / "slices.npz").read_bytes())
    assert files[0] == files[1]


def test_without_maps_there_is_no_file_and_an_old_one_goes(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "slices.npz").write_bytes(b"old")
    assert collected(tmp_path) is None
    # Chapter 8 once kept the first subject, without its name.
    maps = tmp_path / "points" / "08-ae" / "baseline-ae-evaluation" / "maps"
    maps.mkdir(parents=True)
    np.savez_compressed(maps / "ATLAS.npz", score=np.zeros(SHAPE))
    assert collected(tmp_path) is None


def test_flat_map_comes_back(tmp_path: Path) -> None:
    picture = Picture("s", 0, np.ones((4, 3), np.float32), np.zeros((4, 3), np.float32))
    picture.add(CDDPM, np.zeros((4, 3, 2)))
    (tmp_path / "slices.npz").write_bytes(pack({"MSLUB": picture}))
    found = read_pictures(tmp_path / "slices.npz")
    assert found is not None and (found["MSLUB"].image == 1).all()
    assert not found["MSLUB"].maps[CDDPM].any() and found["MSLUB"].tops[CDDPM] == 1.0


def test_whole_table_stays_below_a_megabyte() -> None:
    """22 rows and 8 reconstructions of noise within a brain, on four sets of the paper's size."""
    draw, shape, line = np.random.default_rng(0), (96, 96), np.linspace(-1, 1, 96)
    across = np.hypot(*np.meshgrid(line, 0.8 * line)) < 0.8
    pictures = {}
    for test_set in "abcd":
        plane = Picture("s", 0, draw.random(shape) * across, across * 1.0)
        for k in range(22):
            score = (draw.random(shape) * across)[..., None]
            plane.add((f"method {k}", "draem"), score, score if k < 8 else None)
        pictures[test_set] = plane
    assert len(pack(pictures)) < 1_000_000


def test_damaged_files_are_told_of(tmp_path: Path) -> None:
    folder = write_points(tmp_path)
    file = folder / "points" / "08-ae" / "baseline-ae-evaluation" / "maps" / "ATLAS" / "s2.npz"
    file.write_bytes(b"PK")
    (sentence,) = write_pictures(PLANNED, RECORDS, folder)
    asked = r"maps in .*08-ae.* cannot be read .*: delete .*-ae-evaluation and .*point.json,"
    assert re.search(asked, sentence)
    found = read_pictures(folder / "results" / "slices.npz")
    assert found is not None and AE not in found["ATLAS"].maps and CDDPM in found["ATLAS"].maps
    (folder / "results" / "slices.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"slices\.npz is damaged: collect the sweep again"):
        read_pictures(folder / "results" / "slices.npz")
