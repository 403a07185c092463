"""The weight of the fusion, β·x̃ + (1 − β)·ŷ, from the supervised map to the reconstruction map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sadm_utils.viewers.layers import (
    CURVES,
    VERDICT,
    Panel,
    Reading,
    Slider,
    curve,
    outline,
    picture,
    verdict,
    where,
)
from sadm_utils.viewers.pack import box, on_screen, plain, shades
from sadm_utils.viewers.threshold import draw_decision
from sadm_utils.viewers.viewer import Viewer
from sadm_utils.viz.slices import CONTOUR, _array, _draw, _grid, _limits, largest_slice
from sadm_utils.viz.style import styled

METRICS = {"⌈Dice⌉": "best_dice", "AUPRC": "auprc"}


def fusion_viewer(
    image: Any,
    scores: Mapping[float, Any],
    results: Mapping[float, Mapping[str, float]],
    seg: Any,
    *,
    alt: str,
    start: float = 0.5,
) -> Viewer:
    """One slider: β. The map, its decision at the best threshold, ⌈Dice⌉ and AUPRC.

    Parameters
    ----------
    image : array (X, Y, Z)
        The scan in [0, 1]; the slice with the most lesion is shown.
    scores
        β to the fused map (X, Y, Z), rising in β; each is drawn on its own scale, as Dice does not
        care about scale.
    results
        β to ``best_dice``, ``best_threshold`` and ``auprc`` of the volume, as
        ``sadm_utils.evaluation.metrics.volume_metrics`` gives them.
    seg : array (X, Y, Z)
        Lesion mask.
    alt
        What is to be seen, for those who cannot see it.
    start
        The β to start at: the nearest stop.
    """
    betas, lesion = list(scores), _array(seg) > 0
    k, part = largest_slice(lesion), box((_array(image) > 0) | lesion)[:2]
    planes = {b: plain(scores[b])[:, :, k][part] for b in betas}
    maps = [shades(planes[b], _limits(_array(scores[b]), "score")) for b in betas]
    marked = [planes[b] >= results[b]["best_threshold"] for b in betas]
    scan, truth = (v[:, :, k][part] for v in (_array(image), lesion))
    arrays = {
        "image": on_screen(shades(scan, (0, 1))),
        "maps": on_screen(np.stack(maps)),
        "marked": on_screen(np.stack(marked)).astype(np.uint8),
        "truth": on_screen(truth).astype(np.uint8),
    }
    stop = int(np.abs(np.asarray(betas) - start).argmin())
    slider = Slider("beta", "weight β", [f"β = {b:g}" for b in betas], stop)
    lines = {name: [results[b][metric] for b in betas] for name, metric in METRICS.items()}
    shape = arrays["image"].shape
    decision = [picture("image"), verdict(where("marked", ["beta"]), "truth")]
    fused = [picture("maps", ["beta"], "score"), outline(where("truth"), CONTOUR)]
    panels = [
        Panel("fused map", fused, shape),
        Panel("marked at its best threshold", decision, shape),
        Panel("over the weight β", [curve(betas, lines, "beta", "β")], (3, 4), wide=True),
    ]
    readings = [
        Reading(name, "beta", [f"{v:.3f}" if np.isfinite(v) else "–" for v in values])
        for name, values in lines.items()
    ]
    legend = {**VERDICT, **dict(zip(CURVES, METRICS, strict=True))}
    still = _still(scan, maps, marked, truth, betas, lines["⌈Dice⌉"])
    return Viewer(alt, arrays, [slider], panels, still, readings, legend)


@styled
def _still(
    scan: np.ndarray, maps: list[np.ndarray], marked: list[np.ndarray], truth: np.ndarray,
    betas: list[float], dice: list[float],
) -> Figure:  # fmt: skip
    """Five weights side by side: map and decision."""
    chosen = np.unique(np.linspace(0, len(betas) - 1, 5).round().astype(int))
    figure, axes = _grid(2, len(chosen), scan, 1.9, titles=3)
    for column, n in enumerate(chosen):
        title = f"β = {betas[n]:g}\n⌈Dice⌉ {dice[n]:.3f}"
        _draw(axes[0, column], maps[n], "score", (0, 255), truth, title)
        draw_decision(axes[1, column], scan, marked[n], truth)
    return figure
