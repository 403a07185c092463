"""Figures of the pages "Results" and "What the paper leaves open"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sadm_utils.results.measured import Cell
from sadm_utils.results.paper import PARTS_OF_THE_CURVE, Row, row_name
from sadm_utils.viz.style import MARKERS, PALETTE, new_figure, styled

PAPER = "#777777"
COLUMNS = 3  # of a legend: a phone shows the left half of a wide figure
SOURCES = ("", "pii", "draem", "brats21", "atlas_v2")
Points = Mapping[tuple[str, Row, str], Cell]
"""Cells by (variant, row, test set), as from :meth:`Measured.cells`."""


@styled
def beta_panels(
    ours: pd.DataFrame, paper: pd.DataFrame, pairs: Sequence[tuple[str, str]]
) -> Figure:
    """The weighting curve of each (annotations, test set), here and in the paper where it has one.

    Parameters
    ----------
    ours
        Columns seed, fold, annotations, test_set, beta, best_dice (fractions): a thin line a run,
        a thick one for the mean; a ring marks the best weight. With columns low and high, a light
        band is the interval over subjects.
    paper
        The same columns without seed and fold.
    """
    columns = 2 if len(pairs) <= 4 else 3
    lines = -(-len(pairs) // columns)
    figure, axes = new_figure(lines, columns, (3.6 * columns, 2.5 * lines + 0.3), sharex=True)
    for ax, (source, test_set) in zip(axes.flat, pairs, strict=False):
        theirs = _curve(paper, source, test_set)
        if len(theirs):
            mean = theirs.groupby("beta")["best_dice"].mean()
            _line(ax, mean, color=PAPER, style="--", marker="s", label="paper")
        found = _curve(ours, source, test_set)
        if len(found):
            _band(ax, found)
            _runs(ax, found)
            mean = found.groupby("beta")["best_dice"].mean()
            _line(ax, mean, color=PALETTE[0], style="-", marker="o", label="this book")
        ax.set(title=f"{source} → {test_set}", ylim=(0, None))
        ax.set_xticks([0, 0.5, 1], [f"0\n{PARTS_OF_THE_CURVE[0]}", "β = 0.5", "1\ncDDPM"])
        ax.tick_params(labelbottom=True)
    for ax in axes.flat[len(pairs) :]:
        ax.set_axis_off()
    for ax in axes[:, 0]:
        ax.set_ylabel("⌈Dice⌉ in %")
    _legend(figure, axes)
    return figure


def _curve(table: pd.DataFrame, source: str, test_set: str) -> pd.DataFrame:
    return table[(table["annotations"] == source) & (table["test_set"] == test_set)]


def _line(ax: Axes, mean: pd.Series, color: str, style: str, marker: str, label: str) -> None:
    percent = 100 * mean
    ax.plot(percent.index, percent, style, color=color, marker=marker, ms=3.5, label=label)
    if percent.notna().any():
        ring = dict(marker="o", ms=10, mfc="none", mec=color, mew=1.4, linestyle="none")
        ax.plot([percent.idxmax()], [percent.max()], clip_on=False, **ring)


def _band(ax: Axes, found: pd.DataFrame) -> None:
    """The interval over subjects at each weight, where there is one."""
    if {"low", "high"} <= set(found) and found["low"].notna().any():
        ends = 100 * found.groupby("beta")[["low", "high"]].mean()  # the same for each run
        ax.fill_between(
            ends.index, ends["low"], ends["high"], color=PALETTE[0], alpha=0.15, linewidth=0
        )


def _runs(ax: Axes, found: pd.DataFrame) -> None:
    """A thin line for each run, if there is more than one."""
    runs = [run for _, run in found.groupby(["seed", "fold"])]
    for run in runs if len(runs) > 1 else ():
        each = 100 * run.groupby("beta")["best_dice"].mean()
        ax.plot(each.index, each, color=PALETTE[0], linewidth=0.7, alpha=0.5)


@styled
def annotation_panels(
    cells: Points,
    counts: Mapping[str, str],
    pairs: Sequence[tuple[str, str, str]],
    methods: Sequence[str],
    base: Row,
) -> Figure:
    """⌈Dice⌉ over the number of annotated subjects: a panel for each pair, a line for each method.

    Parameters
    ----------
    cells
        Values by (variant, row, test set), fractions.
    counts
        Variants in the order of the axis, with what is written there, such as ``"all"``.
    pairs
        (annotations, test set, title) of the panels.
    base
        The row that no annotation changes: a horizontal line with its interval.
    """
    columns = 2
    lines = -(-len(pairs) // columns)
    figure, axes = new_figure(lines, columns, (8, 2.7 * lines + 0.3), sharex=True)
    places = np.arange(len(counts))
    for ax, (source, test_set, title) in zip(axes.flat, pairs, strict=False):
        level = next((c for v in counts if (c := cells.get((v, base, test_set)))), None)
        if level is not None:
            ax.axhline(100 * level.mean, color=PAPER, linestyle="--", label=base[0])
            ax.axhspan(100 * level.low, 100 * level.high, color=PAPER, alpha=0.12, linewidth=0)
        for number, method in enumerate(methods):
            found = [cells.get((v, (method, source), test_set)) for v in counts]
            shift = 0.08 * (number - (len(methods) - 1) / 2)
            _points(ax, places + shift, found, number, method, line=True)
        ax.set(title=title, ylim=(0, None), ylabel="⌈Dice⌉ in %")
        ax.set_xticks(places, list(counts.values()))
    for ax in axes.flat[len(pairs) :]:
        ax.set_axis_off()
    for ax in axes[-1]:
        ax.set_xlabel("annotated subjects")
    _legend(figure, axes)
    return figure


@styled
def variant_panels(
    cells: Points, variants: Mapping[str, str], rows: Sequence[Row], test_sets: Mapping[str, str]
) -> Figure:
    """⌈Dice⌉ of rows of the table with each variant: a panel a test set, points with intervals.

    ``variants`` and ``test_sets`` map names to what is written on the axes.
    """
    size = (min(2.2 + 2.1 * len(test_sets), 11), 1.1 + 0.34 * len(variants) * max(1, len(rows) / 2))
    figure, axes = new_figure(1, len(test_sets), size, sharey=True)
    places = np.arange(len(variants))
    for ax, (test_set, title) in zip(axes[0], test_sets.items(), strict=True):
        for number, row in enumerate(rows):
            found = [cells.get((v, row, test_set)) for v in variants]
            shift = 0.5 * ((number + 0.5) / len(rows) - 0.5)
            _points(ax, places + shift, found, number, row_name(row), across=True)
        ax.set(title=f"{test_set} ({title})", xlabel="⌈Dice⌉ in %", xlim=(0, None))
    axes[0, 0].set_yticks(places, list(variants.values()))
    axes[0, 0].set_ylim(len(variants) - 0.5, -0.5)
    _legend(figure, axes)
    return figure


def _points(
    ax: Axes,
    places: Any,
    found: Sequence[Cell | None],
    number: int,
    label: str,
    *,
    line: bool = False,
    across: bool = False,
) -> None:
    """Points with intervals in the color of series ``number``; missing cells leave a gap."""
    kept = [(place, cell) for place, cell in zip(places, found, strict=True) if cell is not None]
    if not kept:
        return
    at, means = [place for place, _ in kept], [100 * cell.mean for _, cell in kept]
    reach = [[100 * (c.mean - c.low) for _, c in kept], [100 * (c.high - c.mean) for _, c in kept]]
    look = dict(
        color=PALETTE[number % len(PALETTE)],
        marker=MARKERS[number % len(MARKERS)],
        ms=5,
        linestyle="-" if line else "none",
        linewidth=1.2,
        elinewidth=1,
        label=label,
    )
    error = np.nan_to_num(np.clip(reach, 0, None))
    if across:
        ax.errorbar(means, at, xerr=error, **look)
    else:
        ax.errorbar(at, means, yerr=error, **look)


@styled
def paper_against_here(
    ours: Mapping[tuple[Row, str], Cell],
    paper: Mapping[tuple[Row, str], tuple[float, float]],
    test_sets: Mapping[str, str],
) -> Figure:
    """Each row of the table as a point: the paper's ⌈Dice⌉ across, ours upwards, with intervals."""
    figure, axes = new_figure(1, len(test_sets), (3.3 * len(test_sets), 3.6))
    for ax, (test_set, title) in zip(axes[0], test_sets.items(), strict=True):
        top = 1.0
        for number, source in enumerate(SOURCES):
            both = [
                (100 * paper[row, name][0], cell)
                for (row, name), cell in ours.items()
                if name == test_set and row[1] == source and (row, name) in paper
            ]
            if both:
                top = max(top, *(max(x, 100 * cell.mean) for x, cell in both))
                places, found = zip(*both, strict=True)
                _points(ax, places, found, number, source or "no labels")
        ax.plot([0, top], [0, top], color=PAPER, linewidth=0.8, linestyle=":")
        ax.set(title=title, xlabel="paper, ⌈Dice⌉ in %", xlim=(0, None), ylim=(0, None))
    axes[0, 0].set_ylabel("this book, ⌈Dice⌉ in %")
    _legend(figure, axes, "trained on")
    return figure


def _legend(figure: Figure, axes: Any, title: str | None = None) -> None:
    """One legend for all panels, above them."""
    named: dict[str, Any] = {}
    for ax in np.ravel(axes):
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    if named:
        figure.legend(named.values(), named.keys(), loc="outside upper left", ncols=COLUMNS,
                      title=title)  # fmt: skip
