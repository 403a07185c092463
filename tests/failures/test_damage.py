"""Each damage does what its name says, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from sadm_utils.failures.damage import CUT, DAMAGES, Volume, nod, shift, strengthen_bias
from sadm_utils.failures.lesions import add_ball, deepest_white_matter, slab

SHAPE = (30, 36, 24)


@pytest.fixture(scope="module")
def volume() -> Volume:
    """An ellipsoid of two tissues with a small lesion."""
    x, y, z = np.indices(SHAPE)
    radius = np.sqrt(((x - 15) / 11) ** 2 + ((y - 18) / 13) ** 2 + ((z - 12) / 9) ** 2)
    rng = np.random.default_rng(0)
    tissue = np.where(radius < 0.7, 0.9, 0.5) + 0.05 * rng.standard_normal(SHAPE)
    mask = (radius < 1).astype(np.uint8)
    seg = ((abs(x - 15) < 2) & (abs(y - 14) < 2) & (abs(z - 12) < 2)).astype(np.uint8)
    image = np.clip(np.where(seg > 0, 0.2, tissue), 0, 1) * mask
    return Volume(image.astype(np.float32), mask, seg, 3.0)


def center(array: np.ndarray) -> np.ndarray:
    return np.argwhere(array > 0).mean(axis=0)


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_volumes_are_volumes(volume: Volume, name: str) -> None:
    spoiled = DAMAGES[name].spoil(volume, np.random.default_rng(1))
    again = DAMAGES[name].spoil(volume, np.random.default_rng(1))
    assert spoiled.image.shape == spoiled.mask.shape == spoiled.seg.shape == SHAPE
    assert spoiled.image.dtype == np.float32 and spoiled.mask.dtype == np.uint8
    assert spoiled.image.min() >= 0 and spoiled.image.max() <= 1
    assert not spoiled.image[spoiled.mask == 0].any()
    assert np.array_equal(spoiled.image, again.image)
    assert np.array_equal(spoiled.image, volume.image) == (name == "intact")


def test_intensity_damages_leave_the_masks_alone(volume: Volume) -> None:
    for name in ("ghosts", "bias", "noise", "thick", "contrast"):
        spoiled = DAMAGES[name].spoil(volume, np.random.default_rng(1))
        assert np.array_equal(spoiled.mask, volume.mask)
        assert np.array_equal(spoiled.seg, volume.seg)


def test_other_contrast_turns_dark_and_bright_over(volume: Volume) -> None:
    spoiled = DAMAGES["contrast"].spoil(volume, None)
    inside = volume.mask > 0
    assert np.corrcoef(spoiled.image[inside], volume.image[inside])[0, 1] < -0.9


def test_bias_brightens_one_side(volume: Volume) -> None:
    half = SHAPE[0] // 2
    ratio = [v.image[half:].sum() / v.image[:half].sum() for v in (volume, strengthen_bias(volume))]
    assert ratio[1] > 1.5 * ratio[0]
    flat, inside = strengthen_bias(volume, strength=0.0), volume.mask > 0
    assert np.corrcoef(flat.image[inside], volume.image[inside])[0, 1] > 0.99


def test_head_moves_by_millimeters_and_turns_by_degrees(volume: Volume) -> None:
    moved = shift(volume, mm=6.0)
    assert np.allclose(center(moved.mask) - center(volume.mask), (0, 2, 0), atol=0.05)
    assert np.array_equal(nod(volume, degrees=0.0).image, volume.image)
    turned = nod(volume, degrees=90.0)
    spread = [np.ptp(np.argwhere(v.mask), axis=0) for v in (volume, turned)]
    assert spread[1][2] > spread[0][2]  # the long axis now points up


def test_field_of_view_ends_with_or_without_the_mask(volume: Volume) -> None:
    noticed, unnoticed = (DAMAGES[name].spoil(volume, None) for name in ("cut", "unnoticed"))
    filled = np.flatnonzero(volume.mask.any(axis=(0, 1)))
    last = int(filled[-1] - CUT * (filled[-1] - filled[0]))
    assert not noticed.image[:, :, last + 1 :].any() and noticed.image[:, :, last].any()
    assert not noticed.mask[:, :, last + 1 :].any()
    assert np.array_equal(unnoticed.mask, volume.mask)
    assert np.array_equal(unnoticed.image, noticed.image)


def test_skull_is_a_bright_shell_inside_a_larger_mask(volume: Volume) -> None:
    spoiled = DAMAGES["skull"].spoil(volume, np.random.default_rng(1))
    shell = (spoiled.mask > 0) & (volume.mask == 0)
    assert shell.sum() > 0.2 * volume.mask.sum() and spoiled.image[shell].mean() > 0.7
    assert np.array_equal(spoiled.image[volume.mask > 0], volume.image[volume.mask > 0])


def test_drawn_lesion_has_its_size_place_and_darkness(volume: Volume) -> None:
    middle = deepest_white_matter(volume)
    assert volume.image[middle] > 0.7
    small, large = (add_ball(volume, middle, d, 0.5) for d in (3.0, 18.0))
    assert small.seg.sum() >= 1
    ideal = 4 / 3 * np.pi * 3**3  # voxels of a ball of 18 mm at 3 mm
    assert 0.8 * ideal < large.seg.sum() < 1.3 * ideal
    assert np.isclose(large.image[middle], 0.5 * volume.image[middle])
    far = np.abs(np.indices(SHAPE) - np.reshape(middle, (3, 1, 1, 1))).max(axis=0) > 4
    assert np.array_equal(large.image[far], volume.image[far])


def test_slab_keeps_the_height(volume: Volume) -> None:
    part, index = slab(volume, 11)
    assert np.array_equal(part.image[:, :, index], volume.image[:, :, 11])
    assert part.image.shape[2] < SHAPE[2]
    bottom, index = slab(volume, 1)
    assert index == 1 and np.array_equal(bottom.seg[:, :, 1], volume.seg[:, :, 1])
