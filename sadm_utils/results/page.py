"""The page "Results": each cell of the paper's table beside ours, and which orderings hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sadm_utils.evaluation.tables import (
    METRIC_NAMES,
    NOTHING,
)
from sadm_utils.progress import gigabytes
from sadm_utils.reference.page import markdown
from sadm_utils.report import duration
from sadm_utils.results import orderings, words
from sadm_utils.results.agreement import all_rivals, rank_correlation
from sadm_utils.results.cells import cells_section, further_section
from sadm_utils.results.measured import Measured, read_sweep
from sadm_utils.results.orderings import Judged, Pair, judge, tally
from sadm_utils.results.paper import (
    METRICS,
    TEST_SETS,
    Row,
    row_name,
)
from sadm_utils.results.pictures import pictures_section
from sadm_utils.results.weights import weights_section

SWEEP = "table"
RIVALS_NAMED = 4  # of those above SADM_res; the others are counted
MARKS = {
    "made": "<!-- results: how they were made -->",
    "cells": "<!-- results: each cell -->",
    "further": "<!-- results: further protocols -->",
    "pictures": "<!-- results: pictures -->",
    "correlation": "<!-- results: correlation -->",
    "orderings": "<!-- results: orderings -->",
    "rivals": "<!-- results: where SADM does not win -->",
    "weights": "<!-- results: weights -->",
}


def fill_results(text: str, folder: Path) -> str:
    """Put tables and words into the places of their marks, and draw figures into ``folder``."""
    if not any(mark in text for mark in MARKS.values()):
        return text
    sweep = read_sweep(SWEEP)
    if sweep is None:
        for key, mark in MARKS.items():
            text = text.replace(mark, rivals_words(None) if key == "rivals" else NOTHING_YET[key])
        return text
    sweep = sweep.only(sweep.variants[0])
    parts = {
        "made": made_words(sweep),
        "cells": cells_section(sweep, folder),
        "further": further_section(sweep) or NOTHING_YET["further"],
        "pictures": pictures_section(sweep.pictures, folder),
        "correlation": correlation_table(sweep),
        "orderings": orderings_section(sweep),
        "rivals": f"{rivals_words(None)}\n\n{rivals_words(sweep)}",
        "weights": weights_section(sweep, folder) or NOTHING_YET["weights"],
    }
    for key, part in parts.items():
        text = text.replace(MARKS[key], part)
    return text


NOTHING_YET = {key: "*Not measured yet.*" for key in MARKS} | {"made": words.not_measured(SWEEP)}


def made_words(sweep: Measured) -> str:
    """Which run this is, what its subjects are, and what it cost."""
    parts = [words.made_with(sweep)]
    if words.on_phantoms(sweep.about):
        parts.append(words.PHANTOMS)
    cost = sweep.about.get("cost")
    return "\n\n".join([*parts, cost_table(cost)] if cost else parts)


def cost_table(cost: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown: how often each notebook ran, and what a run took."""
    lines = [
        (name.replace("_", " "), str(one["points"]), duration(one["mean_seconds"]),
         gigabytes(one["peak_bytes"]))
        for name, one in cost.items()
    ]  # fmt: skip
    return markdown(("notebook", "runs", "time of a run", "peak memory"), lines)


def correlation_table(sweep: Measured) -> str:
    """Markdown: Spearman's correlation of our column with the paper's."""
    lines = []
    for test_set, title in TEST_SETS.items():
        line = [title]
        rows = 0
        for metric in METRICS:
            found = rank_correlation(sweep, test_set, metric)
            rows = max(rows, found.rows if found else 0)
            line.append(
                f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]" if found else NOTHING
            )
        lines.append([*line, str(rows)])
    return markdown(("test set", *(METRIC_NAMES[m] for m in METRICS), "rows"), lines)


def orderings_section(sweep: Measured) -> str:
    """The three families row by row, the count over all pairs, and those that are reversed."""
    families = {
        "Each method against cDDPM": orderings.against_base(),
        "Adding the reconstruction map: SADM against its Unet": orderings.against_counterpart(),
        "Training on the tested kind against another kind": orderings.own_against_other(),
    }
    judged = {title: judge(pairs, sweep) for title, pairs in families.items()}
    for metric in METRICS:
        title = f"All pairs of rows, {METRIC_NAMES[metric]}"
        judged[title] = judge(orderings.all_pairs(metric), sweep, correct=False)
    parts = [tally_table(judged)]
    for title, pairs in families.items():
        parts += [f"### {title}", family_table(pairs, judged[title])]
    parts.append("A minus: the first row is below the second. *Holds*: as it is in the paper.")
    every = judged[f"All pairs of rows, {METRIC_NAMES['best_dice']}"]
    against = [one for one in every if one.verdict == orderings.REVERSED]
    if against:
        title = f"All {len(against)} pairs that are reversed here, without a correction (⌈Dice⌉)"
        parts.append(f":::{{dropdown}} {title}\n{reversed_table(against)}\n:::")
    return "\n\n".join(parts)


def tally_table(judged: dict[str, list[Judged]]) -> str:
    """Markdown: how many orderings hold, by family and test set."""
    head = ("orderings of the paper", "in all", *orderings.VERDICTS)
    lines = []
    for title, found in judged.items():
        for test_set, name in TEST_SETS.items():
            part = [one for one in found if one.pair.test_set == test_set]
            counts = tally(part)
            lines.append([f"{title}, {name}", str(len(part)), *map(str, counts.values())])
    return markdown(head, lines)


def family_table(pairs: Sequence[Pair], judged: Sequence[Judged]) -> str:
    """Markdown: a line for each two rows, a column for each test set.

    A cell tells the verdict, our difference with its interval, and the paper's.
    """
    by_pair = {one.pair: one for one in judged}
    lines: dict[tuple[Row, Row], dict[str, str]] = {}
    for pair in pairs:
        line = lines.setdefault((pair.a, pair.b), {})
        line[pair.test_set] = _verdict_cell(by_pair.get(pair))
    if all(len(line) == 1 for line in lines.values()):  # else a table of dashes
        return markdown(
            ("difference", "verdict"),
            (
                [f"{row_name(a)} − {row_name(b)}, {TEST_SETS[name]}", cell]
                for (a, b), line in lines.items()
                for name, cell in line.items()
            ),
        )
    return markdown(
        ("difference", *TEST_SETS.values()),
        (
            [f"{row_name(a)} − {row_name(b)}", *(line.get(name, NOTHING) for name in TEST_SETS)]
            for (a, b), line in lines.items()
        ),
    )


def _verdict_cell(one: Judged | None) -> str:
    if one is None:
        return "no order in the paper"
    here = "" if one.here is None else f": {words.points(one.here)}"
    return words.held(f"**{one.verdict}**{here} (paper {100 * one.paper:+.1f})")


def reversed_table(judged: Sequence[Judged]) -> str:
    """Markdown: orderings that turn around here, the largest differences first."""
    found = sorted(judged, key=lambda one: -abs(one.here.mean))
    lines = []
    for one in found:
        name = f"{row_name(one.pair.a)} − {row_name(one.pair.b)}, {TEST_SETS[one.pair.test_set]}"
        lines.append((name, f"{100 * one.paper:+.1f}", words.held(words.points(one.here))))
    return markdown(("difference", "paper", "here"), lines)


def rivals_words(sweep: Measured | None) -> str:
    """Where SADM_res is not the best of the methods with the same or no labels: a list."""
    pairs = list(all_rivals(sweep, METRICS, TEST_SETS))
    beaten = [(source, name, found) for source, name, found in pairs if any(found.values())]
    where = "In the paper" if sweep is None else "Here"
    what = (
        f"**{where}**, SADM_res is below another method that learned from the same labels or from "
        f"none in {len(beaten)} of {len(pairs)} pairs of training and test set"
    )
    if not pairs:
        return f"**{where}**, SADM_res was not run."
    if not beaten:
        return f"{what}."
    lines = [
        f"- trained on {source}, tested on {TEST_SETS[name]}: {_rivals(found)}."
        for source, name, found in beaten
    ]
    return f"{what}; behind each rival its lead in points:\n\n" + "\n".join(lines)


def _rivals(found: dict[str, list]) -> str:
    texts = []
    for metric, rivals in found.items():
        names = [
            f"{row_name(r.row)} +{100 * r.lead:.1f}{'' if r.certain else ' (within noise)'}"
            for r in rivals[:RIVALS_NAMED]
        ]
        if more := len(rivals) - len(names):
            names.append(f"and {more} more")
        if names:
            texts.append(f"{METRIC_NAMES[metric]} {', '.join(names)}")
    return "; ".join(texts)
