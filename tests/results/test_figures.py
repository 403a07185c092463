"""Figures show the numbers in percent, at their places, and leave gaps where nothing was run."""

import numpy as np
import pytest

from sadm_utils.results.figures import (
    annotation_panels,
    beta_panels,
    paper_against_here,
    variant_panels,
)
from sadm_utils.results.measured import Cell, read_sweep
from sadm_utils.results.paper import figure_5, paper_values
from tests.results.made_up import as_in_the_paper, write_sweep

CDDPM, UNET = ("cDDPM", ""), ("Unet", "draem")


def cell(mean: float) -> Cell:
    return Cell(mean, 0.0, mean - 0.05, mean + 0.1, 8, 1)


def series(ax, label: str) -> np.ndarray:
    """(x, y) of a labeled line or of points with intervals."""
    for line in ax.lines:
        if line.get_label() == label:
            return np.column_stack(line.get_data()).astype(float)
    (container,) = [c for c in ax.containers if c.get_label() == label]
    return np.column_stack(container.lines[0].get_data()).astype(float)


@pytest.fixture
def curve(root):
    write_sweep(root, "t", as_in_the_paper(), [("SADM_res", "brats21")], seeds=(0, 1))
    return read_sweep("t").curve


def test_weighting_curve_lies_beside_the_paper_s(curve):
    pairs = [("brats21", "ATLAS"), ("brats21", "MSLUB")]
    figure = beta_panels(curve, figure_5(), pairs)
    ax, other = figure.axes[:2]
    ours, paper = series(ax, "this book"), series(ax, "paper")
    assert ours[:, 1].max() == pytest.approx(50) and ours[ours[:, 1].argmax(), 0] == 0.3
    assert paper[:, 1].max() == pytest.approx(28.0) and len(paper) == len(ours) == 11
    rings = [line.get_xydata() for line in ax.lines if line.get_markerfacecolor() == "none"]
    assert sorted(float(ring[0, 0]) for ring in rings) == [0.3, 0.8]
    assert ax.get_title() == "brats21 → ATLAS"
    assert not [line for line in other.lines if line.get_label() == "paper"]
    assert len(other.lines) == 2 + 2, "a line a run, their mean, its ring"


def test_weighting_curve_has_a_band_where_there_is_an_interval(curve):
    (band,) = beta_panels(curve, figure_5(), [("brats21", "ATLAS")]).axes[0].collections
    corners = band.get_paths()[0].vertices
    at_best = corners[np.isclose(corners[:, 0], 0.3)][:, 1]
    assert at_best.min() == pytest.approx(48) and at_best.max() == pytest.approx(52)
    without = curve.assign(low=np.nan, high=np.nan)
    assert not beta_panels(without, figure_5(), [("brats21", "ATLAS")]).axes[0].collections


def test_annotation_panels_have_a_level_and_leave_gaps():
    counts = {"a": "1", "b": "2", "c": "all"}
    cells = {(v, CDDPM, "ATLAS"): cell(0.3) for v in counts}
    cells |= {("a", UNET, "ATLAS"): cell(0.2), ("c", UNET, "ATLAS"): cell(0.6)}
    pairs = [("draem", "ATLAS", "one"), ("draem", "Brats21", "two")]
    figure = annotation_panels(cells, counts, pairs, ("Unet",), CDDPM)
    ax, empty = figure.axes[:2]
    np.testing.assert_allclose(series(ax, "Unet"), [(0, 20), (2, 60)])
    assert series(ax, "cDDPM")[:, 1] == pytest.approx(30) and not empty.containers
    (bars,) = [c.lines[2][0].get_segments() for c in ax.containers]
    np.testing.assert_allclose(bars[1][:, 1], [55, 70])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "all"]


def test_variants_go_down_in_their_order():
    cells = {("x", CDDPM, "ATLAS"): cell(0.3), ("y", CDDPM, "ATLAS"): cell(0.4)}
    figure = variant_panels(cells, {"x": "first", "y": "second"}, [CDDPM], {"ATLAS": "strokes"})
    (ax,) = figure.axes
    np.testing.assert_allclose(series(ax, "cDDPM"), [(30, 0), (40, 1)])
    assert ax.yaxis_inverted() and ax.get_yticklabels()[0].get_text() == "first"
    assert ax.get_title() == "ATLAS (strokes)" and figure.legends


def test_rows_of_the_table_are_points_of_paper_and_book():
    ours = {(CDDPM, "Brats21"): cell(0.4), (UNET, "Brats21"): cell(0.5),
            (("Intensity", ""), "Brats21"): cell(0.9)}  # fmt: skip
    figure = paper_against_here(ours, paper_values("best_dice"), {"Brats21": "BRATS"})
    ax = figure.axes[0]
    np.testing.assert_allclose(series(ax, "no labels"), [(58.55, 40)])
    np.testing.assert_allclose(series(ax, "draem"), [(40.75, 50)])
