"""Plain plots of numbers: lines, points, training histories; and code as a page shows it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure

from sadm_utils.viz.style import MARKERS, PALETTE, new_figure, styled

DASHES = ("-", "--", "-.", ":")
Curve = tuple[Sequence[float], Sequence[float]]


@styled
def lines(
    curves: Mapping[str, Curve],
    xlabel: str,
    ylabel: str,
    *,
    verticals: Sequence[float] = (),
    log: str = "",
    step: bool = False,
    size: tuple[float, float] = (5.4, 3.0),
) -> Figure:
    """Draw named curves (x, y); they differ in color and in dashes.

    Parameters
    ----------
    verticals
        Values of x to mark with a thin line.
    log
        Logarithmic axes: "", "x", "y" or "xy".
    step
        Draw steps, each value reaching back to the point before it.
    """
    figure, axes = new_figure(1, 1, size)
    ax = axes[0, 0]
    for x in verticals:
        ax.axvline(x, color="0.8", linewidth=1, zorder=0)
    for number, (name, (x, y)) in enumerate(curves.items()):
        color, dash = PALETTE[number % len(PALETTE)], DASHES[number % len(DASHES)]
        style = "steps-pre" if step else "default"
        ax.plot(x, y, color=color, linestyle=dash, drawstyle=style, label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.set_xscale("log" if "x" in log else "linear")
    ax.set_yscale("log" if "y" in log else "linear")
    if any(curves):
        ax.legend(  # on white, so that the thin lines do not cross it
            frameon=bool(verticals), facecolor="white", edgecolor="none", framealpha=1
        )
    return figure


@styled
def points(
    groups: Mapping[str, Curve],
    xlabel: str,
    ylabel: str,
    *,
    horizontal: float | None = None,
    log: str = "",
    size: tuple[float, float] = (5.4, 3.4),
) -> Figure:
    """Draw groups of points (x, y), which differ in color and marker."""
    figure, axes = new_figure(1, 1, size)
    ax = axes[0, 0]
    if horizontal is not None:
        ax.axhline(horizontal, color="0.8", linewidth=1, zorder=0)
    for number, (name, (x, y)) in enumerate(groups.items()):
        color, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
        ax.plot(x, y, linestyle="none", marker=marker, ms=5, color=color, alpha=0.8, label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.set_xscale("log" if "x" in log else "linear")
    ax.set_yscale("log" if "y" in log else "linear")
    ax.legend()
    return figure


@styled
def embedding(places: Any, values: Any, label: str) -> Figure:
    """Draw points of a plane (N, 2), colored by ``values`` (N,)."""
    figure, axes = new_figure(1, 1, (5.2, 3.8))
    places, values = np.asarray(places), np.asarray(values)
    drawn = axes[0, 0].scatter(*places.T, c=values, cmap="viridis", s=14)
    axes[0, 0].set(xlabel="first component", ylabel="second component")
    figure.colorbar(drawn, ax=axes[0, 0], label=label)
    return figure


@styled
def history_panels(
    histories: Mapping[str, pd.DataFrame],
    columns: Mapping[str, str],
    levels: Mapping[str, tuple[float, str]] | None = None,
) -> Figure:
    """Draw training histories: a panel a column, a curve a history.

    Parameters
    ----------
    histories
        Name to a table with ``epoch`` and the columns, as in a stage's ``history.csv``.
    columns
        Column to the label of its axis.
    levels
        Column to a value to compare with and its name, drawn as a dotted line.
    """
    figure, axes = new_figure(1, len(columns), (4.4 * len(columns), 3.0))
    for ax, (column, label) in zip(axes[0], columns.items(), strict=True):
        for number, (name, table) in enumerate(histories.items()):
            dot = MARKERS[number % len(MARKERS)] if len(table) <= 40 else ""
            color = PALETTE[number % len(PALETTE)]
            ax.plot(table["epoch"], table[column], color=color, marker=dot, ms=3.5, label=name)
        if levels and column in levels:
            value, name = levels[column]
            ax.axhline(value, color="0.4", linestyle=":", label=name)
        ax.set(xlabel="epoch", ylabel=label, ylim=(0, None))
        ax.xaxis.get_major_locator().set_params(integer=True)
        if len(histories) > 1 or (levels and column in levels):
            ax.legend()
    return figure


def show_source(thing: Callable[..., Any] | type) -> Markdown:
    """Show the package's own code of a function, method or class, without its docstring."""
    text = textwrap.dedent(inspect.getsource(thing))
    body = ast.parse(text).body[0]
    rows = text.splitlines()
    if isinstance(body, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(body) is not None:
        first = body.body[0]
        del rows[first.lineno - 1 : first.end_lineno]
    return Markdown("```python\n" + "\n".join(rows).strip() + "\n```")
