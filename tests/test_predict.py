"""A scan in a sagittal, turned orientation gets its map back in its own voxels."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from sadm_utils import predict
from sadm_utils.data.brain import load_template
from sadm_utils.data.register import apply_matrix
from sadm_utils.data.scan import Registered, register_scan
from sadm_utils.errors import UserError
from sadm_utils.evaluation.scoring import VolumeMaps
from sadm_utils.evaluation.tables import read_results, write_results
from sadm_utils.predict import choose_network, open_finished_run, predict_scan
from sadm_utils.predict.finished import validation_threshold
from sadm_utils.predict.numbers import Prediction, warnings_of

SHAPE = (68, 62, 50)
NATIVE = np.array([[0, 0.2, 3.4, -85], [-3.0, 0, 0.1, 100], [0.1, -3.0, 0, 85], [0, 0, 0, 1]])
"""Voxels of a sagittal scan: 3 x 3 x 3.4 mm, axes PIR, a little oblique."""
MARKER_MNI = (-34.0, -10.0, 22.0)
"""Center of a dark cube in the left hemisphere."""


def quiet(sentence: str) -> None:
    """Show nothing."""


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template's brain, 4 % smaller and shifted, with a dark cube, as a sagittal scan."""
    template = load_template()
    world = np.diag([0.96, 0.96, 0.96, 1.0])
    world[:3, 3] = (6, -9, 14)
    place = np.linalg.inv(template.affine) @ np.linalg.inv(world) @ NATIVE
    image = template.image * template.mask * 700
    center = np.rint(np.linalg.solve(template.affine, [*MARKER_MNI, 1]))[:3].astype(int)
    image[tuple(slice(c - 7, c + 8) for c in center)] = 60
    path = tmp_path_factory.mktemp("raw") / "sub-1_T1w.nii.gz"
    header = nib.Nifti1Header()
    header["descrip"] = b"name of a patient"
    array = apply_matrix(ndimage.uniform_filter(image, 2), place, SHAPE)
    native = nib.Nifti1Image(array.astype(np.int16), NATIVE, header)
    native.set_qform(NATIVE, 1)
    native.set_sform(NATIVE, 1)
    nib.save(native, path)
    return path


@pytest.fixture(scope="module")
def marker(scan: Path) -> np.ndarray:
    """The cube in the scan's own voxels, bool."""
    array = np.asanyarray(nib.load(scan).dataobj)
    dark = ndimage.binary_opening((array > 20) & (array < 100))
    labels, _ = ndimage.label(dark)
    return labels == np.bincount(labels.ravel())[1:].argmax() + 1


@pytest.fixture(scope="module")
def registered(scan: Path) -> Registered:
    return register_scan(scan, bias_correction=False)


@pytest.fixture
def reuse(registered: Registered, monkeypatch: pytest.MonkeyPatch) -> None:
    """Registration costs seconds and is tested elsewhere: once is enough."""
    monkeypatch.setattr(predict.scan, "register_scan", lambda scan, mask: registered)


@pytest.fixture(scope="module")
def result(scan, finished_dir, registered, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """Folder and record of a prediction with the tiny run's own models. Read only."""
    folder = tmp_path_factory.mktemp("result") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict.scan, "register_scan", lambda scan, mask: registered)
        return folder, predict_scan(scan, folder, open_finished_run(finished_dir), show=quiet)


def volume(folder: Path, part: str) -> nib.Nifti1Image:
    return nib.load(folder / f"sub-1_T1w_{part}.nii.gz")


def test_run_is_opened_as_it_was_made(finished_dir: Path) -> None:
    run = open_finished_run(finished_dir)
    assert (run.config.profile, run.seed) == ("smoke", 0)
    assert run.config.encoder.width == 4 and run.config.evaluation.median == 3
    assert run.config.data.voxel_mm == 6.0 and run.data_dir is not None
    run.require("sadm-draem-residual")


def test_images_lie_on_the_scans_own_grid(result, scan: Path, registered: Registered) -> None:
    folder, record = result
    own = nib.load(scan)
    mask = volume(folder, "brain_mask").get_fdata() > 0
    for part in ("anomaly_map", "reconstruction", "brain_mask"):
        image = volume(folder, part)
        assert image.shape == own.shape == SHAPE
        np.testing.assert_array_equal(image.affine, own.affine)
        for form in ("sform", "qform"):
            assert int(image.header[f"{form}_code"]) == 1
        values = image.get_fdata()
        assert np.isfinite(values).all() and not values[~mask].any(), "0 outside of the brain"
        assert b"patient" not in image.header.binaryblock
    brain = registered.brain.array
    assert mask.any() and not (mask & ~brain).any(), "the scan's own brain is the limit"
    assert volume(folder, "anomaly_map").get_fdata().max() > 0
    rebuilt = volume(folder, "reconstruction").get_fdata()
    assert rebuilt.min() >= 0 and 0 < rebuilt.max() <= 1
    assert record["numbers"]["highest_score"] == pytest.approx(
        volume(folder, "anomaly_map").get_fdata().max(), abs=1e-3
    )


def test_record_names_the_models_and_comes_last(result, finished_dir: Path) -> None:
    folder, record = result
    assert json.loads((folder / "record.json").read_text()) == json.loads(json.dumps(record))
    for name, parent in record["parents"].items():
        known = json.loads((finished_dir / name / "record.json").read_text())
        assert parent["identity"] == known["identity"]
    assert set(record["parents"]) == {"data", "cddpm", record["network"]}
    assert set(record["files"]) == {p.name for p in folder.iterdir()}
    assert record["seconds"]["total"] >= record["seconds"]["score"] >= 0
    assert record["scan_space"]["orientation"] == "PIR"


def test_arrays_can_be_looked_at_before_anything_is_written(
    scan, finished_dir, reuse, tmp_path
) -> None:
    seen = []

    def look(prediction: Prediction) -> None:
        seen.append((prediction, (tmp_path / "out").exists()))

    run = open_finished_run(finished_dir)
    record = predict_scan(scan, tmp_path / "out", run, show=quiet, look=look)
    ((prediction, written),) = seen
    assert not written and prediction.native["anomaly_map"].shape == SHAPE
    highest = float(prediction.native["anomaly_map"].max())
    assert record["numbers"]["highest_score"] == pytest.approx(highest, abs=1e-3)


def test_map_returns_to_the_place_it_came_from(
    scan, marker, registered, finished_dir, reuse, tmp_path, monkeypatch
) -> None:
    """Let the score be 1 in the cube's place as the models see it: it must cover the cube."""

    def find_dark(image, mask, model, networks, settings, seed) -> VolumeMaps:
        inside = ndimage.binary_erosion(mask > 0, iterations=1)
        dark = (inside & (image < 0.25)).astype(np.float32)
        zero = np.zeros_like(dark)
        return VolumeMaps("", image, mask, zero, image, dark, dict.fromkeys(networks, zero))

    monkeypatch.setattr(predict.scan, "compute_maps", find_dark)
    monkeypatch.setattr(predict.scan, "write_report", lambda *_: None)
    run = open_finished_run(finished_dir)
    predict_scan(scan, tmp_path / "out", run, "draem", show=quiet)
    found = volume(tmp_path / "out", "anomaly_map").get_fdata() > 0.5
    labels, _ = ndimage.label(found)
    largest = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    expected = np.array(ndimage.center_of_mass(marker))
    apart = nib.affines.voxel_sizes(NATIVE) * (ndimage.center_of_mass(largest) - expected)
    assert np.linalg.norm(apart) < 6.0, "millimeters; the models' voxels are 6 mm"
    assert (NATIVE @ [*expected, 1])[0] < 0, "the cube is on the left"
    rebuilt = volume(tmp_path / "out", "reconstruction").get_fdata()
    own = nib.load(scan).get_fdata()
    inside = ndimage.binary_erosion(volume(tmp_path / "out", "brain_mask").get_fdata() > 0)
    assert np.corrcoef(rebuilt[inside], own[inside])[0, 1] > 0.8
    assert np.corrcoef(rebuilt[::-1][inside], own[inside])[0, 1] < 0.6


class Page(HTMLParser):
    """Tags and attributes of a page; complains about tags that are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_report_is_one_file_and_says_what_it_is(result) -> None:
    folder, record = result
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 2
    for image in images:
        assert image["src"].startswith("data:image/png;base64,") and len(image["alt"]) > 40
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object")
        assert "href" not in attributes and (tag == "img" or "src" not in attributes)
    assert "url(" not in text and "@import" not in text
    assert "no medical device" in text and "sub-1_T1w_anomaly_map.nii.gz" in text
    assert f"{record['numbers']['highest_score']:.3f}" in text
    assert record["parents"]["cddpm"]["identity"] in text


def test_names_are_escaped_in_the_report(result) -> None:
    from sadm_utils.predict.report import number_rows, origin_rows, summary

    _, record = result
    odd = record | {"annotations": "<b>", "threshold": None}
    assert "<b>" in summary(odd) and "no validation threshold" in summary(odd)
    assert len(number_rows(odd)) < len(number_rows(record | {"threshold": 0.5}))
    assert all(isinstance(value, str) for _, value in origin_rows(record))


def test_other_scan_in_the_folder_is_not_overwritten(
    result, scan, finished_dir, tmp_path
) -> None:
    folder = shutil.copytree(result[0], tmp_path / "out")
    record = json.loads((folder / "record.json").read_text())
    other = {"scan": "/other/T1.nii.gz", "scan_sha256": "0"}
    (folder / "record.json").write_text(json.dumps(record | other))
    with pytest.raises(UserError, match="already holds the results of /other/T1.nii.gz"):
        predict_scan(scan, folder, open_finished_run(finished_dir), show=quiet)
    file = folder / "report.html"
    with pytest.raises(UserError, match="is a file: name a folder"):
        predict_scan(scan, file, open_finished_run(finished_dir), show=quiet)


def test_moved_scan_is_the_same_scan(result, scan, finished_dir, reuse, tmp_path) -> None:
    folder = shutil.copytree(result[0], tmp_path / "out")
    (tmp_path / "moved").mkdir()
    moved = Path(shutil.copy(scan, tmp_path / "moved"))
    record = predict_scan(moved, folder, open_finished_run(finished_dir), show=quiet)
    assert record["scan"] == str(moved.resolve())


def test_interrupted_prediction_has_no_record(
    result, scan, finished_dir, reuse, tmp_path, monkeypatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    folder = shutil.copytree(result[0], tmp_path / "out")
    monkeypatch.setattr(predict.scan, "write_report", stop)
    with pytest.raises(KeyboardInterrupt):
        predict_scan(scan, folder, open_finished_run(finished_dir), show=quiet)
    assert not (folder / "record.json").exists()
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def test_best_network_and_its_threshold(chain_dir: Path) -> None:
    run = open_finished_run(chain_dir)
    rows, extra = read_results(chain_dir / "evaluation")
    first = rows[rows["method"] == "SADM_res"].iloc[0].to_dict() | {"metric": "dice"}
    made = [
        first | {"annotations": source, "test_set": test_set, "mean": mean}
        for source, test_set, mean in (
            ("draem", "Brats21", 0.3), ("draem", "MSLUB", 0.5), ("brats21", "Brats21", 0.9),
            ("brats21", "MSLUB", 0.1), ("atlas_v2", "Brats21", 1.0), ("draem", "DRAEM", 1.0),
        )
    ]  # fmt: skip
    thresholds = [
        {"method": "SADM_res", "annotations": "brats21", "test_set": test_set, "threshold": value}
        for test_set, value in (("Brats21", 0.2), ("MSLUB", 0.6), ("ATLAS", 0.3), ("DRAEM", 9.0))
    ]
    assert extra["thresholds"], "the evaluation writes them"
    extra["thresholds"] = [*thresholds, thresholds[0] | {"method": "Unet", "threshold": 7.0}]
    write_results(chain_dir / "evaluation", pd.DataFrame(made), extra)
    chosen = choose_network(run)
    assert chosen.annotations == "brats21" and "evaluation" in chosen.reason
    assert choose_network(run, "draem").stage == "sadm-draem-residual"
    limit = validation_threshold(run, "brats21")
    assert limit.value == 0.3 and set(limit.by_set) == {"Brats21", "MSLUB", "ATLAS"}
    assert validation_threshold(run, "draem").value is None
    (chain_dir / "evaluation" / "record.json").unlink()
    assert choose_network(run).annotations == "draem"
    assert validation_threshold(run, "brats21").value is None


def test_mistakes_are_sentences(scan, finished_dir, tmp_path) -> None:
    with pytest.raises(UserError, match="holds no finished models.*notebooks 01 to 05"):
        open_finished_run(tmp_path / "nothing")
    run = open_finished_run(finished_dir)
    with pytest.raises(UserError, match="run notebooks/05_sadm_training.ipynb"):
        choose_network(run, "atlas_v2")
    with pytest.raises(UserError, match="choose one of draem, brats21, atlas_v2"):
        predict_scan(scan, tmp_path / "out", run, "drame", show=quiet)
    four = tmp_path / "four.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((5, 5, 5, 2), np.float32), np.eye(4)), four)
    with pytest.raises(UserError, match="not three dimensions"):
        predict_scan(four, tmp_path / "out", run, show=quiet)
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(scan.read_bytes()[:3000])
    with pytest.raises(UserError, match="broken.nii.gz is truncated or damaged"):
        predict_scan(broken, tmp_path / "out", run, show=quiet)
    assert not (tmp_path / "out").exists()


def test_command_prints_the_files(scan, finished_dir, reuse, tmp_path, capsys) -> None:
    from sadm_utils.cli import app

    out = tmp_path / "maps"
    app(["predict", str(scan), "--out", str(out), "--run-dir", str(finished_dir)],
        standalone_mode=False)  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Registering sub-1_T1w.nii.gz to MNI space."
    assert lines[-1].strip() == "record.json" and (out / "record.json").exists()


def test_warnings_name_what_is_odd() -> None:
    facts = {"source": "stripped", "overlap_with_template": 0.97, "likeness_to_template": 0.7}
    assert warnings_of(facts, phantom=False) == []
    assert "simulated" in warnings_of(facts, phantom=True)[0]
    assert "not look like T1" in warnings_of(facts | {"likeness_to_template": -0.4}, False)[0]
    assert "does not fit" in warnings_of(facts | {"overlap_with_template": 0.85}, False)[0]
    skull = {"source": "template", "note": "The scan has a skull.", "overlap_with_template": 0.5}
    assert warnings_of(facts | skull, False) == ["The scan has a skull."]
