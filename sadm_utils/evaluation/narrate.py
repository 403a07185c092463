"""Say in words and tables what the results mean, misses first (chapter 6).

Every sentence is made from the numbers of the run. Nothing here decides whether a claim holds: that
is ``sadm_utils.evaluation.findings``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sadm_utils.evaluation.comparisons import rank_rows
from sadm_utils.evaluation.findings import CLAIMS, Row
from sadm_utils.evaluation.statistics import compare
from sadm_utils.evaluation.tables import METRIC_NAMES, NOTHING
from sadm_utils.report import minus

Finding = Mapping[str, Any]
GAINS: tuple[tuple[str, str, str], ...] = (
    ("the residual as input", "Unet_res", "Unet"),
    ("adding the reconstruction map", "SADM", "Unet"),
    ("both", "SADM_res", "Unet"),
    ("adding the map to Unet_res", "SADM_res", "Unet_res"),
)
"""What each part of the method adds: (name, with it, without it)."""


def findings_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """One line a finding: the claim, what was measured, what it needs, and whether it holds.

    ⌈Dice⌉ is shown in percent (points for differences), the l1 error in intensity units.
    """
    return pd.DataFrame([
        {
            "claim": f["claim"],
            "measured": _show(f, f["value"]),
            "95 % interval": _interval(f),
            "needed": ("≤ " if _is_error(f) else "≥ ") + _show(f, f["needed"]),
            "holds": "yes" if f["holds"] else "no",
            "certain": _certainty(f),
        }
        for f in findings
    ])  # fmt: skip


def findings_words(findings: Sequence[Finding], subjects: pd.DataFrame) -> str:
    """Markdown on the findings: how many hold, each miss with its reason, each narrow hold.

    Parameters
    ----------
    findings
        From ``check_findings``.
    subjects
        One value a subject, the table behind them.
    """
    missed = [f for f in findings if not f["holds"]]
    narrow = [f for f in findings if f["holds"] and f["certain"] is False]
    lines = [f"**{len(findings) - len(missed)} of {len(findings)} findings hold.**"]
    if missed:
        lines += ["", "This one does not:" if len(missed) == 1 else "These do not:", ""]
        lines += [f"- *{f['claim']}.* {_miss(f)} {_reason(f, subjects)}".rstrip() for f in missed]
    if narrow:
        lines += ["", "On average this holds, but other subjects could have said otherwise:", ""]
        lines += [f"- *{f['claim']}.* {_reason(f, subjects)}".rstrip() for f in narrow]
    return "\n".join(lines)


def gains_table(subjects: pd.DataFrame, metric: str = "best_dice", seed: int = 0) -> pd.DataFrame:
    """What the parts of SADM add: paired differences in points.

    Returns
    -------
    One line a source of annotations and part, one column a test set; cells such as
    ``+7.1 [3.0, 11.2]``, or a dash where one of the two rows was not measured.
    """
    sets = list(dict.fromkeys(subjects["test_set"]))
    sources = [s for s in dict.fromkeys(subjects["annotations"].fillna("")) if s]
    rows = []
    for source in sources:
        for name, with_it, without in GAINS:
            pair = (with_it, source), (without, source)
            cells = {test_set: _gain(subjects, *pair, test_set, metric, seed) for test_set in sets}
            rows.append({"trained on": source, "what is added": name, **cells})
    return pd.DataFrame(rows)


def best_weights(curve: pd.DataFrame) -> pd.DataFrame:
    """For each pair of annotations and test set: the best fusion weight, and what the sum loses.

    Parameters
    ----------
    curve
        Columns annotations, test_set, beta, best_dice (a fraction).

    Returns
    -------
    One line a pair, ⌈Dice⌉ in percent. The plain sum ranks voxels like the weight 0.5.
    """
    rows = []
    for (source, test_set), part in curve.groupby(["annotations", "test_set"], sort=False):
        percent = 100 * part.set_index("beta")["best_dice"]
        at_sum = percent[(percent.index.to_series() - 0.5).abs().idxmin()]
        rows.append({
            "trained on": source, "tested on": test_set, "best β": f"{percent.idxmax():.2g}",
            "⌈Dice⌉ there": f"{percent.max():.1f}", "at β = 0.5": f"{at_sum:.1f}",
            "lost by the sum": f"{percent.max() - at_sum:.1f}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def set_words(subjects: pd.DataFrame, test_set: str, useful: float = 0.2) -> str:
    """One sentence: which method is best on a test set, and whether any is of use there.

    ``useful`` is the mean ⌈Dice⌉ below which the sentence says that none is.
    """
    row = best_method(subjects, test_set)
    values = 100 * values_of(subjects, test_set, row)
    name = f"{row[0]} trained on {row[1]}" if row[1] else row[0]
    if values.mean() < 100 * useful:
        return (
            f"{test_set}: **no method reaches {100 * useful:.0f} on average.** The best, {name}, "
            f"has {values.mean():.1f}."
        )
    return (
        f"{test_set}: best is {name} with {values.mean():.0f} on average, and "
        f"{values.min():.0f} on its worst subject."
    )


def best_method(subjects: pd.DataFrame, test_set: str, metric: str = "best_dice") -> Row:
    """(method, annotations) with the highest mean on a test set."""
    chosen = subjects[(subjects["test_set"] == test_set) & (subjects["metric"] == metric)]
    means = chosen.fillna({"annotations": ""}).groupby(["method", "annotations"])["value"].mean()
    return means.idxmax()


def winners_table(
    subjects: pd.DataFrame,
    metrics: Sequence[str] = ("best_dice", "dice", "dice_fpr5", "auprc", "lesion_f1", "assd"),
) -> pd.DataFrame:
    """The best method of each test set under each protocol; a dash where it was not measured."""
    lines = []
    for metric in metrics:
        line = {"protocol": METRIC_NAMES[metric]}
        for test_set in dict.fromkeys(subjects["test_set"]):
            try:
                ranked = rank_rows(subjects, test_set, metric)
                best = ranked.index[np.isclose(ranked, ranked.iloc[0], rtol=1e-9, atol=0)]
                line[test_set] = ", ".join(" ".join(row).strip() for row in best)
            except ValueError:
                line[test_set] = NOTHING
        lines.append(line)
    return pd.DataFrame(lines)


def values_of(
    subjects: pd.DataFrame, test_set: str, row: Row, metric: str = "best_dice"
) -> pd.Series:
    """One metric of one row by subject, without the subjects for which it does not exist."""
    chosen = subjects[
        (subjects["test_set"] == test_set)
        & (subjects["metric"] == metric)
        & (subjects["method"] == row[0])
        & (subjects["annotations"].fillna("") == row[1])
    ]
    return chosen.set_index("subject")["value"].dropna()


def size_words(subjects: pd.DataFrame, sizes: pd.Series, test_set: str, row: Row) -> str:
    """One sentence: how a method does on the subjects with more lesion, and on the other half.

    ``sizes`` maps subjects to the volume of their lesions in ml.
    """
    values = values_of(subjects, test_set, row)
    sizes = sizes.reindex(values.index).dropna()
    values = values[sizes.index]
    if len(values) < 2:
        return f"{test_set} has too few subjects to compare lesion sizes."
    small = sizes <= sizes.median()
    small_mean, large_mean = (100 * values[part].mean() for part in (small, ~small))
    if np.isnan(large_mean):
        return f"All subjects of {test_set} have as much lesion."
    return (
        f"{test_set}: ⌈Dice⌉ {large_mean:.0f} on the half of the subjects with more lesion, "
        f"{small_mean:.0f} on the other half (up to {sizes.median():.1f} ml)."
    )


def _is_error(finding: Finding) -> bool:
    """The healthy reconstruction error: smaller is better, and it is no percentage."""
    return finding["claim"].startswith("healthy l1")


def _show(finding: Finding, value: float) -> str:
    """The error in units of [0, 1], everything else in percent."""
    return f"{value:.5f}" if _is_error(finding) else f"{100 * value:.1f}"


def _interval(finding: Finding) -> str:
    ends = (finding["low"], finding["high"])
    if any(end is None or np.isnan(end) for end in ends):
        return "–"
    return f"[{_show(finding, ends[0])}, {_show(finding, ends[1])}]"


def _certainty(finding: Finding) -> str:
    """Whether the whole interval agrees with the verdict of the mean."""
    if finding["low"] is None or np.isnan(finding["low"]):
        return "–"
    return "yes" if (finding["certain"] if finding["holds"] else _fails_for_sure(finding)) else "no"


def _fails_for_sure(finding: Finding) -> bool:
    """Whether the whole interval of a miss lies on the wrong side."""
    if _is_error(finding):
        return finding["low"] > finding["needed"]
    return finding["high"] < finding["needed"]


def _miss(finding: Finding) -> str:
    """How far a claim was missed, and whether that could be the choice of subjects."""
    if _is_error(finding):
        over = 100 * (finding["value"] / finding["needed"] - 1)
        text = (
            f"Measured {finding['value']:.5f}, {over:.2g} % above the limit: the reconstructions "
            "are less exact than demanded."
        )
        if finding["low"] is not None and finding["low"] <= finding["needed"]:
            return f"{text} The interval reaches the limit, so other subjects could have met it."
        return text
    gap = 100 * (finding["needed"] - finding["value"])
    text = f"It falls short by {gap:.1f} points."
    if finding["high"] is None or np.isnan(finding["high"]):
        return text
    if finding["high"] >= finding["needed"]:
        return f"{text} The interval reaches the mark, so other subjects could have met it."
    return f"{text} The whole interval lies below, so this is not a matter of which subjects."


def _reason(finding: Finding, subjects: pd.DataFrame) -> str:
    """What the subjects show about a claim: who wins how often, or what kind of error prevails."""
    claim = next((c for c in CLAIMS if c.text == finding["claim"]), None)
    if claim is None:
        return ""
    a = values_of(subjects, claim.test_set, claim.a)
    if claim.b is not None:
        b = values_of(subjects, claim.test_set, claim.b).reindex(a.index)
        wins = int((a - claim.factor * b >= claim.margin).sum())
        return f"The claim is true of {wins} of {len(a)} subjects."
    wins = int((a >= claim.margin).sum())
    text = f"{wins} of {len(a)} subjects reach it."
    rates = [100 * values_of(subjects, claim.test_set, claim.a, name).mean()
             for name in ("recall", "precision")]  # fmt: skip
    if any(np.isnan(rate) for rate in rates):
        return text
    return (
        f"{text} At the validation threshold, {rates[0]:.0f} % of the lesion is found, and "
        f"{rates[1]:.0f} % of what is marked is lesion."
    )


def _gain(
    subjects: pd.DataFrame, a: Row, b: Row, test_set: str, metric: str, seed: int
) -> str:
    try:
        difference = compare(subjects, a, b, test_set, metric, seed)
    except ValueError:  # one of the two was not measured
        return "–"
    text = minus(f"{100 * difference.mean:+.1f}")
    if np.isnan(difference.low):
        return text
    return minus(f"{text} [{100 * difference.low:.1f}, {100 * difference.high:.1f}]")
