"""What the paper found, as claims that a run can meet or miss; the limits are this book's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sadm_utils.evaluation.statistics import Interval, bootstrap_interval, paired_difference

Row = tuple[str, str]
HEALTHY_L1_LIMIT = 0.035


@dataclass(frozen=True)
class Claim:
    """mean(a − factor·b) on a test set is at least ``margin`` (in ⌈Dice⌉, a fraction).

    Without ``b``, mean(a) is at least ``margin``.
    """

    text: str
    test_set: str
    a: Row
    b: Row | None
    margin: float
    factor: float = 1.0


CDDPM, INTENSITY = ("cDDPM", ""), ("Intensity", "")


def _sources(trained: str, own: str, other: str, names: tuple[str, str]) -> tuple[Claim, ...]:
    """Claims for a network trained on one pathology: tested on it, and on one it never saw."""
    sadm = ("SADM_res", trained)
    return (
        Claim(f"SADM_res trained on {trained} reaches 60 on {names[0]}", own, sadm, None, 0.60),
        Claim(
            f"SADM_res trained on {trained} is not below cDDPM − 2 on unseen {names[1]}",
            other, sadm, CDDPM, -0.02,
        ),
        Claim(
            f"SADM_res trained on {trained} beats Unet by 5 on unseen {names[1]}",
            other, sadm, ("Unet", trained), 0.05,
        ),
    )  # fmt: skip


CLAIMS = (
    Claim("cDDPM reaches 30 on tumor", "Brats21", CDDPM, None, 0.30),
    Claim("cDDPM is 1.5 times the intensity threshold on tumor",
          "Brats21", CDDPM, INTENSITY, 0.0, 1.5),
    Claim("SADM_res trained on draem beats cDDPM by 3 on tumor", "Brats21",
          ("SADM_res", "draem"), CDDPM, 0.03),
    Claim("SADM_res trained on draem beats Unet_res on tumor", "Brats21",
          ("SADM_res", "draem"), ("Unet_res", "draem"), 0.0),
    *_sources("brats21", "Brats21", "ATLAS", ("tumor", "stroke")),
    *_sources("atlas_v2", "ATLAS", "Brats21", ("stroke", "tumor")),
)  # fmt: skip


def check_findings(
    subjects: pd.DataFrame, healthy_l1: Interval, seed: int = 0, resamples: int = 2000
) -> list[dict[str, Any]]:
    """Check each claim whose rows exist, with the bootstrap interval over subjects.

    Parameters
    ----------
    subjects
        One value a subject: test_set, method, annotations, subject, metric, value.
    healthy_l1
        Reconstruction error of healthy test subjects inside the brain.

    Returns
    -------
    One dict a claim: ``claim``, ``value``, ``low``, ``high`` (fractions), ``needed``, ``holds``
    (the mean meets it) and ``certain`` (the whole interval does).
    """
    results = [{
        "claim": "healthy l1 error inside the brain is at most 0.035",
        "value": healthy_l1.mean, "low": healthy_l1.low, "high": healthy_l1.high,
        "needed": HEALTHY_L1_LIMIT, "holds": bool(healthy_l1.mean <= HEALTHY_L1_LIMIT),
        "certain": bool(healthy_l1.high <= HEALTHY_L1_LIMIT),
    }]  # fmt: skip
    for claim in CLAIMS:
        interval = _measure(claim, subjects, seed, resamples)
        if interval is not None:
            results.append({
                "claim": claim.text, "value": interval.mean, "low": interval.low,
                "high": interval.high, "needed": claim.margin,
                "holds": bool(interval.mean >= claim.margin),
                "certain": bool(interval.low >= claim.margin),
            })  # fmt: skip
    return results


def _measure(claim: Claim, subjects: pd.DataFrame, seed: int, resamples: int) -> Interval | None:
    first = _values(subjects, claim.test_set, claim.a)
    rng = np.random.default_rng(seed)
    if first.empty:
        return None
    if claim.b is None:
        return bootstrap_interval(first.to_numpy(), rng, resamples)
    second = _values(subjects, claim.test_set, claim.b).reindex(first.index)
    if second.isna().all():
        return None
    return paired_difference(first.to_numpy(), claim.factor * second.to_numpy(), rng, resamples)


def _values(subjects: pd.DataFrame, test_set: str, row: Row) -> pd.Series:
    """⌈Dice⌉ of one row by subject."""
    chosen = subjects[
        (subjects["test_set"] == test_set)
        & (subjects["metric"] == "best_dice")
        & (subjects["method"] == row[0])
        & (subjects["annotations"] == row[1])
    ]
    return chosen.set_index("subject")["value"]
