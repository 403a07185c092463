"""The phantom cohort: determinism, masks, mass effect, difficulty, files on disk."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from sadm_utils.data.layout import available_splits, check_disjoint, read_split
from sadm_utils.data.phantom import Subject, simulate_subject, write_cohort
from sadm_utils.data.phantom_anatomy import build_tissue, draw_head, region_of_interest
from sadm_utils.data.phantom_fields import Grid, random_field
from sadm_utils.data.phantom_lesions import Stroke, Tumor
from sadm_utils.errors import UserError

SICK = ("tumor", "stroke", "ms")


@lru_cache(maxsize=32)
def subject(kind: str, index: int, voxel_mm: float = 3.0, lesion: bool = True) -> Subject:
    return simulate_subject(kind, 5, index, voxel_mm, lesion)


def unit_range(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    low, high = np.percentile(image[mask > 0], (1, 99))
    return np.clip((image - low) / (high - low), 0, 1)


def best_dice(score: np.ndarray, truth: np.ndarray) -> float:
    ordered = truth[np.argsort(-score, kind="stable")]
    found = np.cumsum(ordered)
    return float((2 * found / (np.arange(1, len(ordered) + 1) + truth.sum())).max())


@pytest.mark.parametrize("kind", ["healthy", *SICK])
def test_subject_is_well_formed(kind):
    made = subject(kind, 0)
    assert made.image.shape == made.mask.shape == made.seg.shape == Grid(3.0).shape
    assert made.image.dtype == np.float32 and made.mask.dtype == made.seg.dtype == np.uint8
    assert np.isfinite(made.image).all() and made.image.max() < 2000
    assert (made.image[made.mask == 0] == 0).all() and (made.image[made.mask == 1] > 0).all()
    assert (made.seg <= made.mask).all()
    assert bool(made.seg.any()) == (kind != "healthy")
    assert 1000 < made.mask.sum() * 27 / 1000 < 2600  # milliliters
    assert nib.aff2axcodes(made.affine) == ("R", "A", "S")
    assert 18 <= made.age <= 90


def test_same_numbers_twice_and_in_another_process():
    here = simulate_subject("tumor", 5, 0, 3.0)
    assert np.array_equal(here.image, subject("tumor", 0).image)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = pool.submit(simulate_subject, "tumor", 5, 0, 3.0).result()
    assert np.array_equal(here.image, there.image) and np.array_equal(here.seg, there.seg)
    assert here.info == there.info


def test_every_argument_changes_the_subject():
    base = subject("healthy", 0).image
    others = [("healthy", 5, 1), ("healthy", 6, 0), ("tumor", 5, 0)]
    for arguments in others:
        assert not np.array_equal(base, simulate_subject(*arguments, 3.0, lesion=False).image)


def test_global_random_state_is_left_alone():
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    simulate_subject("healthy", 5, 0, 4.0)
    assert np.array_equal(before, np.random.get_state()[1])


def test_same_anatomy_at_other_voxel_sizes():
    fine, coarse = subject("stroke", 0, 2.0), subject("stroke", 0, 3.0)
    assert int(fine.mask.sum()) * 8 == pytest.approx(int(coarse.mask.sum()) * 27, rel=0.01)
    assert int(fine.seg.sum()) * 8 == pytest.approx(int(coarse.seg.sum()) * 27, rel=0.05)
    centers = [
        made.affine[:3, 3] + size * np.argwhere(made.seg).mean(axis=0)
        for made, size in ((fine, 2.0), (coarse, 3.0))
    ]
    assert np.abs(centers[0] - centers[1]).max() < 0.5


def test_random_field_has_unit_variance_and_does_not_depend_on_the_voxel_size():
    fine = random_field(np.random.default_rng(0), Grid(2.0), 20)
    coarse = random_field(np.random.default_rng(0), Grid(4.0), 20)
    assert fine.var() == pytest.approx(1, abs=0.2) and abs(fine.mean()) < 0.2
    points = Grid(4.0).points(np.ones(coarse.shape, dtype=bool))
    indices = ((points - Grid(2.0).origin) / 2).T
    inside = np.all((indices > 1) & (indices < np.array(fine.shape)[:, None] - 2), axis=0)
    read = ndimage.map_coordinates(fine, indices[:, inside], order=3)
    assert np.allclose(read, coarse.ravel()[inside], atol=0.01)


def test_age_widens_ventricles_and_sulci():
    grid, inside = Grid(4.0), region_of_interest(4.0)
    still = np.zeros((inside.sum(), 3), np.float32)

    def measure(age: float) -> tuple[float, float]:
        head = draw_head(np.random.default_rng(1), age)
        tissue = build_tissue(np.random.default_rng(2), head, grid, inside, still)
        return float((tissue.ventricle < 0).sum()), float(tissue.fluid[tissue.depth > 0].sum())

    young, old = measure(22), measure(85)
    assert old[0] > 1.5 * young[0] and old[1] > 1.3 * young[1]


def test_tissue_contrast_is_that_of_t1():
    made = subject("healthy", 1)
    image = unit_range(made.image, made.mask)
    fluid, gray, white = np.percentile(image[made.mask > 0], (4, 45, 90))
    assert white > gray + 0.15 > fluid + 0.3


def test_lesions_leave_the_far_side_alone():
    """Same person with and without the illness: equal far away, changed inside."""
    for kind in SICK:
        sick, well = subject(kind, 0), subject(kind, 0, lesion=False)
        assert not well.seg.any()
        change = np.abs(sick.image - well.image) / np.percentile(well.image, 99)
        both = (sick.mask & well.mask) > 0
        assert change[sick.seg > 0].mean() > 0.08
        assert np.median(change[both & (sick.seg == 0)]) < 0.02


def test_tumor_pushes_and_stroke_pulls():
    head = draw_head(np.random.default_rng(0), 50.0)
    tumor = Tumor(np.random.default_rng(1), head)
    stroke = Stroke(np.random.default_rng(1), head)
    inward = np.array([-np.sign(tumor.center[0]), 0, 0])  # toward the midline, deep in the brain
    beside = (tumor.center + 1.1 * tumor.info["radius_mm"] * inward)[None]
    push = tumor.displacement(beside) @ inward
    assert 1.5 < push[0] < 13
    assert np.linalg.norm(tumor.displacement(tumor.center[None] + 150 * inward)) < 0.5
    center = stroke.centers[stroke.number]
    toward = (stroke.apex - center) / np.linalg.norm(stroke.apex - center)
    assert -3 < (stroke.displacement((center + 15 * toward)[None]) @ toward)[0] < 0


def test_mass_effect_moves_the_ventricles():
    grid, inside = Grid(4.0), region_of_interest(4.0)
    head = draw_head(np.random.default_rng(0), 50.0)
    tumor = Tumor(np.random.default_rng(4), head)  # a large one beside the ventricles
    moved = tumor.displacement(grid.points(inside))
    shapes = [
        build_tissue(np.random.default_rng(2), head, grid, inside, shift).ventricle
        for shift in (np.zeros_like(moved), moved)
    ]
    points = grid.points(inside)
    shift = points[shapes[1] < 0].mean(axis=0) - points[shapes[0] < 0].mean(axis=0)
    assert -np.sign(tumor.center[0]) * shift[0] > 0.3  # the midline shifts away from the tumor


@pytest.mark.parametrize(("kind", "limit"), [("tumor", 0.30), ("stroke", 0.30), ("ms", 0.10)])
def test_a_plain_threshold_does_badly(kind, limit):
    scores = []
    for index in range(4):
        made = subject(kind, index)
        brain = made.mask > 0
        darkness = 1 - unit_range(made.image, made.mask)
        scores.append(best_dice(darkness[brain], made.seg[brain]))
    assert np.mean(scores) < limit


def test_lesions_are_of_plausible_size():
    def volumes(kind: str) -> np.ndarray:
        return np.array([subject(kind, index).seg.sum() * 0.027 for index in range(4)])

    assert (volumes("tumor") > 4).all() and (volumes("tumor") < 220).all()
    assert (volumes("stroke") > 2.5).all() and (volumes("stroke") < 130).all()
    assert (volumes("ms") > 0.1).all() and (volumes("ms") < 25).all()


def test_strokes_are_darker_than_tumors():
    """The two pathologies look different: a supervised network must not transfer by itself."""
    level = {
        kind: np.mean([
            np.median(unit_range(made.image, made.mask)[made.seg > 0])
            for made in (subject(kind, index) for index in range(4))
        ])
        for kind in ("tumor", "stroke")
    }
    assert level["tumor"] > level["stroke"] + 0.15


def test_unknown_kind_and_voxel_size_are_refused():
    with pytest.raises(UserError, match="healthy, tumor, stroke, ms"):
        simulate_subject("tumour", 0, 0)
    with pytest.raises(UserError, match="voxel size"):
        simulate_subject("tumor", 0, 0, voxel_mm=0.0)


COUNTS = {"ixi_train": 2, "ixi_val": 1, "ixi_test": 1, "brats21_val": 1, "atlas_test": 1}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    calls = []
    folder = tmp_path_factory.mktemp("cohort") / "phantom"
    result = write_cohort(
        folder, COUNTS, 1, 4.0, jobs=1, progress=lambda *numbers: calls.append(numbers)
    )
    assert result == folder and calls == [(n, 6) for n in range(7)]
    return folder


def test_cohort_has_the_layout_of_the_real_sets(cohort):
    names = ["ATLAS_test", "Brats21_val", "IXI_test", "IXI_train_fold0", "IXI_val_fold0"]
    assert available_splits(cohort) == names
    table = pd.read_csv(cohort / "splits" / "Brats21_val.csv", keep_default_na=False)
    row = table.iloc[0]
    assert list(table.columns[:6]) == [
        "img_name", "age", "label", "img_path", "mask_path", "seg_path"
    ]
    assert row["img_path"] == "/Test/Brats21/t1/PHT00000_t1.nii.gz" and row["label"] == 1
    assert row["seg_path"] == "/Test/Brats21/seg/PHT00000_seg.nii.gz"
    splits = {name: read_split(cohort, name) for name in names}
    assert [len(split) for split in splits.values()] == [1, 1, 1, 2, 1]
    assert check_disjoint(splits) == []
    healthy = splits["IXI_test"].iloc[0]
    assert healthy["label"] == 0 and healthy["seg_path"] == ""
    assert healthy["img_path"].startswith("/Train/ixi/t1/")


def test_files_hold_the_simulated_subject(cohort):
    made = simulate_subject("tumor", 1, 0, 4.0)
    row = read_split(cohort, "Brats21_val").iloc[0]
    image = nib.load(row["image_file"])
    assert np.array_equal(np.asarray(image.dataobj), np.rint(made.image).astype(np.int16))
    assert np.allclose(image.affine, made.affine)
    assert np.array_equal(np.asarray(nib.load(row["seg_file"]).dataobj), made.seg)
    assert row["age"] == made.age


def test_cohort_resumes_and_refreshes(cohort):
    victim = cohort / "Test" / "Brats21" / "seg" / "PHT00000_seg.nii.gz"
    kept = cohort / "Train" / "ixi" / "t1" / "PHH00000_t1.nii.gz"
    stamp, content = kept.stat().st_mtime_ns, victim.read_bytes()
    victim.unlink()
    write_cohort(cohort, COUNTS, 1, 4.0, jobs=1)
    assert victim.read_bytes() == content and kept.stat().st_mtime_ns == stamp
    record = json.loads((cohort / "phantom.json").read_text())
    (cohort / "phantom.json").write_text(json.dumps({**record, "seed": 99}))
    write_cohort(cohort, COUNTS, 1, 4.0, jobs=1)
    assert kept.stat().st_mtime_ns != stamp  # made with another seed: simulated again
    assert not [path for path in cohort.rglob(".*") if path.is_file()]


def test_folds_deal_out_all_healthy_subjects(cohort):
    write_cohort(cohort, {"ixi_train": 2, "ixi_val": 1}, 1, 4.0, folds=3, jobs=1)
    held_out = []
    for fold in range(3):
        train, held = (read_split(cohort, f"IXI_{part}_fold{fold}") for part in ("train", "val"))
        assert len(train) == 2 and not set(train["subject"]) & set(held["subject"])
        held_out += list(held["subject"])
    assert len(set(held_out)) == 3
    assert not (cohort / "splits" / "ATLAS_test.csv").exists()


def test_cohort_refuses_bad_requests_and_foreign_folders(tmp_path):
    with pytest.raises(UserError, match="brats_val.*choose from ixi_train"):
        write_cohort(tmp_path, {"brats_val": 1}, 0, 4.0)
    with pytest.raises(UserError, match="not -1"):
        write_cohort(tmp_path, {"ixi_train": -1}, 0, 4.0)
    with pytest.raises(UserError, match="5 folds"):
        write_cohort(tmp_path, {"ixi_train": 2}, 0, 4.0, folds=5)
    (tmp_path / "Train").mkdir()
    with pytest.raises(UserError, match="no phantom cohort"):
        write_cohort(tmp_path, {"ixi_train": 1}, 0, 4.0)
