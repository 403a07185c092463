"""Curves and bars: losses, the weight of the fusion, results with their intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from sadm_utils.viz.style import MARKERS, PALETTE, new_figure, styled


@styled
def loss_curve(
    metrics: pd.DataFrame, columns: Sequence[str] = (), *, x: str = "step", log: bool = False
) -> Figure:
    """Draw losses from Lightning's ``metrics.csv``.

    Parameters
    ----------
    metrics : DataFrame
        As read from the CSV: rows with gaps, one column a logged value.
    columns : sequence of str
        Which ones; by default all with "loss" in their name.
    x : str
        "step" or "epoch".
    log : bool
        Logarithmic loss axis.
    """
    chosen = list(columns) or [name for name in metrics.columns if "loss" in name.lower()]
    if not chosen or not {x, *chosen} <= set(metrics.columns):
        raise ValueError(f"no column {x!r} or no loss among {list(metrics.columns)}")
    figure, axes = new_figure(1, 1, (5.4, 3.0))
    ax = axes[0, 0]
    for color, name in zip(PALETTE * len(chosen), chosen, strict=False):
        points = metrics[[x, name]].dropna()
        few = len(points) <= 40
        ax.plot(points[x], points[name], color=color, label=name, marker="o" if few else "", ms=3)
    ax.set(xlabel=x, ylabel="loss", yscale="log" if log else "linear")
    ax.xaxis.set_major_locator(MaxNLocator(steps=(1, 2, 5, 10), integer=True))
    if log:
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
    ax.legend()
    return figure


@styled
def beta_curve(
    betas: Sequence[float],
    dice: Mapping[str, Sequence[float]],
    ends: tuple[str, str] = ("Unet_res", "cDDPM"),
) -> Figure:
    """⌈Dice⌉ over the fusion weight: score = beta * reconstruction + (1 - beta) * supervised.

    ``dice`` maps a pair such as "brats21 → ATLAS" to fractions in [0, 1], drawn as percentages;
    the best beta of every pair has a ring. ``ends`` names what beta = 0 and 1 stand for.
    """
    figure, axes = new_figure(1, 1, (5.4, 4.0))
    ax = axes[0, 0]
    for number, (pair, values) in enumerate(dice.items()):
        percent = 100 * np.asarray(values, dtype=float)
        color, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
        ax.plot(betas, percent, color=color, marker=marker, ms=4, label=pair)
        if np.isfinite(percent).any():
            best = int(np.nanargmax(percent))
            ring = dict(marker="o", ms=11, mfc="none", mec=color, mew=1.5, linestyle="none")
            ax.plot([betas[best]], [percent[best]], **ring)
    ax.set(xlabel="β", ylabel="⌈Dice⌉ in %", ylim=(0, None))
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], [f"0\n{ends[0]}", ".25", ".5", ".75", f"1\n{ends[1]}"])
    figure.legend(title="trained on → tested on", loc="outside upper center", ncols=2)
    return figure


@styled
def result_bars(
    rows: pd.DataFrame,
    metric: str = "best_dice",
    test_sets: Sequence[str] | None = None,
    label: str = "⌈Dice⌉",
) -> Figure:
    """Bars of one metric with bootstrap intervals: a panel a test set, a bar a method.

    ``rows`` are tidy (`sadm_utils.evaluation.statistics.summarize`); the color is the source of
    annotations, ``label`` the metric's name on the axis.
    """
    rows = rows[rows["metric"] == metric]
    if rows.empty:
        raise ValueError(f"no row with the metric {metric!r}")
    test_sets = list(dict.fromkeys(rows["test_set"])) if test_sets is None else list(test_sets)
    pairs = list(dict.fromkeys(zip(rows["method"], rows["annotations"].fillna(""), strict=True)))
    sources = list(dict.fromkeys(source for _, source in pairs))
    names = [f"{method} ({source})" if source else method for method, source in pairs]
    size = (min(2.6 + 2.4 * len(test_sets), 11), 0.9 + 0.27 * len(pairs))
    figure, axes = new_figure(1, len(test_sets), size, sharey=True)
    for ax, test_set in zip(axes[0], test_sets, strict=True):
        for row in rows[rows["test_set"] == test_set].to_dict("records"):
            source = "" if pd.isna(row["annotations"]) else row["annotations"]
            place = pairs.index((row["method"], source))
            color = PALETTE[sources.index(source) % len(PALETTE)]
            ax.barh(place, 100 * row["mean"], color=color, height=0.7)
            if np.isfinite(row["low"]):
                ends = [100 * row["low"], 100 * row["high"]]
                ax.plot(ends, [place, place], color="black", linewidth=1.2, marker="|", ms=5)
        ax.set(title=test_set, xlabel=f"{label} in %", xlim=(0, None))
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].invert_yaxis()
    return figure
