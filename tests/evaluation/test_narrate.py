"""Words about results say what the numbers say, above all where a claim is missed."""

from __future__ import annotations

import pandas as pd
import pytest

from sadm_utils.evaluation.findings import check_findings
from sadm_utils.evaluation.narrate import (
    best_method,
    best_weights,
    findings_table,
    findings_words,
    gains_table,
    set_words,
    size_words,
    values_of,
    winners_table,
)
from sadm_utils.evaluation.statistics import Interval


def make_subjects(values: dict[tuple[str, str, str], list[float]]) -> pd.DataFrame:
    """⌈Dice⌉ a subject by (method, annotations, test set)."""
    return pd.DataFrame([
        {"method": method, "annotations": source, "test_set": test_set, "subject": f"s{number}",
         "metric": "best_dice", "value": value}
        for (method, source, test_set), row in values.items()
        for number, value in enumerate(row)
    ])  # fmt: skip


HEALTHY = "healthy l1 error inside the brain is at most 0.035"


def error(mean: float) -> Interval:
    return Interval(mean, 0.002, mean - 0.001, mean + 0.001, 4)


@pytest.fixture()
def subjects() -> pd.DataFrame:
    return make_subjects({
        ("cDDPM", "", "Brats21"): [0.2, 0.3, 0.25, 0.25],
        ("Intensity", "", "Brats21"): [0.1, 0.1, 0.1, 0.1],
        ("Unet", "brats21", "Brats21"): [0.5, 0.5, 0.5, 0.5],
        ("SADM_res", "brats21", "Brats21"): [0.55, 0.7, 0.55, 0.65],
    })


def test_every_miss_is_named_with_its_gap(subjects: pd.DataFrame) -> None:
    findings = check_findings(subjects, error(0.04), resamples=200)
    text = findings_words(findings, subjects)
    assert text.startswith("**2 of 4 findings hold.**")
    assert "healthy l1 error inside the brain is at most 0.035.* Measured 0.0400" in text
    assert "cDDPM reaches 30 on tumor.* It falls short by 5.0 points" in text
    assert "14 % above the limit" in text and "The interval reaches the limit" not in text
    assert "1 of 4 subjects reach it" in text
    assert "1.5 times" not in text, "it holds, for every subject"


def test_a_narrow_hold_is_not_sold_as_certain(subjects: pd.DataFrame) -> None:
    findings = check_findings(subjects, error(0.02), resamples=200)
    table = findings_table(findings).set_index("claim")
    row = table.loc["SADM_res trained on brats21 reaches 60 on tumor"]
    assert (row["measured"], row["needed"], row["holds"]) == ("61.3", "≥ 60.0", "yes")
    assert row["certain"] == "no"
    assert "other subjects could have said otherwise" in findings_words(findings, subjects)
    row = table.loc[HEALTHY]
    assert list(row) == ["0.02000", "[0.01900, 0.02100]", "≤ 0.03500", "yes", "yes"]


@pytest.mark.parametrize(
    ("value", "holds", "certain"),
    [(0.034, "yes", "yes"), (0.0345, "yes", "no"), (0.0355, "no", "no"), (0.037, "no", "yes")],
)
def test_the_healthy_error_is_certain_on_either_side(
    subjects: pd.DataFrame, value: float, holds: str, certain: str
) -> None:
    """For an error, unlike for Dice, the interval of a miss lies above the mark."""
    findings = check_findings(subjects, error(value))
    row = findings_table(findings).set_index("claim").loc[HEALTHY]
    assert (row["holds"], row["certain"]) == (holds, certain)
    could = "The interval reaches the limit" in findings_words(findings, subjects)
    assert could == ((holds, certain) == ("no", "no"))


def test_gains_are_paired_and_gaps_stay_empty(subjects: pd.DataFrame) -> None:
    table = gains_table(subjects).set_index("what is added")
    assert table.loc["both", "Brats21"].startswith("+11.3 [")
    assert table.loc["the residual as input", "Brats21"] == "–"
    assert table.loc["adding the map to Unet_res", "Brats21"] == "–"


def test_best_method_and_values(subjects: pd.DataFrame) -> None:
    assert best_method(subjects, "Brats21") == ("SADM_res", "brats21")
    assert values_of(subjects, "Brats21", ("cDDPM", "")).tolist() == [0.2, 0.3, 0.25, 0.25]


def test_size_words_compare_the_halves(subjects: pd.DataFrame) -> None:
    sizes = pd.Series({"s0": 1.0, "s1": 9.0, "s2": 2.5, "s3": 8.0})
    text = size_words(subjects, sizes, "Brats21", ("SADM_res", "brats21"))
    assert "68 on the half of the subjects with more lesion" in text
    assert "55 on the other half (up to 5.2 ml)" in text
    one = subjects[subjects["subject"] == "s0"]
    assert "too few" in size_words(one, sizes, "Brats21", ("SADM_res", "brats21"))


def test_sets_without_a_useful_method_are_named(subjects: pd.DataFrame) -> None:
    text = set_words(subjects, "Brats21")
    assert "SADM_res trained on brats21 with 61 on average, and 55 on its worst" in text
    poor = subjects[subjects["method"].isin(["Intensity"])]
    assert "no method reaches 20 on average" in set_words(poor, "Brats21")


def test_the_best_weight_and_the_price_of_the_sum() -> None:
    curve = pd.DataFrame({
        "annotations": "draem", "test_set": "ATLAS",
        "beta": [0.0, 0.5, 1.0], "best_dice": [0.2, 0.5, 0.6],
    })  # fmt: skip
    row = best_weights(curve).iloc[0]
    assert (row["best β"], row["⌈Dice⌉ there"], row["lost by the sum"]) == ("1", "60.0", "10.0")


def test_winners_may_differ_between_protocols(subjects: pd.DataFrame) -> None:
    """SADM_res has the best ⌈Dice⌉ and the largest, that is the worst distance."""
    both = pd.concat([subjects, subjects.assign(metric="assd")])
    table = winners_table(both, ("best_dice", "assd", "dice")).set_index("protocol")
    assert table["Brats21"].to_dict() == {
        "⌈Dice⌉": "SADM_res brats21", "ASSD in mm": "Intensity", "Dice": "–",
    }  # fmt: skip
