"""Fusion of the two anomaly maps."""

import numpy as np
import pytest
import torch

from sadm_utils.sadm.fusion import fuse


@pytest.mark.parametrize("wrap", [np.array, torch.tensor])
def test_sum_and_weighted_sum(wrap) -> None:
    x, y = wrap([0.0, 0.2, 1.0]), wrap([0.5, 0.4, 1.0])
    assert fuse(x, y).tolist() == pytest.approx([0.5, 0.6, 2.0])
    assert fuse(x, y, beta=0.25).tolist() == pytest.approx([0.375, 0.35, 1.0])


def test_ends_of_the_range_are_the_single_maps() -> None:
    x, y = np.random.default_rng(0).random((2, 5, 5))
    assert np.array_equal(fuse(x, y, 0.0), y)
    assert np.array_equal(fuse(x, y, 1.0), x)


def test_misuse_is_refused() -> None:
    x = np.zeros((2, 3))
    with pytest.raises(ValueError, match="beta"):
        fuse(x, x, 1.5)
    with pytest.raises(ValueError, match="shapes"):
        fuse(x, np.zeros((3, 2)))
