"""Pictures of one whole scan: many axial slices, and the three planes through a point."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from sadm_utils.viz.slices import CONTOUR
from sadm_utils.viz.style import new_figure, styled

PLANES = ("sagittal", "coronal", "axial")
# White, with a dark edge: to be seen on bright tissue, and told from the outlines.
CROSS = {
    "color": "white", "linewidth": 0.8, "alpha": 0.8,
    "path_effects": [withStroke(linewidth=1.8, foreground="black", alpha=0.5)],
}  # fmt: skip


@styled
def scan_and_map(
    image: np.ndarray,
    reconstruction: np.ndarray,
    score: np.ndarray,
    *,
    threshold: float | None = None,
    columns: int = 6,
    panel: float = 1.7,
) -> Figure:
    """Scan, reconstruction, and the score over the scan, on evenly spaced axial slices.

    Parameters
    ----------
    image, reconstruction, score
        (X, Y, Z), RAS, cubic voxels; scan and reconstruction in [0, 1]. The score says where there
        is something to see: slices are spread over its nonzero voxels.
    threshold
        Outline what scores at least this much.
    """
    filled = np.flatnonzero(score.any(axis=(0, 1)))
    low, high = (filled[0], filled[-1]) if filled.size else (0, score.shape[2] - 1)
    inset = 0.08 * (high - low)
    chosen = np.linspace(low + inset, high - inset, columns).round().astype(int)
    limit = score_limit(score, threshold)
    height = panel * image.shape[1] / image.shape[0]
    figure, axes = new_figure(3, columns, (columns * panel + 0.7, 3 * height + 0.25))
    drawn = None
    for column, k in enumerate(chosen):
        _gray(axes[0, column], image[:, :, k])
        _gray(axes[1, column], reconstruction[:, :, k])
        drawn = draw_overlay(axes[2, column], image[:, :, k], score[:, :, k], limit, threshold)
        axes[0, column].set_title(f"slice {k}")
    for row, label in enumerate(("scan", "reconstruction", "anomaly map")):
        axes[row, 0].set_ylabel(label)
    figure.colorbar(drawn, ax=axes[2, :], shrink=0.9, label="score", pad=0.01, extend="max")
    return figure


@styled
def three_planes(
    image: np.ndarray,
    score: np.ndarray,
    point: Sequence[int],
    zooms: Sequence[float],
    *,
    threshold: float | None = None,
    panel: float = 3.4,
) -> Figure:
    """The planes through a voxel, with the score over the scan.

    Parameters
    ----------
    image, score
        (X, Y, Z) with axes to the right, front and top; the image in [0, 1].
    point
        Voxel that all planes hold; marked by a cross.
    zooms
        Voxel size in millimeters along X, Y, Z.
    """
    figure, axes = new_figure(1, 3, (3 * panel + 0.9, panel + 0.3))
    limit, drawn = score_limit(score, threshold), None
    for axis, ax in enumerate(axes[0]):
        planes = [np.take(volume, point[axis], axis=axis) for volume in (image, score)]
        across = [a for a in range(3) if a != axis]
        drawn = draw_overlay(ax, *planes, limit, threshold)
        ax.set_aspect(zooms[across[1]] / zooms[across[0]])
        for draw, place in zip((ax.axvline, ax.axhline), across, strict=True):
            draw(point[place], **CROSS)
        ax.set_title(PLANES[axis])
    figure.colorbar(drawn, ax=axes[0, :], shrink=0.8, label="score", pad=0.01, extend="max")
    return figure


def score_limit(score: np.ndarray, threshold: float | None = None) -> float:
    """Upper end of the color scale: the 99.8th percentile of nonzero scores, at least twice the
    threshold, so that a map without anything anomalous does not look alarming."""
    inside = score[score > 0]
    top = float(np.percentile(inside, 99.8)) if inside.size else 1.0
    return max(top, 2 * threshold if threshold else 0.0)


def draw_overlay(
    ax: Axes, plane: np.ndarray, score: np.ndarray, limit: float, threshold: float | None = None
) -> Any:
    """Lay a slice of scores over a slice of the scan; low scores are transparent."""
    _gray(ax, plane)
    opacity = 0.85 * np.clip(score / limit, 0, 1) ** 1.2
    drawn = ax.imshow(
        score.T, origin="lower", cmap="inferno", vmin=0, vmax=limit, alpha=opacity.T
    )
    if threshold and (score >= threshold).any():
        ax.contour((score >= threshold).T, levels=[0.5], colors=CONTOUR, linewidths=0.9)
    return drawn


def _gray(ax: Axes, plane: np.ndarray) -> None:
    ax.imshow(plane.T, origin="lower", cmap="gray", vmin=0, vmax=1)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
