"""A threshold moves over an anomaly map: what is marked, what is hit, what is missed.

The page holds no score but, for each voxel, how many of the slider's thresholds it reaches. So the
mask at every stop is exact, and so are Dice, precision and recall, which the page counts itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sadm_utils.viewers.layers import (
    VERDICT,
    Panel,
    Reading,
    Slider,
    colored_verdict,
    outline,
    picture,
    verdict,
    where,
)
from sadm_utils.viewers.pack import box, exact_edges, levels, plain, shades, slices_on_screen
from sadm_utils.viewers.viewer import Viewer
from sadm_utils.viz.slices import CONTOUR, _array, _draw, _grid, _limits, largest_slice
from sadm_utils.viz.style import styled

STOPS = 120
RATES = ("dice", "precision", "recall")


def threshold_viewer(
    image: Any,
    score: Any,
    seg: Any,
    mask: Any = None,
    *,
    alt: str,
    start: float | None = None,
    thresholds: Sequence[float] | None = None,
) -> Viewer:
    """Two sliders: the threshold and the slice. Dice, precision and recall are the volume's.

    Parameters
    ----------
    image, score, seg : array (X, Y, Z)
        The scan in [0, 1], its anomaly map, and the lesion mask. Voxels with ``score >= threshold``
        are marked, as in ``sadm_utils.evaluation.metrics``.
    mask : array (X, Y, Z), optional
        Brain mask: voxels of the brain count, and those of the lesion. By default all count.
    alt
        What is to be seen, for those who cannot see it.
    start
        Threshold at which the slider starts; it becomes one of the stops. By default the middle.
    thresholds
        The stops of the slider, at most 255; by default `STOPS` up to the largest score.

    Raises
    ------
    ValueError
        If no voxel has a positive score and no thresholds are given.
    """
    image, score, lesion = _array(image), plain(score), _array(seg) > 0
    counted = np.ones(score.shape, bool) if mask is None else (_array(mask) > 0) | lesion
    edges = slider_edges(score[counted], start, thresholds)
    stop = len(edges) // 2 if start is None else int(np.abs(edges - start).argmin())
    level = np.where(counted, levels(score, edges), 0).astype(np.uint8)
    part = box((level > 0) | lesion | (image > 0))  # what is left out is never marked
    arrays = {
        "image": slices_on_screen(shades(image[part], (0, 1))),
        "levels": slices_on_screen(level[part]),
        "truth": slices_on_screen(lesion[part]).astype(np.uint8),
    }
    low, shape = part[2].start, arrays["levels"].shape[1:]
    sliders = [
        Slider("threshold", "threshold", [f"{edge:.4g}" for edge in edges], stop),
        Slider("slice", "slice", [f"slice {low + k}" for k in range(len(arrays["levels"]))],
               largest_slice(lesion) - low),
    ]  # fmt: skip
    panels = _panels(shape, int(_limits(level, "score")[1]))
    readings = [Reading(name.capitalize(), "threshold", rate=name) for name in RATES]
    still = _still(image, level, lesion, edges, stop)
    return Viewer(
        alt, arrays, sliders, panels, still, readings, VERDICT, counted=("levels", "truth")
    )


def slider_edges(
    scores: np.ndarray, start: float | None, thresholds: Sequence[float] | None
) -> np.ndarray:
    """The stops of the slider: the given thresholds, or even ones up to the highest score."""
    if thresholds is None:
        top = float(scores.max()) if scores.size else 0.0
        if top <= 0:
            raise ValueError("no voxel has a positive score: there is nothing to threshold")
        thresholds = top * np.arange(1, STOPS + 1) / STOPS
    return exact_edges([*thresholds, *([] if start is None else [start])])


def rates(level: np.ndarray, lesion: np.ndarray, stop: int) -> dict[str, float]:
    """Dice, precision and recall of a stop, as the page counts them; nan where undefined."""
    marked = level > stop
    hits, size, positives = int((marked & lesion).sum()), int(marked.sum()), int(lesion.sum())
    precision = hits / size if size else math.nan
    if not positives:
        return {"dice": math.nan, "precision": precision, "recall": math.nan}
    dice, recall = 2 * hits / (size + positives), hits / positives
    return {"dice": dice, "precision": precision, "recall": recall}


def _panels(shape: tuple[int, int], top: int) -> list[Panel]:
    scan, marked = picture("image", ["slice"]), where("levels", ["slice"], "threshold")
    decision = [scan, verdict(marked, "truth", ["slice"])]
    scale = picture("levels", ["slice"], "score", top=max(top, 1))
    edge = outline(where("truth", ["slice"]), CONTOUR)
    return [
        Panel("the decision over the scan", decision, shape),
        Panel("anomaly map, lesion outlined", [scale, edge], shape),
    ]


@styled
def _still(
    image: np.ndarray, level: np.ndarray, lesion: np.ndarray, edges: np.ndarray, stop: int
) -> Figure:
    """The map, and the decision at four thresholds around the first."""
    k = largest_slice(lesion)
    stops = [round(stop * f) for f in (0.4, 0.7, 1)] + [round(stop + 0.3 * (len(edges) - 1 - stop))]
    figure, axes = _grid(1, 5, image[:, :, k], 1.9, titles=3)
    scale = level[:, :, k].astype(float)
    _draw(axes[0, 0], scale, "score", _limits(level, "score"), lesion[:, :, k], "anomaly map")
    for ax, number in zip(axes[0, 1:], stops, strict=True):
        draw_decision(ax, image[:, :, k], level[:, :, k] > number, lesion[:, :, k])
        dice = rates(level, lesion, number)["dice"]
        ax.set_title(f"threshold {edges[number]:.3g}\nDice {dice:.3f}")
    return figure


def draw_decision(ax: Any, image: np.ndarray, marked: np.ndarray, lesion: np.ndarray) -> None:
    """Hits, false alarms and misses over a slice (X, Y)."""
    _draw(ax, image)
    ax.imshow(colored_verdict(marked, lesion).transpose(1, 0, 2), origin="lower")
