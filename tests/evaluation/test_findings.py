"""The paper's findings as claims, checked on hand-made numbers."""

from __future__ import annotations

import pandas as pd
import pytest

from sadm_utils.evaluation.findings import CLAIMS, check_findings
from sadm_utils.evaluation.statistics import Interval

# ⌈Dice⌉ of three subjects each.
TABLE = {
    ("Brats21", "Intensity", ""): [0.1, 0.2, 0.3],
    ("Brats21", "cDDPM", ""): [0.3, 0.4, 0.5],
    ("Brats21", "SADM_res", "draem"): [0.35, 0.45, 0.49],
    ("Brats21", "Unet_res", "draem"): [0.3, 0.5, 0.6],
    ("Brats21", "SADM_res", "brats21"): [0.7, 0.6, 0.5],
    ("ATLAS", "cDDPM", ""): [0.2, 0.2, 0.2],
    ("ATLAS", "SADM_res", "brats21"): [0.17, 0.18, 0.19],
    ("ATLAS", "Unet", "brats21"): [0.1, 0.1, 0.1],
}


def subjects(table: dict = TABLE, reverse: bool = False) -> pd.DataFrame:
    rows = []
    for (test_set, method, source), values in table.items():
        key = {"test_set": test_set, "method": method, "annotations": source}
        for number, value in enumerate(values):
            rows.append({**key, "subject": f"P{number}", "metric": "best_dice", "value": value})
            rows.append({**key, "subject": f"P{number}", "metric": "dice", "value": 0.99})
    return pd.DataFrame(rows[::-1] if reverse else rows)


ERROR = Interval(mean=0.03, sd=0.002, low=0.029, high=0.031, n=3)


def found(frame: pd.DataFrame) -> dict[str, dict]:
    return {row["claim"]: row for row in check_findings(frame, ERROR, resamples=200)}


def test_values_and_verdicts_by_hand() -> None:
    results = found(subjects())
    expected = {
        "cDDPM reaches 30 on tumor": (0.4, True),
        "cDDPM is 1.5 times the intensity threshold on tumor": (0.4 - 1.5 * 0.2, True),
        "SADM_res trained on draem beats cDDPM by 3 on tumor": (0.43 - 0.4, True),
        "SADM_res trained on draem beats Unet_res on tumor": (0.43 - 1.4 / 3, False),
        "SADM_res trained on brats21 reaches 60 on tumor": (0.6, True),
        "SADM_res trained on brats21 is not below cDDPM − 2 on unseen stroke": (-0.02, True),
        "SADM_res trained on brats21 beats Unet by 5 on unseen stroke": (0.08, True),
    }
    assert set(results) == {"healthy l1 error inside the brain is at most 0.035", *expected}
    for claim, (value, holds) in expected.items():
        assert results[claim]["value"] == pytest.approx(value), claim
        near = abs(value - results[claim]["needed"]) < 1e-9  # rounding decides
        assert near or results[claim]["holds"] is holds, claim
        assert results[claim]["low"] <= value + 1e-9 and value - 1e-9 <= results[claim]["high"]


def test_certain_means_that_the_whole_interval_holds() -> None:
    results = found(subjects())
    claim = results["cDDPM reaches 30 on tumor"]
    assert claim["certain"] and claim["low"] >= 0.3
    claim = results["SADM_res trained on brats21 reaches 60 on tumor"]
    assert not claim["certain"] and claim["low"] < 0.6
    assert results["SADM_res trained on brats21 beats Unet by 5 on unseen stroke"]["certain"]


def test_subjects_are_paired_whatever_their_order() -> None:
    forward, backward = found(subjects()), found(subjects(reverse=True))
    for claim, row in forward.items():
        assert backward[claim]["value"] == pytest.approx(row["value"])
    low = found(subjects())["SADM_res trained on brats21 beats Unet by 5 on unseen stroke"]["low"]
    assert low == pytest.approx(0.07, abs=0.004), "the spread is that of the differences"


@pytest.mark.parametrize(
    ("error", "holds", "certain"),
    [(0.033, True, True), (0.035, True, False), (0.0351, False, False),
     (float("nan"), False, False)],
)  # fmt: skip
def test_healthy_error(error: float, holds: bool, certain: bool) -> None:
    interval = Interval(error, 0.002, error - 0.001, error + 0.001, 3)
    row = check_findings(subjects(), interval, resamples=20)[0]
    assert row["claim"].startswith("healthy l1")
    assert (row["holds"], row["certain"]) == (holds, certain)


def test_claims_without_rows_are_left_out() -> None:
    only = {key: values for key, values in TABLE.items() if key[1] == "cDDPM"}
    assert set(found(subjects(only))) == {
        "healthy l1 error inside the brain is at most 0.035", "cDDPM reaches 30 on tumor",
    }  # fmt: skip


def test_every_source_has_its_claims() -> None:
    texts = [claim.text for claim in CLAIMS]
    assert len(set(texts)) == len(texts) == 10
    other_way = {c.text: (c.test_set, c.margin) for c in CLAIMS if "atlas_v2" in c.text}
    assert other_way == {
        "SADM_res trained on atlas_v2 reaches 60 on stroke": ("ATLAS", 0.6),
        "SADM_res trained on atlas_v2 is not below cDDPM − 2 on unseen tumor": ("Brats21", -0.02),
        "SADM_res trained on atlas_v2 beats Unet by 5 on unseen tumor": ("Brats21", 0.05),
    }
