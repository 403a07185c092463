"""Example slices are chosen by rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sadm_utils.config import load_config
from sadm_utils.data.examples import (
    central_slices,
    example_brain,
    example_phantom,
    largest_lesions,
    sick_sets,
)
from sadm_utils.data.io import load_nifti
from sadm_utils.data.layout import read_split
from sadm_utils.data.phantom import write_cohort
from sadm_utils.data.stage import SEED_OF_COHORT
from sadm_utils.data.volumes import Volumes
from sadm_utils.errors import UserError
from sadm_utils.runs import Run


class FakeStore(dict):
    @property
    def splits(self) -> list[str]:
        return list(self)


def make_volumes(areas: list[int]) -> Volumes:
    """Volumes (N, 6, 8, 8) whose slice 4 has ``areas`` lesion voxels, and slice 2 one fewer."""
    image = np.random.default_rng(0).random((len(areas), 6, 8, 8)).astype(np.float16)
    seg = np.zeros(image.shape, np.uint8)
    for row, area in enumerate(areas):
        seg[row, 4].flat[:area] = 1
        seg[row, 2].flat[: max(area - 1, 0)] = 1
    subjects = [f"s{row}" for row in range(len(areas))]
    label = np.ones(len(areas), int)
    table = pd.DataFrame({"subject": subjects})
    return Volumes(image, np.ones_like(seg), seg, subjects, label, table)


def test_largest_lesions_takes_the_slice_and_leaves_healthy_subjects_out() -> None:
    volumes = make_volumes([5, 0, 9])
    examples = largest_lesions(volumes)
    assert examples.subjects == ["s0", "s2"]
    assert examples.seg.sum((1, 2, 3)).tolist() == [5, 9]
    assert np.array_equal(examples.image[1, 0], volumes.image[2, 4].astype(np.float32))
    with pytest.raises(UserError, match="has a lesion"):
        largest_lesions(make_volumes([0, 0]))


def test_the_typical_example_has_the_median_lesion() -> None:
    examples = largest_lesions(make_volumes([20, 3, 7, 1, 9]))
    assert examples.subjects[examples.typical] == "s2"
    assert examples.take([examples.typical]).seg.sum() == 7


def test_central_slices_are_at_the_height_asked_for() -> None:
    volumes = make_volumes([1, 2])
    assert np.array_equal(central_slices(volumes).image[1, 0], volumes.image[1, 3])
    assert np.array_equal(central_slices(volumes, 1.0).image[0, 0], volumes.image[0, 5])


def test_sick_sets_are_the_annotated_ones() -> None:
    store = FakeStore(IXI_test=0, IXI_val_fold0=0, MSLUB_test=1, Brats21_val=2, Brats21_test=3)
    assert sick_sets(store, "test") == {"MSLUB": 1, "Brats21": 3}
    assert sick_sets(store, "val") == {"Brats21": 2}
    with pytest.raises(UserError, match="no annotated set"):
        sick_sets(FakeStore(IXI_test=0), "test")


def test_the_running_example_is_held_out_and_has_a_lesion(tmp_path: Path) -> None:
    run = Run(tmp_path, load_config("smoke", {"data.holdout": 2}), None, 0)
    store = FakeStore(IXI_test=0, Brats21_val=make_volumes([0, 4, 9]), MSLUB_val=make_volumes([9]))
    assert example_brain(run, store).subjects == ["s1"]
    store["Brats21_val"] = make_volumes([0, 0, 9])
    assert example_brain(run, store).subjects == ["s0"], "never one that is trained on"


def test_the_running_example_is_the_first_tumor_of_the_cohort(tmp_path: Path) -> None:
    folder = write_cohort(tmp_path, {"brats21_val": 1}, SEED_OF_COHORT, 6.0, jobs=1)
    row = read_split(folder, "Brats21_val").iloc[0]
    phantom, twin = example_phantom(6.0), example_phantom(6.0, lesion=False)
    assert np.allclose(load_nifti(row["image_file"]).array, phantom.image, atol=0.51)
    assert np.array_equal(load_nifti(row["seg_file"]).array > 0, phantom.seg > 0)
    assert phantom.seg.any() and not twin.seg.any()
