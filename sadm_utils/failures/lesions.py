"""Lesions drawn into a healthy brain, to ask how small and how faint is too small and too faint."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from sadm_utils.failures.damage import Volume

DIAMETERS_MM = (5.0, 9.0, 15.0, 24.0)
DARKNESS = {"dark": 0.45, "faint": 0.85}  # times the tissue that was there
SLAB_MM = 27.0  # on both sides of the lesion: what the maps look at


def deepest_white_matter(volume: Volume) -> tuple[int, int, int]:
    """The voxel farthest from everything that is not bright, below the top of the head."""
    inside = volume.image[volume.mask > 0]
    bright = (volume.image > np.percentile(inside, 60)) & (volume.mask > 0)
    filled = ndimage.binary_opening(bright) if ndimage.binary_opening(bright).any() else bright
    depth = ndimage.distance_transform_edt(filled)
    return tuple(int(i) for i in np.unravel_index(depth.argmax(), depth.shape))


def add_ball(
    volume: Volume, center: tuple[int, int, int], diameter_mm: float, factor: float
) -> Volume:
    """Darken a ball to ``factor`` times its values, with an edge one voxel wide.

    The lesion mask is where the ball is at least half there; it has one voxel at least.
    """
    grid = np.indices(volume.image.shape)
    distance = np.sqrt(((grid - np.reshape(center, (3, 1, 1, 1))) ** 2).sum(axis=0))
    weight = np.clip(diameter_mm / 2 / volume.voxel_mm + 0.5 - distance, 0, 1)
    image = volume.image * (1 - weight * (1 - factor))
    seg = (weight >= 0.5) & (volume.mask > 0)
    return replace(volume, image=image.astype(np.float32), seg=seg.astype(np.uint8))


def slab(volume: Volume, height: int) -> tuple[Volume, int]:
    """The slices around a height, and the height's index in them."""
    reach = max(round(SLAB_MM / volume.voxel_mm), 5)
    low = max(height - reach, 0)
    part = slice(low, height + reach + 1)
    arrays = (array[:, :, part] for array in (volume.image, volume.mask, volume.seg))
    return Volume(*arrays, volume.voxel_mm), height - low
