"""The page "What the paper leaves open": for each question a table, a figure, and words."""

from __future__ import annotations

from pathlib import Path

from sadm_utils.reference.page import markdown
from sadm_utils.results import words
from sadm_utils.results.annotation_study import annotation_section
from sadm_utils.results.figures import variant_panels
from sadm_utils.results.measured import Measured, difference, read_sweep, verdict
from sadm_utils.results.paper import Row, row_name
from sadm_utils.results.study import (
    ALL_SETS,
    ANNOTATIONS,
    SADM,
    STUDIES,
    UNSUPERVISED,
    Study,
)

ALT = "⌈Dice⌉ of {rows}, by {variants}; a panel for each test set, points with intervals."
METRIC = "best_dice"
SEEDS_MARK = "<!-- studies: seeds -->"


def fill_studies(text: str, folder: Path) -> str:
    """Put each study into the place of its mark, and draw its figure into ``folder``."""
    if SEEDS_MARK in text:
        text = text.replace(SEEDS_MARK, seeds_words(read_sweep("table")))
    for study in (ANNOTATIONS, *STUDIES):
        if study.mark in text:
            text = text.replace(study.mark, study_section(study, folder))
    return text


def seeds_words(sweep: Measured | None) -> str:
    """How far trainings of the same lie apart, from a sweep with several seeds: a sentence."""
    parts = []
    if sweep and len((sweep.about.get("sweep") or {}).get("seeds", ())) > 1:
        variant = sweep.variants[0]
        cells = sweep.only(variant).cells(METRIC)
        for row in (UNSUPERVISED, SADM):
            here = {label: cells.get((variant, row, s)) for s, label in ALL_SETS.items()}
            spread = [f"{100 * c.sd:.1f} on {label}" for label, c in here.items() if c]
            parts.append(f"for {row_name(row)} {words.listed(spread)}")
    if not parts:
        return "How far trainings with other seeds lie apart has not been measured."
    return (
        "[Results](results.md) tells how much that may be. There, the mean ⌈Dice⌉ spreads over "
        f"trainings by (standard deviation, in points): {'; '.join(parts)}."
    )


def study_section(study: Study, folder: Path) -> str:
    """Markdown of one study: its parameter, then what was measured, if anything was."""
    parameter = f"*Parameter:* `{study.parameter}`, varied in `sweeps/{study.sweep}.yaml`."
    sweep = read_sweep(study.sweep)
    if sweep is None:
        return f"{parameter}\n\n{words.not_measured(study.sweep)}"
    if study is ANNOTATIONS:
        parts = annotation_section(study, sweep, folder)
    else:
        parts = [study_table(study, sweep), _figure(study, sweep, folder), found(study, sweep)]
    return "\n\n".join([parameter, *parts, f"*{words.made_with(sweep)}*"])


def study_table(study: Study, sweep: Measured) -> str:
    """Markdown: a line for each row of the table and variant; ⌈Dice⌉ on each test set."""
    cells = sweep.cells(METRIC)
    lines = [
        [f"{row_name(row)}, {label}{' (this book)' * (v == study.base)}",
         *(words.held(words.percent(cells.get((v, row, s)))) for s in study.test_sets)]
        for row in study.rows
        for v, label in study.variants.items()
    ]  # fmt: skip
    return markdown(("method, setting", *study.test_sets), lines)


def _figure(study: Study, sweep: Measured, folder: Path) -> str:
    name = f"study_{study.name}.png"
    figure = variant_panels(sweep.cells(METRIC), study.variants, study.rows, study.test_sets)
    figure.savefig(folder / name)
    rows = words.listed([row_name(row) for row in study.rows])
    return words.image(name, ALT.format(rows=rows, variants=words.listed(_labels(study))))


def _labels(study: Study) -> list[str]:
    return list(study.variants.values())


def found(study: Study, sweep: Measured) -> str:
    """What was found, by rule: a line for each row and variant, and how many are certain."""
    values = {test_set: sweep.values(METRIC, test_set) for test_set in study.test_sets}
    lines, sure, count = [], 0, 0
    for row in study.rows:
        for variant in study.variants:
            if variant == study.base:
                continue
            clear, noise, missing = _compare(study, values, row, variant)
            lines.append(f"- {_sentence(study, row, variant, clear, noise, missing)}")
            sure, count = sure + len(clear), count + len(clear) + len(noise)
    verb = "is" if sure == 1 else "are"
    summary = (
        f"{sure} of {count} differences {verb} more than noise over subjects; with a dozen "
        "subjects, about one in twelve would look so if nothing made a difference."
    )
    return "\n\n".join(["**Found.** Paired differences in ⌈Dice⌉:", "\n".join(lines), summary])


def _compare(
    study: Study, values: dict, row: Row, variant: str
) -> tuple[list[str], list[str], list[str]]:
    """Differences to the base that are clear, those within noise, and sets without values."""
    clear, noise, missing = [], [], []
    for test_set, table in values.items():
        gap = difference(table, (variant, *row), (study.base, *row))
        if gap is None:
            missing.append(test_set)
            continue
        side = "above" if gap.mean > 0 else "below"
        size = f"{abs(100 * gap.mean):.1f} points {side} on {test_set} {words.interval(gap)}"
        (clear if verdict(gap) else noise).append(size if verdict(gap) else test_set)
    return clear, noise, missing


def _sentence(
    study: Study, row: Row, variant: str, clear: list[str], noise: list[str], missing: list[str]
) -> str:
    """*variant* against the base for one row: ``cDDPM, Gaussian against simplex: ...``."""
    parts = [words.listed(clear)] if clear else []
    if noise:
        parts.append(f"within noise on {words.listed(noise)}")
    if missing:
        parts.append(f"not run on {words.listed(missing)}")
    against = f"{study.variants[variant]} against {study.variants[study.base]}"
    return f"{row_name(row)}, {against}: {'; '.join(parts)}."
