"""How many annotated subjects are needed: ⌈Dice⌉ in and out of domain over their number."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sadm_utils.evaluation.statistics import Interval
from sadm_utils.reference.page import markdown
from sadm_utils.results import words
from sadm_utils.results.figures import annotation_panels
from sadm_utils.results.measured import Measured, difference, verdict
from sadm_utils.results.paper import OWN_SET, Row
from sadm_utils.results.study import ALL_SETS, UNSUPERVISED, Study

METHODS = ("Unet", "Unet_res", "SADM", "SADM_res")
NETWORK, SUM = "Unet_res", "SADM_res"
"""The same network without and with the map of the reconstruction."""
SOURCES = ("brats21", "atlas_v2")
FIGURE = "study_annotations.png"
ALT = "Dice over the number of annotated subjects for {methods}, cDDPM as a level; panels: {pairs}."
METRIC = "best_dice"


def pairs_of(sources: tuple[str, ...] = SOURCES) -> list[tuple[str, str, str]]:
    """(annotations, test set, title): the same kind of lesion first, then the one never seen."""
    pairs = []
    for source in sources:
        for test_set in sorted((OWN_SET[s] for s in sources), key=lambda s: s != OWN_SET[source]):
            domain = "the same kind" if test_set == OWN_SET[source] else "another kind"
            pairs.append((source, test_set, f"{source} → {ALL_SETS[test_set]}, {domain}"))
    return pairs


def annotation_section(study: Study, sweep: Measured, folder: Path) -> list[str]:
    """Table, figure and words."""
    cells, pairs = sweep.cells(METRIC), pairs_of()
    figure = annotation_panels(cells, study.variants, pairs, METHODS, UNSUPERVISED)
    figure.savefig(folder / FIGURE)
    titles = words.listed([title for _, _, title in pairs])
    alt = ALT.format(methods=words.listed(METHODS), pairs=titles)
    return [annotation_table(study, sweep), words.image(FIGURE, alt), found(study, sweep)]


def annotation_table(study: Study, sweep: Measured) -> str:
    """Markdown: a line for each pair and method, a column for each number of subjects."""
    cells = sweep.cells(METRIC)
    lines = [
        [f"{method}, {title}",
         *(words.held(words.percent(cells.get((v, (method, source), test_set)), runs=False))
           for v in study.variants)]
        for source, test_set, title in pairs_of()
        for method in METHODS
    ]  # fmt: skip
    return markdown(("method, trained → tested", *study.variants.values()), lines)


def found(study: Study, sweep: Measured) -> str:
    """What was found, by rule: for each pair the gain over the axis, and what the map adds."""
    lines = []
    for source, test_set, title in pairs_of():
        values = sweep.values(METRIC, test_set)
        for method in (NETWORK, SUM):
            line = _method_words(study, values, (method, source))
            lines.append(f"- {title}, {method}: {line}")
        lines.append(f"- {title}, {SUM} against {NETWORK}: {_map_words(study, values, source)}")
    return "**Found.** Paired differences in ⌈Dice⌉:\n\n" + "\n".join(lines)


def _map_words(study: Study, values: pd.DataFrame, source: str) -> str:
    """What adding the reconstruction map changes, for each number of subjects."""
    parts = []
    for variant, label in study.variants.items():
        gap = difference(values, (variant, SUM, source), (variant, NETWORK, source))
        if gap is not None:
            parts.append(f"{words.points(gap)} with {label}{_noise(gap)}")
    return f"{words.listed(parts)}." if parts else "not run."


def _method_words(study: Study, values: pd.DataFrame, row: Row) -> str:
    variants = [v for v in study.variants if (v, *row) in values.columns]
    if study.base not in variants or len(variants) < 2:
        return "not run."
    first, label = variants[0], study.variants
    gain = difference(values, (study.base, *row), (first, *row))
    if gain is None:
        return "not run."
    text = f"all against {label[first]}: {words.points(gain)} points{_noise(gain)}"
    enough = next((v for v in variants if not _below_all(study, values, row, v)), study.base)
    if enough == study.base:
        text += f"; even {label[variants[-2]]} subjects are below all by more than noise"
    else:
        text += f"; from {label[enough]} on, what is missing to all is within noise"
    sides = {v: _against_reconstruction(values, row, v) for v in variants}
    above, below = ([label[v] for v in variants if sides[v] == side] for side in (1, -1))
    if above:
        text += f"; above cDDPM by more than noise with {words.listed(above)}"
    else:
        text += "; never above cDDPM by more than noise"
    return f"{text}, below it with {words.listed(below)}." if below else f"{text}."


def _noise(gap: Interval) -> str:
    return "" if verdict(gap) else " (within noise)"


def _below_all(study: Study, values: pd.DataFrame, row: Row, variant: str) -> bool:
    """Whether this number, or a larger one, is clearly worse than all."""
    later = list(study.variants)[list(study.variants).index(variant) :]
    gaps = [difference(values, (v, *row), (study.base, *row)) for v in later if v != study.base]
    return any(gap is not None and verdict(gap) < 0 for gap in gaps)


def _against_reconstruction(values: pd.DataFrame, row: Row, variant: str) -> int:
    """1 if the row is clearly better than the cDDPM, -1 if it is clearly worse, else 0."""
    gap = difference(values, (variant, *row), (variant, *UNSUPERVISED))
    return 0 if gap is None else verdict(gap)
