"""Example slices are chosen by rule."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sadm_utils.data.examples import central_slices, largest_lesions, sick_sets
from sadm_utils.data.volumes import Volumes
from sadm_utils.errors import UserError


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
    return Volumes(image, np.ones_like(seg), seg, subjects, label, pd.DataFrame())


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
