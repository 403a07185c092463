"""Anomaly maps against the released code's outputs, scipy, and cases done by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from sadm_utils.evaluation.anomaly_map import (
    gaussian_kernel,
    intensity_map,
    median_filter,
    reconstruction_map,
    slice_scores,
    ssim_map,
)

GOLDEN = Path(__file__).parents[1] / "golden"
SSIM = np.load(GOLDEN / "ssim.npz")
STEP = {name: value.squeeze() for name, value in np.load(GOLDEN / "test_step.npz").items()}


def ssim_in_double(x: np.ndarray, y: np.ndarray, sigma: float) -> np.ndarray:
    """The formula once more, with scipy and in float64."""
    x, y, kernel = x.astype(float), y.astype(float), gaussian_kernel(sigma).numpy()

    def smooth(field):
        for axis in range(3):
            field = ndimage.correlate1d(field, kernel, axis=axis, mode="mirror")
        return field

    c1, c2 = ((k * max(np.ptp(x), np.ptp(y))) ** 2 for k in (0.01, 0.03))
    mx, my = smooth(x), smooth(y)
    top = (2 * mx * my + c1) * (2 * (smooth(x * y) - mx * my) + c2)
    return top / ((mx**2 + my**2 + c1) * (smooth(x * x) + smooth(y * y) - mx**2 - my**2 + c2))


@pytest.mark.parametrize("sigma", [1.0, 1.5])
def test_ssim_equals_reference(sigma):
    pred, target = SSIM["pred"][0, 0], SSIM["target"][0, 0]
    ours = ssim_map(pred, target, sigma)
    # The golden map itself is 2.5e-4 away from float64 (cancellation in float32); in its own
    # arithmetic it is met exactly (tests/reference/test_released_rules.py).
    assert np.abs(ours - SSIM[f"ssim_map_sigma{sigma:g}"][0, 0]).max() < 4e-4
    assert np.abs(ours - ssim_in_double(pred, target, sigma)).max() < 2e-6


def test_ssim_interior_mean_equals_reference():
    inner = (slice(4, -4),) * 3
    ours = ssim_map(SSIM["pred"], SSIM["target"])[0, 0][inner].mean()
    assert ours == pytest.approx(float(SSIM["ssim_agg_sigma1"]), abs=5e-5)


def test_kernel_sizes_and_sum():
    assert [len(gaussian_kernel(s)) for s in (0.5, 1.0, 1.5, 2.0)] == [5, 9, 11, 15]
    assert float(gaussian_kernel(1.0).sum()) == pytest.approx(1)


def test_ssim_of_equal_volumes_is_one_and_keeps_the_type():
    x = np.random.default_rng(0).random((12, 10, 9), dtype=np.float32)
    assert ssim_map(x, x) == pytest.approx(1, abs=1e-4)
    assert (ssim_map(np.zeros((6, 6, 6)), np.zeros((6, 6, 6))) == 1).all()
    assert torch.is_tensor(ssim_map(torch.from_numpy(x), torch.from_numpy(x)))


def test_ssim_is_lowest_where_the_change_is():
    x = np.random.default_rng(0).random((20, 20, 20), dtype=np.float32) * 0.1 + 0.5
    y = x.copy()
    y[9:12, 9:12, 9:12] = 0
    low = np.unravel_index(np.argmin(ssim_map(x, y)), x.shape)
    assert all(7 <= i <= 13 for i in low)


def test_ssim_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="one shape"):
        ssim_map(np.zeros((8, 8, 8)), np.zeros((8, 8, 9)))
    with pytest.raises(ValueError, match="too small"):
        ssim_map(np.zeros((8, 8, 4)), np.zeros((8, 8, 4)))


@pytest.mark.parametrize("size", [3, 5])
def test_median_equals_scipy(size):
    volume = np.random.default_rng(1).normal(size=(11, 9, 8)).astype(np.float32)
    np.testing.assert_array_equal(median_filter(volume, size), ndimage.median_filter(volume, size))
    where = volume > 0
    expected = ndimage.median_filter(volume, size) * where
    np.testing.assert_array_equal(median_filter(volume, size, where), expected)


@pytest.mark.parametrize("size", [0, 1])
def test_median_can_be_left_out(size):
    volume = np.random.default_rng(1).normal(size=(5, 6, 7)).astype(np.float32)
    np.testing.assert_array_equal(median_filter(volume, size), volume)
    with pytest.raises(ValueError, match="odd, got 2"):
        median_filter(volume, 2)


def test_maps_equal_reference_test_step():
    mask = STEP["mask"]
    plain = reconstruction_map(STEP["orig"], STEP["final"], mask, median=1)
    assert np.abs(plain - STEP["residual_premedian"]).max() < 2e-3
    smooth = reconstruction_map(STEP["orig"], STEP["final"], mask)
    assert np.abs(smooth - STEP["residual_median5"] * mask).max() < 2e-3
    exact = (1 - ssim_in_double(STEP["orig"], STEP["final"], 1.0)) * mask
    assert np.abs(plain - exact).max() < 2e-4
    score = smooth + STEP["cam"] * mask
    assert np.abs(score - STEP["score_map"]).max() < 2e-3


def test_reconstruction_map_modes_and_mask():
    image, reconstruction = np.full((6, 6, 6), 0.7), np.full((6, 6, 6), 0.4)
    mask = np.zeros((6, 6, 6), np.uint8)
    mask[1:5, 1:5, 1:5] = 1
    l1 = reconstruction_map(image, reconstruction, mask, mode="l1", median=1)
    l2 = reconstruction_map(image, reconstruction, mask, mode="l2", median=0)
    assert l1[2, 2, 2] == pytest.approx(0.3) and l2[2, 2, 2] == pytest.approx(0.09)
    assert l1[0].max() == 0 and l1.dtype == np.float32
    with pytest.raises(ValueError, match="ssim, l1, l2"):
        reconstruction_map(image, reconstruction, mask, mode="L1")


def test_the_data_range_may_be_fixed():
    image, reconstruction = np.random.default_rng(0).random((2, 9, 9, 9), np.float32) * 0.5
    fixed = reconstruction_map(image, reconstruction, median=1, data_range=1.0)
    np.testing.assert_allclose(fixed, 1 - ssim_map(image, reconstruction, data_range=1.0))
    assert fixed.mean() < reconstruction_map(image, reconstruction, median=1).mean()


def test_intensity_baselines_by_hand():
    image = np.zeros((2, 2, 2), np.float32)
    image[0] = [[0.2, 0.5], [0.5, 0.9]]
    mask = np.zeros((2, 2, 2))
    mask[0] = 1
    for mode, expected in {
        "dark": [[0.8, 0.5], [0.5, 0.1]],
        "bright": [[0.2, 0.5], [0.5, 0.9]],
        "contrast": [[0.3, 0], [0, 0.4]],
    }.items():
        score = intensity_map(image, mask, mode)
        np.testing.assert_allclose(score[0], expected, atol=1e-6)
        assert (score[1] == 0).all()


def test_slice_scores_equal_reference_along_its_axis():
    ours = slice_scores(STEP["score_map"], STEP["mask"], axis=0)
    np.testing.assert_allclose(ours, STEP["metric_AnomalyScoreRecoPerSlice"], atol=1e-6)
    assert slice_scores(STEP["score_map"], STEP["mask"]).shape == (26,)
