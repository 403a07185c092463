"""The table of a sweep as the paper lays it out: text, Markdown or LaTeX.

Rows come in the paper's order, columns are test sets and metrics, a cell is mean ± standard
deviation over runs, and the bootstrap interval over subjects.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sadm_utils.errors import UserError
from sadm_utils.evaluation.comparisons import MARK, noisy_rows
from sadm_utils.evaluation.tables import (
    METRIC_NAMES,
    NO_PERCENTAGE,
    NOTHING,
    format_value,
    to_markdown,
    to_text,
)
from sadm_utils.results.paper import paper_rows, starred

USUAL = ("best_dice", "dice", "auprc")
LAYOUTS = ("text", "markdown", "latex")
TRAINED_ON = {"": NOTHING, "pii": "PII", "draem": "DRAEM", "brats21": "BRATS", "atlas_v2": "ATLAS"}
SETS = {"Brats21": "BRATS", "ATLAS": "ATLAS", "DRAEM": "DRAEM", "MSLUB": "MSLUB", "WMH": "WMH"}
CAPTION = (
    "Percent (distances in mm, l1 errors in units of [0, 1]): mean ± sd over runs (seeds and "
    "folds), and the 95 % bootstrap interval over subjects. "
    f"{MARK}: cannot be told from the best of its column (sign-flip test with Holm's correction); "
    "metrics of a whole test set are not tested. "
    "*: on the encoder that this book has pretrained, not on one that knows photographs."
)


def render(
    table: pd.DataFrame,
    style: str = "text",
    metrics: Sequence[str] = (),
    subjects: pd.DataFrame | None = None,
) -> str:
    """Lay the table of :func:`sadm_utils.sweep.collect.collect` out.

    Parameters
    ----------
    table
        Columns variant, method, annotations, test_set, metric, mean, sd_runs, low, high.
    style
        ``text``, ``markdown`` or ``latex`` (a document of its own).
    metrics
        Names of the columns below each test set; by default those of :data:`USUAL` that are there.
    subjects
        One value a subject, from the same; without them nothing is marked as noise.

    Raises
    ------
    UserError
        If a metric was not measured.
    """
    known = list(dict.fromkeys(table["metric"]))
    metrics = list(metrics) or [metric for metric in USUAL if metric in known]
    for metric in metrics:
        if metric not in known:
            raise UserError(f"Unknown --metric {metric!r}: choose from {', '.join(known)}.")
    if subjects is not None:
        table = table.assign(noise=_noise(table, subjects, metrics))
    parts = {v: part for v, part in table.groupby("variant", sort=False)}
    if style == "latex":
        return _document({v: _latex(part, metrics) for v, part in parts.items()})
    blocks = []
    for variant, part in parts.items():
        title = f"### {variant}" if style == "markdown" else variant
        blocks += [title] * (len(parts) > 1)
        if style == "markdown":
            blocks.append(to_markdown(paper_table(part, metrics)))
        else:  # all test sets side by side are wider than a terminal
            sets = _sets(part)
            blocks += [to_text(paper_table(part, metrics, [name])) for name in sets]
    return "\n\n".join([*blocks, CAPTION])


def paper_table(
    part: pd.DataFrame, metrics: Sequence[str], test_sets: Sequence[str] | None = None
) -> pd.DataFrame:
    """One variant as a table of strings: a row a method, a column a test set and metric."""
    test_sets = _sets(part) if test_sets is None else test_sets
    cells = _cells(part)
    lines = []
    for method, source in _rows(part):
        line = {"method": starred(method), "annotations": TRAINED_ON.get(source, source)}
        for name in test_sets:
            for metric in metrics:
                title = f"{SETS.get(name, name)} {METRIC_NAMES.get(metric, metric)}"
                line[title] = cells.get((method, source, name, metric), NOTHING)
        lines.append(line)
    return pd.DataFrame(lines)


def _cells(part: pd.DataFrame) -> dict[tuple[str, str, str, str], str]:
    cells = {}
    for row in part.to_dict("records"):
        places = NO_PERCENTAGE.get(row["metric"])
        how = {} if places is None else {"percent": False, "places": places}
        cells[row["method"], row["annotations"], row["test_set"], row["metric"]] = format_value(
            row["mean"], row["sd_runs"], row["low"], row["high"], **how
        ) + (f" {MARK}" if row.get("noise") else "")
    return cells


def _noise(table: pd.DataFrame, subjects: pd.DataFrame, metrics: Sequence[str]) -> list[bool]:
    """For each line of the table whether it cannot be told from the best of its column."""
    found: set[tuple[str, ...]] = set()
    for variant, part in subjects.groupby("variant", sort=False):
        for metric in metrics:
            for name in part["test_set"].unique():
                rows = noisy_rows(part, name, metric)
                found |= {(str(variant), *row, name, metric) for row in rows}
    keys = ["variant", "method", "annotations", "test_set", "metric"]
    return [tuple(row) in found for row in table[keys].itertuples(index=False)]


def _sets(part: pd.DataFrame) -> list[str]:
    """Test sets in the paper's order; those that it does not have at the end."""
    found = list(dict.fromkeys(part["test_set"]))
    return [s for s in SETS if s in found] + [s for s in found if s not in SETS]


def _rows(part: pd.DataFrame) -> list[tuple[str, str]]:
    """Rows in the paper's order; those that it does not have come first."""
    found = list(dict.fromkeys(zip(part["method"], part["annotations"], strict=True)))
    order = {(_plain(method), source): n for n, (method, source) in enumerate(paper_rows())}
    return sorted(found, key=lambda row: order.get((_plain(row[0]), row[1]), -1))


def _plain(name: str) -> str:
    """A method's name without what is a matter of taste."""
    return name.lower().replace("-", "").replace(" ", "")


def _latex(part: pd.DataFrame, metrics: Sequence[str]) -> str:
    """One variant as a ``tabular`` of the package booktabs."""
    sets, count = _sets(part), len(metrics)
    table = paper_table(part, metrics)
    spans = [rf"\multicolumn{{{count}}}{{c}}{{{_escape(SETS.get(s, s))}}}" for s in sets]
    names = [_escape(METRIC_NAMES.get(metric, metric)) for metric in metrics] * len(sets)
    rules = [
        rf"\cmidrule(lr){{{3 + count * n}-{2 + count * (n + 1)}}}" for n in range(len(sets))
    ]
    lines = [
        rf"\begin{{tabular}}{{ll{'c' * len(names)}}}",
        r"\toprule",
        " & ".join(["", "trained on", *spans]) + r" \\",
        "".join(rules),
        " & ".join(["model", "", *names]) + r" \\",
        r"\midrule",
    ]
    before = None
    for row in table.itertuples(index=False):
        if before not in (None, row[1]):
            lines.append(r"\midrule")
        before = row[1]
        lines.append(" & ".join([*map(_escape, row[:2]), *map(_cell, row[2:])]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _cell(text: str) -> str:
    """``58.6 ± 0.8 [56.1, 60.9]`` with the interval small."""
    value, bracket, interval = text.removesuffix(f" {MARK}").partition(" [")
    small = rf" {{\scriptsize [{interval}}}" if bracket else ""
    return _escape(value + MARK * text.endswith(MARK)) + small


def _escape(text: str) -> str:
    for sign in ("_", "%", "&", "#"):
        text = text.replace(sign, f"\\{sign}")
    words = {
        MARK: r"$^\dagger$", "±": r"$\pm$", NOTHING: "--",
        "⌈Dice⌉": r"$\lceil\mathrm{Dice}\rceil$",
    }  # fmt: skip
    for word, code in words.items():
        text = text.replace(word, code)
    return text


def _document(tables: dict[str, str]) -> str:
    body = []
    for variant, table in tables.items():
        title = f"\\subsection*{{{_escape(variant)}}}\n" if len(tables) > 1 else ""
        body.append(f"{title}\\resizebox{{\\linewidth}}{{!}}{{%\n{table}%\n}}\n")
    return "\n".join([
        r"\documentclass{article}",
        r"\usepackage[a4paper,landscape,margin=15mm]{geometry}",
        r"\usepackage{booktabs,graphicx}",
        r"\begin{document}",
        r"\noindent",
        "\n".join(body),
        f"\\par\\smallskip\\noindent {_escape(CAPTION)}",
        r"\end{document}",
    ])  # fmt: skip
