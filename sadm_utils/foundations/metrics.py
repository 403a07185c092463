"""Figures of the page "Anomaly detection and its metrics"."""

from __future__ import annotations

from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from scipy import ndimage

from sadm_utils.evaluation.anomaly_map import median_filter
from sadm_utils.evaluation.metrics import auroc, average_precision, best_dice, confusion_at, dice_at
from sadm_utils.foundations.brains import pair, window
from sadm_utils.viz.slices import largest_slice
from sadm_utils.viz.style import PALETTE, new_figure, styled

Drawn = tuple[Figure, str]
HIT, FALSE, MISSED = PALETTE[5], PALETTE[1], PALETTE[7]  # as in the figures with sliders
FILTERS = {
    "blur": np.full((3, 3), 1 / 9),
    "vertical edges": np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]]) / 2,
}
TEST, VALIDATION = range(8), range(8, 12)


@cache
def case(index: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Anomaly map, lesion and brain mask of one subject, (X, Y, Z).

    The map is the smoothed difference to the healthy twin: the best that a reconstruction can do.
    """
    p = pair(index)
    score = median_filter(np.abs(p.image - p.twin), 3, p.mask > 0)
    return score, p.seg, p.mask


@styled
def draw_convolution() -> Drawn:
    """A slice and what two small filters make of it."""
    p = pair(voxel_mm=2.0)
    x = p.image[*window(p.mask), largest_slice(p.seg)]
    figure, axes = new_figure(1, 3, (5.4, 2.4))
    _bare(axes[0, 0], x, "$x$", (0, 1))
    for ax, (name, weights) in zip(axes[0, 1:], FILTERS.items(), strict=True):
        # x runs along the first axis of a slice, so the filter is turned to match the picture.
        result = ndimage.correlate(x, weights.T[:, ::-1])
        reach = np.abs(result).max()
        _bare(ax, result, name, (0, 1) if name == "blur" else (-reach, reach))
    return figure, (
        "A *convolution* lays a small filter of weights over every pixel, multiplies what is under "
        "it by the weights and adds up. Nine equal weights blur. Positive weights on the left and "
        "negative ones on the right show vertical edges. A network learns the weights."
    )


@styled
def draw_networks() -> Drawn:
    """A U-Net and an encoder, as boxes."""
    figure, axes = new_figure(1, 1, (5.4, 2.6))
    ax = axes[0, 0]
    heights = (2.4, 1.5, 0.8)
    for step, height in enumerate(heights):
        _box(ax, step * 1.1, height, PALETTE[0])
        if step < 2:
            _box(ax, (4 - step) * 1.1, height, PALETTE[1])
            across = (step * 1.1 + 0.5, height / 2 - 0.12), ((4 - step) * 1.1, height / 2 - 0.12)
            ax.add_patch(FancyArrowPatch(*across, arrowstyle="->", mutation_scale=10, color="0.5"))
        _box(ax, 6.6 + step * 1.1, height, PALETTE[0])
    ax.add_patch(Rectangle((10.1, -0.7), 0.16, 1.4, color=PALETTE[2]))
    ax.text(10.4, 0, "$c$", va="center")
    ax.text(2.45, -1.75, "U-Net: to an image", ha="center")
    ax.text(8.5, -1.75, "encoder: to a vector", ha="center")
    ax.set(xlim=(-0.3, 10.9), ylim=(-2.1, 1.6))
    ax.set_axis_off()
    return figure, (
        "Each box is the image at one resolution, with many *channels*. On the way down (blue) it "
        "gets smaller and knows more of its surroundings. On the way up (orange) it gets large "
        "again; gray arrows hand over the details. Green: the short vector c."
    )


@styled
def draw_threshold() -> Drawn:
    """One map cut at a low, the best and a high threshold."""
    score, seg, mask = case()
    k, w = largest_slice(seg), window(mask)
    best = best_dice(score, seg)[1]
    image = pair().image[*w, k]
    figure, axes = new_figure(1, 3, (5.0, 2.7))
    for ax, limit in zip(axes[0], (0.4 * best, best, 2.5 * best), strict=True):
        _bare(ax, image, _measured(score, seg, limit), (0, 1))
        ax.set_anchor("S")  # the titles need the room above
        marked, truth = score[*w, k] >= limit, seg[*w, k] > 0
        for where, color in (
            (marked & truth, HIT), (marked & ~truth, FALSE), (~marked & truth, MISSED)
        ):  # fmt: skip
            layer = np.zeros((*where.shape, 4))
            layer[where] = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] + [0.85]
            ax.imshow(layer.transpose(1, 0, 2), origin="lower")
    return figure, (
        "One map at three thresholds τ: the smoothed difference between a phantom and its healthy "
        "twin, so no network is involved. Blue is hit (TP), orange a false alarm (FP), yellow is "
        "missed (FN). The numbers are of the whole volume."
    )


@styled
def draw_curves() -> Drawn:
    """Precision-recall and ROC curve, in the brain and over the whole volume."""
    score, seg, mask = case()
    figure, axes = new_figure(1, 2, (5.4, 2.7))
    words = []
    for name, where, style in (
        ("in the brain", (mask > 0) | (seg > 0), "-"),
        ("whole volume", np.ones_like(mask, bool), "--"),
    ):
        s, truth = score[where], seg[where] > 0
        order = np.argsort(-s, kind="stable")
        hits = np.cumsum(truth[order])
        marked = np.arange(1, len(s) + 1)
        recall, wrong = hits / truth.sum(), (marked - hits) / (~truth).sum()
        axes[0, 0].plot(recall, hits / marked, style, label=name)
        axes[0, 1].plot(wrong, recall, style, label=name)
        areas = average_precision(s, truth), auroc(s, truth)
        words.append(f"{name} AUPRC {100 * areas[0]:.0f} %, AUROC {100 * areas[1]:.1f} %")
    axes[0, 0].set(xlabel="recall", ylabel="precision", ylim=(0, 1.03))
    axes[0, 1].set(xlabel="false-positive rate", ylabel="recall", xlim=(-0.02, 0.6), ylim=(0, 1.03))
    axes[0, 1].legend(loc="lower right")
    return figure, (
        f"The scores of the picture above. {words[0][0].upper()}{words[0][1:]}; {words[1]}. The "
        "empty background makes only one of the two better."
    )


@styled
def draw_peeking() -> Drawn:
    """Dice over the threshold for several subjects, and what one threshold for all costs."""
    limits = np.linspace(0.005, 0.4, 80)
    figure, axes = new_figure(1, 1, (5.0, 2.9))
    ax = axes[0, 0]
    curves = {i: _dice_curve(i, limits) for i in (*TEST, *VALIDATION)}
    common = int(np.mean([curves[i] for i in VALIDATION], axis=0).argmax())
    for i in TEST:
        ax.plot(limits, 100 * curves[i], color="0.65", linewidth=1)
        best = curves[i].argmax()
        ax.plot(limits[best], 100 * curves[i][best], "o", color=PALETTE[1], markersize=5)
    ax.axvline(limits[common], color=PALETTE[0], linestyle="--")
    ax.set(xlabel="threshold τ", ylabel="Dice in %", ylim=(0, 100))
    peeked = np.mean([best_dice(*case(i)[:2])[0] for i in TEST])
    honest = np.mean([curves[i][common] for i in TEST])
    return figure, (
        f"A curve for each of {len(TEST)} phantoms with a tumor, with maps made in the same way. "
        "Dots: the best threshold of each, found with the truth; their mean is ⌈Dice⌉ "
        f"{100 * peeked:.0f} %. Dashed: one threshold, found on {len(VALIDATION)} others; with it "
        f"the mean Dice is {100 * honest:.0f} %."
    )


def _dice_curve(index: int, limits: np.ndarray) -> np.ndarray:
    score, seg, mask = case(index)
    inside = (mask > 0) | (seg > 0)
    return np.array([dice_at(score[inside], seg[inside], float(limit)) for limit in limits])


def _measured(score: np.ndarray, seg: np.ndarray, limit: float) -> str:
    counts = confusion_at(score, seg, limit)
    share = {name: 100 * getattr(counts, name) for name in ("precision", "recall")}
    dice = 100 * dice_at(score, seg, limit)
    words = f"precision {share['precision']:.0f} %\nrecall {share['recall']:.0f} %"
    return f"τ = {limit:.2f}\n{words}\nDice {dice:.0f} %"


def _bare(ax: Axes, plane: np.ndarray, title: str, limits: tuple[float, float]) -> None:
    ax.imshow(plane.T, origin="lower", cmap="gray", vmin=limits[0], vmax=limits[1])
    ax.set(xticks=[], yticks=[], title=title)
    ax.spines[:].set_visible(False)


def _box(ax: Axes, left: float, height: float, color: str) -> None:
    ax.add_patch(Rectangle((left, -height / 2), 0.5, height, color=color, alpha=0.85))
