"""Plots show the numbers that they were given; shown code is the package's code."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sadm_utils.sadm.fusion import fuse
from sadm_utils.viz import show_slices
from sadm_utils.viz.plots import embedding, history_panels, lines, points, show_source


def test_lines_draw_every_curve_and_mark() -> None:
    curves = {"a": ([1, 2], [3, 4]), "b": ([1, 2], [5, 6])}
    figure = lines(curves, "x", "y", verticals=[1.5], log="y")
    ax = figure.axes[0]
    assert [list(line.get_ydata()) for line in ax.lines[1:]] == [[3, 4], [5, 6]]
    assert (ax.get_xlabel(), ax.get_yscale(), ax.get_xscale()) == ("x", "log", "linear")
    styles = {(line.get_color(), line.get_linestyle()) for line in ax.lines[1:]}
    assert len(styles) == 2
    assert ax.get_legend().get_frame_on(), "the thin lines cross the legend"


def test_points_and_embedding_hold_their_data() -> None:
    ax = points({"set": ([1, 2, 3], [4, 5, 6])}, "x", "y", horizontal=1).axes[0]
    assert list(ax.lines[1].get_xdata()) == [1, 2, 3]
    places = np.arange(8).reshape(4, 2)
    drawn = embedding(places, range(4), "z").axes[0].collections[0]
    assert np.array_equal(drawn.get_offsets(), places)


def test_history_has_a_panel_a_column_and_a_curve_a_run() -> None:
    table = pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.2], "healthy_l1": [0.1, 0.05]})
    columns = {"loss": "loss", "healthy_l1": "error"}
    figure = history_panels({"a": table, "b": 2 * table}, columns, {"loss": (0.3, "constant")})
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "error"]
    assert [list(line.get_ydata()) for line in figure.axes[1].lines] == [[0.1, 0.05], [0.2, 0.1]]
    assert len(figure.axes[0].lines) == 3


def test_source_is_shown_without_its_docstring() -> None:
    shown = show_source(fuse).data
    assert shown.startswith("```python\ndef fuse(") and shown.endswith("\n```")
    assert "return beta * reconstruction_map" in shown and '"""' not in shown


def test_probabilities_are_drawn_on_one_scale() -> None:
    faint, sure = np.full((4, 4), 0.01), np.full((4, 4), 0.99)
    figure = show_slices([faint, sure], kind="probability")
    assert [ax.images[0].get_clim() for ax in figure.axes] == [(0, 1), (0, 1)]
