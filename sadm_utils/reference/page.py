"""The generated tables of the page "Paper, released code, this book"."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from sadm_utils.config import Config
from sadm_utils.reference.choices import CHOICES
from sadm_utils.reference.defects import COUNTED, load_cases, measure
from sadm_utils.report import minus

CHOICES_MARK, DEFECTS_MARK = "<!-- table of choices -->", "<!-- table of defects -->"
NO_MAPS = "*This run has no evaluation, so nothing could be measured.*"


def fill_page(text: str, run_dir: Path) -> str:
    """Put the tables in the places of their marks; the second is measured on the maps of a run."""
    text = text.replace(CHOICES_MARK, choices_table())
    return text.replace(DEFECTS_MARK, defects_table(run_dir)) if DEFECTS_MARK in text else text


def choices_table() -> str:
    """Markdown of :data:`~sadm_utils.reference.choices.CHOICES`, with the paper's settings."""
    head = ("choice", "paper", "released code", "this book", "why, and the test that checks it")
    return markdown(head, (choice.row(Config()) for choice in CHOICES))


def defects_table(run_dir: Path) -> str:
    """Markdown of both rules' results on the kept maps of a run."""
    head = ("rule", "released code", "this book", "released", "corrected", "difference", "unit")
    cases = load_cases(run_dir)
    if not any(case.seg.any() for case in cases):
        return NO_MAPS
    rows = [
        (d.name, d.released, d.corrected, *(f"{v:.2f}" for v in numbers), d.unit)
        for d, *numbers in measure(cases)
    ]
    counted = markdown(("rule", "released code", "this book", "size"), COUNTED)
    count = sum(case.seg.any() for case in cases)
    return (
        f"{markdown(head, rows)}\n\nMeans over {count} test subjects of this run, the first two "
        "of each test set; *difference* is the mean over subjects of |corrected − released|.\n\n"
        f"Some defects are not rules on maps:\n\n{counted}"
    )


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, [":--"] * len(head), *([minus(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(c.replace('|', chr(92) + '|') for c in x)} |" for x in lines)
