"""Augmentation equals the released code's operations, and its distributions are METHOD.md's."""

import time
from pathlib import Path

import numpy as np
import pytest

from sadm_utils.data import augment
from sadm_utils.data.augment import Augmenter
from tests.golden.compare import relative_error

FILE = "transforms.npz"
GOLDEN = Path(__file__).parents[1] / "golden" / FILE


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN)


def brain_slice(size: int = 96) -> np.ndarray:
    x, y = np.meshgrid(*[np.linspace(-1, 1, size)] * 2, indexing="ij")
    inside = x**2 / 0.6 + y**2 / 0.8 < 1
    return (inside * (0.5 + 0.4 * np.sin(9 * x) * np.cos(7 * y))).astype(np.float32)


def test_gamma_equals_reference(golden, golden_error):
    result = augment.change_gamma(golden["after_resample"], 0.8)
    golden_error(FILE, relative_error(result, golden["gamma_0p8"]))


def test_bias_field_equals_reference(golden, golden_error):
    image = golden["after_resample"]
    result = image * augment.bias_field(image.shape, golden["bias_coeffs"])
    golden_error(FILE, relative_error(result, golden["bias"]))


def test_blur_equals_reference(golden, golden_error):
    result = augment.blur(golden["after_resample"], (1.2, 0.7, 1.9), (2, 2, 2))
    golden_error(FILE, relative_error(result, golden["blur_std_1p2_0p7_1p9"]))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_ghosting_equals_reference(golden, axis, golden_error):
    result = augment.ghost(golden["after_resample"], 5, axis, 0.7)
    golden_error(FILE, relative_error(result, golden[f"ghost_n5_axis{axis}_int0p7"]))


def test_slice_bias_is_a_plane_of_a_volume_bias():
    rng, twin = np.random.default_rng(3), np.random.default_rng(3)
    plane = augment._slice_bias((20, 24), rng)
    coefficients, z = twin.uniform(-0.5, 0.5, 20), twin.uniform(-1, 1, 1)[0]
    depth = 401
    volume = augment.bias_field((20, 24, depth), coefficients)
    k = int(np.argmin(np.abs(augment._coordinates(depth) - z)))
    np.testing.assert_allclose(plane, volume[:, :, k], rtol=0.02)


def test_augmenter_is_reproducible_and_stays_in_range():
    image, everything = brain_slice(), Augmenter(1, 1, 1, 1)
    before = image.copy()
    for seed in range(40):
        one = everything(image, np.random.default_rng(seed))
        two = everything(image, np.random.default_rng(seed))
        assert one.dtype == np.float32 and one.shape == image.shape
        assert 0 <= one.min() and one.max() <= 1
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(image, before)
    assert not np.array_equal(one, everything(image, np.random.default_rng(99)))


def test_probability_zero_changes_nothing():
    image = brain_slice()
    np.testing.assert_array_equal(Augmenter(0, 0, 0, 0)(image, np.random.default_rng(0)), image)


@pytest.mark.parametrize("name", ["gamma", "bias_field", "blur", "ghosting"])
def test_each_probability_is_respected(name):
    image = brain_slice(32)
    off = {"gamma": 0.0, "bias_field": 0.0, "blur": 0.0, "ghosting": 0.0}
    one = Augmenter(**{**off, name: 0.3})
    rng = np.random.default_rng(1)
    changed = np.mean([not np.array_equal(one(image, rng), image) for _ in range(400)])
    assert 0.22 < changed < 0.38


def test_blur_is_given_in_millimeters():
    image = brain_slice()
    off = {"gamma": 0.0, "bias_field": 0.0, "blur": 1.0, "ghosting": 0.0}
    fine, coarse = (
        Augmenter(**off, voxel_mm=size)(image, np.random.default_rng(2)) for size in (1.0, 3.0)
    )
    assert np.abs(fine - image).mean() > 2 * np.abs(coarse - image).mean() > 0


def test_augmenting_a_slice_takes_under_a_millisecond():
    image, everything, rng = brain_slice(), Augmenter(1, 1, 1, 1), np.random.default_rng(0)
    times = []
    for _ in range(50):
        start = time.perf_counter()
        everything(image, rng)
        times.append(time.perf_counter() - start)
    assert np.min(times) < 1e-3
