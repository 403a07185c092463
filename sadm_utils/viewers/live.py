"""The viewers as ipywidgets: while a kernel runs, every stop is computed, with the reader's data.

The functions take the same volumes and slices as the viewers without a kernel, of any size, and
where a page holds precomputed stops they take the function that computes one. Each returns a widget
to put on the last line of a cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.figure import Figure

from sadm_utils.viewers.slices import draw_over
from sadm_utils.viewers.threshold import draw_decision
from sadm_utils.viewers.viewer import png_of
from sadm_utils.viz.curves import beta_curve
from sadm_utils.viz.slices import _array, _draw, _grid, _limits, largest_slice, show_slices
from sadm_utils.viz.style import styled

Drawn = tuple[Figure, str]


def board(draw: Callable[..., Drawn], **sliders: Any) -> widgets.VBox:
    """Sliders above a picture and a line of text, both drawn again when a slider is let go.

    Parameters
    ----------
    draw
        Gets the value of each slider by name, and returns a figure and a sentence.
    sliders
        Widgets with a ``value`` and a ``description``.
    """
    picture, words = widgets.Image(format="png"), widgets.HTML()
    picture.layout.max_width = "100%"

    def again(_: Any = None) -> None:
        figure, text = draw(**{name: slider.value for name, slider in sliders.items()})
        picture.value, words.value = png_of(figure), escape(text)

    for slider in sliders.values():
        slider.style.description_width = "8em"
        slider.layout.width = "32em"
        slider.layout.max_width = "100%"
        slider.observe(again, "value")
    again()
    return widgets.VBox([*sliders.values(), words, picture])


def whole(label: str, low: int, high: int, start: int, step: int = 1) -> widgets.IntSlider:
    """A slider over whole numbers."""
    options = {"min": low, "max": high, "value": start, "step": step}
    return widgets.IntSlider(description=label, continuous_update=False, **options)


def real(
    label: str, low: float, high: float, start: float, steps: int = 100
) -> widgets.FloatSlider:
    """A slider over numbers from ``low`` to ``high``."""
    options = {"min": low, "max": high, "value": start, "step": (high - low) / steps}
    return widgets.FloatSlider(
        description=label, continuous_update=False, readout_format=".3f", **options
    )


def slice_viewer(image: Any, score: Any, seg: Any = None, *, opacity: float = 0.6) -> widgets.VBox:
    """Through a volume (X, Y, Z) with the anomaly map over it, under an opacity from 0 to 1."""
    image, score = _array(image), _array(score)
    lesion = np.zeros(image.shape, bool) if seg is None else _array(seg) > 0
    limits = _limits(score, "score")

    @styled
    def draw(k: int, opacity: float) -> Drawn:
        figure, axes = _grid(1, 2, image[:, :, 0], 3.6)
        draw_over(axes[0, 0], image[:, :, k], score[:, :, k], limits, opacity, lesion[:, :, k])
        _draw(axes[0, 1], score[:, :, k], "score", limits, lesion[:, :, k])
        return figure, f"slice {k}"

    depth = image.shape[2]
    first = largest_slice(lesion) if lesion.any() else depth // 2
    return board(draw, k=whole("slice", 0, depth - 1, first),
                 opacity=real("opacity of the map", 0, 1, opacity, 20))  # fmt: skip


def threshold_viewer(
    image: Any,
    score: Any,
    seg: Any,
    mask: Any,
    confusion_at: Callable[..., Any],
    *,
    start: float | None = None,
) -> widgets.VBox:
    """A threshold over an anomaly map (X, Y, Z), with Dice, precision and recall of the volume.

    ``confusion_at`` is that of ``sadm_utils.evaluation.metrics``.
    """
    image, lesion = _array(image), _array(seg) > 0
    counted = (_array(mask) > 0) | lesion
    top = float(np.max(score))

    @styled
    def draw(threshold: float, k: int) -> Drawn:
        figure, axes = _grid(1, 2, image[:, :, 0], 3.6)
        draw_decision(axes[0, 0], image[:, :, k], score[:, :, k] >= threshold, lesion[:, :, k])
        limits = _limits(_array(score), "score")
        _draw(axes[0, 1], score[:, :, k], "score", limits, lesion[:, :, k])
        c = confusion_at(score, lesion, threshold, counted)
        rates = f"Dice {c.dice:.3f}, precision {c.precision:.3f}, recall {c.recall:.3f}"
        return figure, f"{rates} (blue: hit, orange: false alarm, yellow: missed)"

    first = top / 2 if start is None else start
    return board(draw, threshold=real("threshold", 0, top, first, 500),
                 k=whole("slice", 0, image.shape[2] - 1, largest_slice(lesion)))  # fmt: skip


def fusion_viewer(
    image: Any,
    residual: Any,
    supervised: Any,
    seg: Any,
    fuse: Callable[..., Any],
    volume_metrics: Callable[..., Mapping[str, float]],
) -> widgets.VBox:
    """The weight β between the reconstruction map x̃ and the supervised map ŷ, all (X, Y, Z).

    ``fuse`` is that of ``sadm_utils.sadm.fusion``, ``volume_metrics`` that of
    ``sadm_utils.evaluation.metrics``.
    """
    image, lesion = _array(image), _array(seg) > 0
    k, tried = largest_slice(lesion), {}

    def dice(beta: float) -> float:
        if beta not in tried:
            tried[beta] = volume_metrics(fuse(residual, supervised, beta), lesion)
        return tried[beta]["best_dice"]

    @styled
    def draw(beta: float) -> Drawn:
        score, best = fuse(residual, supervised, beta), dice(beta)
        figure, axes = _grid(1, 2, image[:, :, 0], 3.6)
        limits = _limits(_array(score), "score")
        _draw(axes[0, 0], score[:, :, k], "score", limits, lesion[:, :, k])
        marked = score[:, :, k] >= tried[beta]["best_threshold"]
        draw_decision(axes[0, 1], image[:, :, k], marked, lesion[:, :, k])
        return figure, f"β = {beta:.2f}: ⌈Dice⌉ {best:.3f}, AUPRC {tried[beta]['auprc']:.3f}"

    slider = real("weight β", 0, 1, 0.5, 20)
    betas = np.linspace(0, 1, 11).round(2).tolist()
    curve = widgets.Image(format="png")
    curve.value = png_of(beta_curve(betas, {"this volume": [dice(b) for b in betas]}))
    return widgets.VBox([board(draw, beta=slider), curve])


def noise_viewer(
    image: Any, noised: Callable[[int], Any], rebuild: Callable[[int], Any], *,
    seg: Any = None, last: int = 1000, start: int = 500,
) -> widgets.VBox:  # fmt: skip
    """A noise level t from 1 to ``last``: the slice, noised, and reconstructed by the model.

    ``noised`` and ``rebuild`` give for t the noised slice and its reconstruction in [0, 1].
    """

    def draw(t: int) -> Drawn:
        plane, rebuilt = _array(image), _array(rebuild(t))
        panels = [plane, _array(noised(t)), rebuilt, np.abs(plane - rebuilt)]
        titles = ["input x", "noised x_t", "reconstruction x̂", "residual |x − x̂|"]
        kinds = ["image", "image", "image", "score"]
        return show_slices(panels, titles, kind=kinds, seg=seg, panel=2.4), f"t = {t}"

    return board(draw, t=whole("noise level t", 1, last, start))


def mask_viewer(
    image: Any, draw_visible: Callable[[float, int], Any], paint: Callable[[Any], Any]
) -> widgets.VBox:
    """A mask ratio and a seed: what is left of a slice, and what the network paints.

    ``draw_visible`` gives for (ratio, seed) a pattern of visible patches (1, 1, rows, columns),
    ``paint`` for a pattern the painted slice.
    """

    def draw(ratio: float, seed: int) -> Drawn:
        plane, pattern = _array(image), draw_visible(ratio, seed)
        patches = _array(pattern)
        seen = np.kron(patches, np.ones(np.array(plane.shape) // patches.shape)) > 0
        painted = np.where(seen, plane, _array(paint(pattern)))
        panels = [plane, plane * seen, painted, np.abs(plane - painted)]
        titles = ["slice x", "what is left", "painted", "error"]
        kinds = ["image", "image", "image", "score"]
        words = f"{int(patches.sum())} of {patches.size} patches visible"
        return show_slices(panels, titles, kind=kinds, panel=2.4), words

    return board(draw, ratio=real("mask ratio", 0.05, 0.95, 0.65, 18),
                 seed=whole("seed", 0, 50, 0))  # fmt: skip


def anomaly_viewer(
    image: Any, make: Callable[[int, int], tuple[Any, Any]], brain: Any = None, *, scales: int = 6
) -> widgets.VBox:
    """DRAEM's parameters: scale and seed of the noise, threshold τ, opacity β.

    ``make`` gives for (exponent of the scale, seed) a Perlin field and a texture in [0, 1].
    """
    plane = _array(image)
    inside = np.ones(plane.shape, bool) if brain is None else _array(brain) > 0

    def draw(scale: int, threshold: float, opacity: float, seed: int) -> Drawn:
        field, texture = (_array(v) for v in make(scale, seed))
        mask = (field > threshold) & inside
        panels = [field, mask, texture, plane + opacity * mask * (texture - plane)]
        titles = ["Perlin noise", "mask M", "texture A", "x′"]
        figure = show_slices(panels, titles, kind=["noise", "mask", "image", "image"], panel=2.4)
        return figure, f"{2**scale} × {2**scale} cells; M covers {100 * mask.mean():.1f} %"

    sliders = {
        "scale": whole("scale k", 0, scales, min(2, scales)),
        "threshold": real("threshold τ", 0, 0.8, 0.3, 16),
        "opacity": real("opacity β", 0, 1, 0.7, 20),
        "seed": whole("seed", 0, 50, 0),
    }
    return board(draw, **sliders)
