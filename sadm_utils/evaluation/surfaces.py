"""How far apart the borders of two masks are, in millimeters: Hausdorff and average distance.

The *surface* of a mask are its voxels with at least one of six neighbors outside; what lies beyond
the volume counts as outside. Distances go between voxel centers, straight, and the voxel size is
part of them. Without one of the two surfaces there is no distance: ``nan``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

NAN = float("nan")
Spacing = float | tuple[float, ...]


@dataclass(frozen=True)
class Surface:
    """Centers of the surface voxels of a mask, (N, 3) in units of the spacing."""

    points: np.ndarray

    @cached_property
    def tree(self) -> cKDTree:
        """For the nearest point; made once and used for every method that is compared."""
        return cKDTree(self.points)


def find_surface(mask: np.ndarray, spacing: Spacing = 1.0) -> Surface:
    """Find the surface of a mask (X, Y, Z), > 0 inside; ``spacing`` is the voxel size."""
    solid = np.asarray(mask) > 0
    box = ndimage.find_objects(solid.view(np.uint8))
    if not box:
        return Surface(np.zeros((0, solid.ndim)))
    padded = np.pad(solid[box[0]], 1)
    inner = padded.copy()
    for axis in range(padded.ndim):
        for step in (-1, 1):  # the padding is False, so nothing is carried around the edge
            inner &= np.roll(padded, step, axis)
    corner = np.array([part.start - 1 for part in box[0]])
    return Surface((np.argwhere(padded & ~inner) + corner) * np.asarray(spacing, float))


def distances(a: Surface, b: Surface) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each point of ``a`` to ``b``, and of each point of ``b`` to ``a``."""
    if not len(a.points) or not len(b.points):
        return np.zeros(0), np.zeros(0)
    return b.tree.query(a.points)[0], a.tree.query(b.points)[0]


def surface_metrics(prediction: Surface, truth: Surface) -> dict[str, float]:
    """``hd95`` and ``assd`` of two surfaces; both ``nan`` when either is empty."""
    one, other = distances(prediction, truth)
    return {"hd95": _farthest(one, other, 95.0), "assd": _average(one, other)}


def hausdorff(
    prediction: np.ndarray, truth: np.ndarray, spacing: Spacing = 1.0, percentile: float = 100.0
) -> float:
    """Hausdorff distance between the surfaces of two masks, in units of ``spacing``.

    Parameters
    ----------
    prediction, truth : array (X, Y, Z), > 0 inside
    spacing : float or one per axis
        Voxel size; with millimeters the result is in millimeters (the reference stays in voxels).
    percentile : float
        100 for the farthest point, 95 for the robust variant: the larger of the two directions'
        percentiles, as in MONAI (others pool both directions first).

    Returns
    -------
    float, ``nan`` when either mask is empty.
    """
    return _farthest(*_between(prediction, truth, spacing), percentile)


def average_surface_distance(
    prediction: np.ndarray, truth: np.ndarray, spacing: Spacing = 1.0
) -> float:
    """Average symmetric surface distance: the mean over all points of both surfaces.

    Each point counts once, whichever surface it is on (others average the two directions' means).
    Parameters and the result for an empty mask are those of `hausdorff`.
    """
    return _average(*_between(prediction, truth, spacing))


def _between(
    prediction: np.ndarray, truth: np.ndarray, spacing: Spacing
) -> tuple[np.ndarray, np.ndarray]:
    if np.shape(prediction) != np.shape(truth):
        raise ValueError(f"masks of shapes {np.shape(prediction)} and {np.shape(truth)} differ")
    return distances(find_surface(prediction, spacing), find_surface(truth, spacing))


def _farthest(one: np.ndarray, other: np.ndarray, percentile: float) -> float:
    if not one.size:
        return NAN
    return float(max(np.percentile(one, percentile), np.percentile(other, percentile)))


def _average(one: np.ndarray, other: np.ndarray) -> float:
    return float((one.sum() + other.sum()) / (one.size + other.size)) if one.size else NAN
