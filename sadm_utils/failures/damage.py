"""Ways to spoil a processed volume, each as it happens to real scans.

A damage takes the place of something that goes wrong before the models: in the scanner, in the
registration, in skull stripping. All work on volumes as :mod:`sadm_utils.data.store` holds them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from sadm_utils.data.augment import blur, ghost
from sadm_utils.data.preprocess import rescale

GHOSTS, GHOST_INTENSITY = 3, 0.8
BIAS = 0.7  # log brightness at the edge of the field of view
NOISE = 0.1
BLUR_MM = 4.0
DEGREES, SHIFT_MM = 15.0, 12.0
SKULL_MM = 6.0
CUT = 0.35  # share of the brain's height


@dataclass(frozen=True)
class Volume:
    """A processed subject: ``image`` (X, Y, Z) in [0, 1], ``mask`` and ``seg`` {0, 1}."""

    image: np.ndarray
    mask: np.ndarray
    seg: np.ndarray
    voxel_mm: float


@dataclass(frozen=True)
class Damage:
    """A name for tables, where it comes from, and what it does to a volume.

    ``spoil`` gets the volume and a generator, and returns a new volume.
    """

    title: str
    cause: str
    spoil: Callable[[Volume, np.random.Generator], Volume]

    @property
    def short(self) -> str:
        """The title up to its comma, or what comes behind: for the narrow panels of figures."""
        return self.title.rpartition(", ")[2]


Random = np.random.Generator | None
"""Only noise and texture draw from it."""


def _new_intensities(volume: Volume, image: np.ndarray) -> Volume:
    """Scale changed values to [0, 1] by the brain, as preprocessing would have done."""
    scaled = rescale(image, volume.mask) * (volume.mask > 0)
    return replace(volume, image=scaled.astype(np.float32))


def move_head(volume: Volume, rng: Random = None) -> Volume:
    """Ghosts along the second axis: the head has moved during the scan."""
    return _new_intensities(volume, ghost(volume.image, GHOSTS, 1, GHOST_INTENSITY))


def strengthen_bias(volume: Volume, rng: Random = None, strength: float = BIAS) -> Volume:
    """One side brighter than the other by exp(2 · strength): a bias field not corrected."""
    across = np.linspace(-1, 1, volume.image.shape[0])[:, None, None]
    return _new_intensities(volume, volume.image * np.exp(strength * across))


def add_noise(volume: Volume, rng: np.random.Generator) -> Volume:
    """Rician noise of a short scan, with a standard deviation of ``NOISE``."""
    real, imaginary = NOISE * rng.standard_normal((2, *volume.image.shape))
    return _new_intensities(volume, np.hypot(volume.image + real, imaginary))


def thicken_slices(volume: Volume, rng: Random = None) -> Volume:
    """Blur along the third axis: slices much thicker than a voxel."""
    zooms = (volume.voxel_mm,) * 3
    return _new_intensities(volume, blur(volume.image, (0.0, 0.0, BLUR_MM), zooms))


def turn_over(volume: Volume, rng: Random = None) -> Volume:
    """Dark becomes bright inside the brain, roughly as on a T2-weighted scan."""
    return _new_intensities(volume, 1 - volume.image)


def nod(volume: Volume, rng: Random = None, degrees: float = DEGREES) -> Volume:
    """Turn the head about the ear-to-ear axis: a registration that failed."""

    def turned(array: np.ndarray, order: int) -> np.ndarray:
        return ndimage.rotate(array, degrees, axes=(1, 2), reshape=False, order=order)

    return _carry(volume, turned)


def shift(volume: Volume, rng: Random = None, mm: float = SHIFT_MM) -> Volume:
    """Move the head to the front: a registration that failed less."""
    offset = (0, mm / volume.voxel_mm, 0)
    return _carry(volume, lambda array, order: ndimage.shift(array, offset, order=order))


def leave_skull(volume: Volume, rng: np.random.Generator) -> Volume:
    """A bright shell around the brain, inside the mask: skull stripping that left too much."""
    brain = volume.mask > 0
    mask = ndimage.binary_dilation(brain, iterations=round(SKULL_MM / volume.voxel_mm))
    texture = 0.8 + 0.1 * rng.standard_normal(brain.shape)
    image = np.where(mask & ~brain, texture.clip(0, 1), volume.image)
    return replace(volume, image=image.astype(np.float32), mask=mask.astype(np.uint8))


def cut_top(volume: Volume, rng: Random = None) -> Volume:
    """A field of view that ends below the top of the brain; the mask ends with it."""
    kept = _below_the_cut(volume.mask)
    return replace(
        volume, image=volume.image * kept, mask=volume.mask * kept, seg=volume.seg * kept
    )


def cut_top_unnoticed(volume: Volume, rng: Random = None) -> Volume:
    """The same cut, but with the mask of a whole brain, such as the template's."""
    return replace(volume, image=volume.image * _below_the_cut(volume.mask))


def _carry(volume: Volume, change: Callable[[np.ndarray, int], np.ndarray]) -> Volume:
    """Apply a geometric change to all three arrays, labels by the nearest voxel."""
    image = np.clip(change(volume.image, 1), 0, 1).astype(np.float32)
    mask, seg = (change(labels, 0).astype(np.uint8) for labels in (volume.mask, volume.seg))
    return Volume(image * (mask > 0), mask, seg, volume.voxel_mm)


def _below_the_cut(mask: np.ndarray) -> np.ndarray:
    """(1, 1, Z) uint8: 1 below the cut."""
    filled = np.flatnonzero(mask.any(axis=(0, 1)))
    if not filled.size:
        return np.ones((1, 1, mask.shape[2]), np.uint8)
    last = filled[-1] - CUT * (filled[-1] - filled[0])
    return (np.arange(mask.shape[2]) <= last)[None, None].astype(np.uint8)


INTACT = "as it is"
DAMAGES: dict[str, Damage] = {
    "intact": Damage(INTACT, "", lambda volume, rng: volume),
    "ghosts": Damage("ghosts", "the head moved", move_head),
    "bias": Damage("bias field", "not corrected", strengthen_bias),
    "noise": Damage("noise", "a short scan", add_noise),
    "thick": Damage("thick slices", "a fast protocol", thicken_slices),
    "contrast": Damage("other contrast", "dark and bright exchanged, as on T2", turn_over),
    "nod": Damage(f"turned by {DEGREES:g}°", "failed registration", nod),
    "shift": Damage(f"moved by {SHIFT_MM:g} mm", "failed registration", shift),
    "skull": Damage("skull left", "failed skull stripping", leave_skull),
    "cut": Damage("top cut off", "small field of view", cut_top),
    "unnoticed": Damage("cut under a whole mask", "small field of view", cut_top_unnoticed),
}
