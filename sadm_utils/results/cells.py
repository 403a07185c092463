"""The tables of the page "Results": each cell of the paper beside ours, and further protocols."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from sadm_utils.evaluation import comparisons
from sadm_utils.evaluation.comparisons import MARK
from sadm_utils.evaluation.tables import (
    LOWER_IS_BETTER,
    METRIC_NAMES,
    NOTHING,
    results_table,
    to_markdown,
)
from sadm_utils.reference.page import markdown
from sadm_utils.results import words
from sadm_utils.results.figures import paper_against_here
from sadm_utils.results.measured import Cell, Measured
from sadm_utils.results.paper import (
    METRICS,
    TEST_SETS,
    Row,
    paper_rows,
    paper_values,
    row_name,
    set_title,
    starred,
)

FURTHER = ("dice", "dice_fpr5", "auprc_brain", "detection_auroc", "lesion_f1", "hd95")
"""Metrics beside the paper's; the first two use no label of the test set for their threshold."""
KEY = "method (trained on)"
TIES = 3
"""If more rows share the best value, none is bold: they tell nothing apart."""
ALT_TABLE = "A panel for each test set: the Dice of each method in the paper across, ours upwards."


def cells_section(sweep: Measured, folder: Path) -> str:
    """A table for each of the paper's test sets, then what the paper does not have."""
    parts = []
    for test_set, title in TEST_SETS.items():
        parts += [f"### {title}", subjects_words(sweep, test_set), cells_table(sweep, test_set)]
    ours = {(row, name): cell for (_, row, name), cell in sweep.cells("best_dice").items()}
    figure = paper_against_here(ours, paper_values("best_dice"), TEST_SETS)
    figure.savefig(folder / "paper_against_here.png")
    parts += ["### All rows in one picture", words.image("paper_against_here.png", ALT_TABLE)]
    parts.append(
        "Each point is a row, colored by what it was trained on (`pii`: the anomalies that PII "
        "makes for itself). Bars are the 95 % intervals; on the dotted line, this book and the "
        "paper agree."
    )
    for title, more in others(sweep).items():
        if len(more):
            parts += [f"### {title}", to_markdown(more)]
    return "\n\n".join(part for part in parts if part)


def subjects_words(sweep: Measured, test_set: str) -> str:
    """How many subjects stand behind a table of a test set."""
    count = _subjects(sweep.cells("best_dice"), test_set)
    return f"Means and intervals are over {count} test subjects." if count else ""


def _subjects(cells: Mapping[tuple[str, Row, str], Cell], test_set: str) -> int:
    """Subjects of the cell of a test set that has most of them."""
    return max((c.subjects for (*_, name), c in cells.items() if name == test_set), default=0)


def cells_table(sweep: Measured, test_set: str) -> str:
    """Markdown: a line a row of the paper; for each metric the paper, this book, and the gap."""
    head = [KEY]
    head += [f"{METRIC_NAMES[m]} {what}" for m in METRICS for what in ("paper", "here", "gap")]
    columns = {m: (paper_values(m), sweep.cells(m)) for m in METRICS}
    lines = [[row_name((starred(row[0]), row[1]))] for row in paper_rows()]
    for metric, (theirs, ours) in columns.items():
        noise = noisy_rows(sweep, test_set, metric)
        here = [ours.get((sweep.variants[0], row, test_set)) for row in paper_rows()]
        paper = [theirs[row, test_set] for row in paper_rows()]
        best = max(mean for mean, _ in paper), max((c.mean for c in here if c), default=None)
        for row, line, there, cell in zip(paper_rows(), lines, paper, here, strict=True):
            line += _cell(there, cell, best, row in noise)
    return markdown(head, lines)


def noisy_rows(sweep: Measured, test_set: str, metric: str) -> set[Row]:
    """Rows of the paper that cannot be told here from the best of them."""
    known = set(paper_rows())
    keys = zip(sweep.subjects["method"], sweep.subjects["annotations"], strict=True)
    return comparisons.noisy_rows(
        sweep.subjects[[key in known for key in keys]], test_set, metric
    )


def _cell(
    paper: tuple[float, float], cell: Cell | None, best: tuple[float, float | None], noise: bool
) -> tuple[str, str, str]:
    """The paper as it is printed there, this book, and the gap; the best of a column is bold."""
    there = _bold(f"{100 * paper[0]:.2f} ± {100 * paper[1]:.2f}", paper[0] == best[0])
    if cell is None:
        return words.held(there), NOTHING, NOTHING
    here = words.held(_bold(words.percent(cell), cell.mean == best[1]))
    return words.held(there), here + f" {MARK}" * noise, f"{100 * (cell.mean - paper[0]):+.1f}"


def _bold(text: str, best: bool) -> str:
    """Its first word, the mean, in bold."""
    value, space, rest = text.partition(" ")
    return f"**{value}**{space}{rest}" if best else text


def further_section(sweep: Measured) -> str:
    """What the paper's table does not measure: a folded table for each test set, or no text."""
    metrics = [m for m in FURTHER if sweep.cells(m)]
    return "\n\n".join(
        f":::{{dropdown}} {set_title(test_set)}\n"
        f"{further_table(sweep, test_set, metrics)}\n:::"
        for test_set in dict.fromkeys(sweep.table["test_set"])
        if metrics
    )


def further_table(sweep: Measured, test_set: str, metrics: Sequence[str]) -> str:
    """Markdown: a line a row of the paper, a column a metric of :data:`FURTHER`."""
    variant = sweep.variants[0]
    head = [KEY, *(METRIC_NAMES[m].replace("5 %", "5\u00a0%") for m in metrics)]
    lines = [[row_name((starred(row[0]), row[1]))] for row in paper_rows()]
    for metric in metrics:
        cells = sweep.cells(metric)
        here = [cells.get((variant, row, test_set)) for row in paper_rows()]
        most = _subjects(cells, test_set)
        means = [  # a distance that exists for few subjects beats nothing
            cell.mean for cell in here
            if cell and not math.isnan(cell.mean) and 2 * cell.subjects >= most
        ]  # fmt: skip
        best = (min if metric in LOWER_IS_BETTER else max)(means, default=None)
        bold = means.count(best) <= TIES
        noise = noisy_rows(sweep, test_set, metric)
        for row, line, cell in zip(paper_rows(), lines, here, strict=True):
            text = _bold(words.value(cell, metric), bold and cell is not None and cell.mean == best)
            few = f" (n = {cell.subjects})" if cell and 0 < cell.subjects < most else ""
            line.append(words.held(text + few) + f" {MARK}" * (row in noise))
    return markdown(head, lines)


def others(sweep: Measured) -> dict[str, pd.DataFrame]:
    """Tables of the test sets and of the methods that the paper's table does not have."""
    rows = sweep.table.rename(columns={"sd_runs": "sd", "n_subjects": "n"})
    rows = rows[rows["metric"].isin(METRICS)]
    keys = zip(rows["method"], rows["annotations"], strict=True)
    paper = set(paper_rows())
    known = pd.Series([key in paper for key in keys], rows.index)
    here = rows["test_set"].isin(TEST_SETS)
    return {
        "Test sets that the paper's table does not have": _by_row(rows[~here]),
        "Methods that the paper's table does not have": _by_row(rows[here & ~known]),
    }


def _by_row(rows: pd.DataFrame) -> pd.DataFrame:
    """Tidy rows as a table with the name of a row in its first column, in the paper's order."""
    table = results_table(rows, METRICS)
    if table.empty:
        return table
    sources = table.pop("annotations").replace(NOTHING, "")
    keys = list(zip(table["method"], sources, strict=True))
    table["method"] = [row_name((starred(method), source)) for method, source in keys]
    paper = paper_rows()
    places = [paper.index(key) if key in paper else len(paper) for key in keys]
    order = sorted(range(len(keys)), key=places.__getitem__)
    return table.iloc[order].rename(columns={"method": KEY}).map(words.held)
