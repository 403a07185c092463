"""The phantoms that all figures share: the tumor of chapter 1, its healthy twin, and others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from sadm_utils.data.phantom import simulate_subject
from sadm_utils.data.preprocess import rescale

SEED = 1  # with index 0 the subject whose twin chapter 1 shows
VOXEL_MM = 3.0


@dataclass(frozen=True)
class Pair:
    """A sick subject and the same person without the illness; all arrays are (X, Y, Z).

    ``image`` and ``twin`` are in [0, 1] on one scale, ``mask`` and ``seg`` are 0 or 1.
    """

    image: np.ndarray
    twin: np.ndarray
    mask: np.ndarray
    seg: np.ndarray
    affine: np.ndarray


@cache
def pair(index: int = 0, kind: str = "tumor", voxel_mm: float = VOXEL_MM) -> Pair:
    """Simulate a subject and its healthy twin."""
    sick, well = (
        simulate_subject(kind, SEED, index, voxel_mm, lesion=lesion) for lesion in (True, False)
    )
    scale = np.percentile(well.image[well.mask > 0], 99)
    image, twin = ((s.image / scale).clip(0, 1).astype(np.float32) for s in (sick, well))
    return Pair(image, twin, sick.mask, sick.seg, sick.affine)


@cache
def healthy(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Raw values and brain mask of a healthy subject, both (X, Y, Z)."""
    subject = simulate_subject("healthy", SEED, index, VOXEL_MM)
    return subject.image, subject.mask


def scaled(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Scale a raw volume to [0, 1] as the book's preprocessing does."""
    return rescale(image, mask) * (mask > 0)


def window(mask: np.ndarray, margin: int = 2) -> tuple[slice, slice]:
    """The part of an axial slice that holds the brain, so that figures show no empty frame."""
    spans = []
    for axis in (0, 1):
        filled = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        spans.append(slice(max(filled[0] - margin, 0), filled[-1] + margin + 1))
    return spans[0], spans[1]
