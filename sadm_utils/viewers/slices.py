"""Through a volume, slice by slice, with the anomaly map over it."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sadm_utils.viewers.layers import Panel, Slider, outline, picture, where
from sadm_utils.viewers.pack import box, shades, slices_on_screen
from sadm_utils.viewers.viewer import Viewer
from sadm_utils.viz.slices import CONTOUR, _array, _draw, _grid, _limits, _spread, largest_slice
from sadm_utils.viz.style import styled

OPACITIES = tuple(range(0, 101, 10))  # percent


def slice_viewer(
    image: Any, score: Any, seg: Any = None, *, alt: str, opacity: int = 60
) -> Viewer:
    """Two sliders: the axial slice, and the opacity of the anomaly map over it.

    Parameters
    ----------
    image, score : array (X, Y, Z)
        The scan in [0, 1] and its anomaly map, which is drawn from 0 to its 99.8th percentile.
    seg : array (X, Y, Z), optional
        Lesion mask, outlined; the slice with the most lesion is shown first.
    alt
        What is to be seen, for those who cannot see it.
    opacity
        Where that slider starts: a multiple of 10 from 0 to 100, in percent.
    """
    image, score = _array(image), _array(score)
    lesion = np.zeros(image.shape, bool) if seg is None else _array(seg) > 0
    part = box((image > 0) | lesion)
    low, high = part[2].start, part[2].stop
    first = largest_slice(lesion) if lesion.any() else (low + high) // 2
    arrays = {
        "image": slices_on_screen(shades(image[part], (0, 1))),
        "score": slices_on_screen(shades(score[part], _limits(score, "score"))),
        "lesion": slices_on_screen(lesion[part]).astype(np.uint8),
    }
    sliders = [
        Slider("slice", "slice", [f"slice {k}" for k in range(low, high)], first - low),
        Slider("opacity", "opacity of the map", [f"{v} %" for v in OPACITIES],
               OPACITIES.index(opacity), [v / 100 for v in OPACITIES]),
    ]  # fmt: skip
    edge, shape = outline(where("lesion", ["slice"]), CONTOUR), arrays["image"].shape[1:]
    scan = picture("image", ["slice"])
    over = picture("score", ["slice"], "score", "opacity", fade=True)
    panels = [
        Panel("anomaly map over the scan", [scan, over, edge], shape),
        Panel("anomaly map", [picture("score", ["slice"], "score"), edge], shape),
    ]
    legend = {CONTOUR: "outline of the lesion"} if lesion.any() else {}
    return Viewer(alt, arrays, sliders, panels, _still(image, score, lesion), legend=legend)


@styled
def _still(image: np.ndarray, score: np.ndarray, lesion: np.ndarray, count: int = 6) -> Figure:
    """Six slices over the height of the brain, the map over each."""
    chosen = _spread(image, count)
    figure, axes = _grid(2, count, image[:, :, 0], 1.5)
    limits = _limits(score, "score")
    for column, k in enumerate(chosen):
        edge = lesion[:, :, k]
        _draw(axes[0, column], image[:, :, k], seg=edge, title=f"slice {k}")
        draw_over(axes[1, column], image[:, :, k], score[:, :, k], limits, 0.85, edge)
    return figure


def draw_over(
    ax: Any,
    image: np.ndarray,
    score: np.ndarray,
    limits: tuple[float, float],
    opacity: float,
    lesion: np.ndarray | None = None,
) -> None:
    """Lay a slice of scores over a slice (X, Y) as the page does: low scores are transparent."""
    _draw(ax, image)
    low, high = limits
    alpha = opacity * np.clip((score - low) / max(high - low, 1e-9), 0, 1) ** 0.7
    ax.imshow(score.T, origin="lower", cmap="inferno", vmin=low, vmax=high, alpha=alpha.T)
    if lesion is not None and lesion.any() and not lesion.all():
        ax.contour(lesion.T, levels=[0.5], colors=CONTOUR, linewidths=1.2)
