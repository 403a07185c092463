"""How alike our column and the paper's are, and where SADM does not win, in both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from sadm_utils.results.measured import RESAMPLES, Measured, difference, verdict
from sadm_utils.results.paper import OWN_SET, Row, paper_rows, paper_values

CHAMPION, OWN = "SADM_res", ("SADM", "SADM_res")


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of two columns, with its interval over test subjects."""

    value: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True)
class Rival:
    """A row that is above SADM_res.

    ``lead`` is the difference of the means (a fraction) and ``certain`` says whether it is more
    than noise: in the paper more than the sum of both deviations, here an interval above 0.
    """

    row: Row
    lead: float
    certain: bool


def rank_correlation(
    sweep: Measured, test_set: str, metric: str, seed: int = 0
) -> Correlation | None:
    """Correlate our means with the paper's over the rows that both have; None below three.

    The interval is the bootstrap's over subjects, resampled together for all rows.
    """
    (variant,) = sweep.variants
    paper = {row: mean for (row, name), (mean, _) in paper_values(metric).items()
             if name == test_set}  # fmt: skip
    values = sweep.values(metric, test_set)
    rows = [row for row in paper if (variant, *row) in values.columns]
    if len(rows) < 3:
        return None
    ours = values[[(variant, *row) for row in rows]].groupby("subject").mean().to_numpy()
    theirs = [paper[row] for row in rows]
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(ours), (RESAMPLES, len(ours)))
    # nanmean: a metric need not exist for each subject
    drawn = np.stack([np.nanmean(ours[pick], axis=0) for pick in picks])
    ends = np.nanquantile(_spearman(drawn, theirs), [0.025, 0.975]) if len(ours) > 1 else None
    low, high = (float("nan"), float("nan")) if ends is None else map(float, ends)
    value = float(_spearman(np.nanmean(ours, axis=0)[None], theirs)[0])
    return Correlation(value, low, high, len(rows))


def _spearman(drawn: np.ndarray, other: list[float]) -> np.ndarray:
    """Correlation of the ranks of each line of ``drawn`` (n, rows) with those of ``other``."""
    a, b = rankdata(drawn, axis=1), rankdata(other)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean()
    with np.errstate(invalid="ignore"):  # no order at all: nan
        return (a @ b) / np.sqrt((a**2).sum(axis=1) * (b**2).sum())


def comparable(source: str) -> list[Row]:
    """Other methods that learned from no annotated lesions, or from those of ``source``.

    SADM without the residual, or trained on other lesions, is no other method.
    """
    free = ("", "pii", "draem", source)
    return [row for row in paper_rows() if row[1] in free and row[0] not in OWN]


def paper_rivals(source: str, test_set: str, metric: str) -> list[Rival]:
    """The paper's rows above SADM_res trained on ``source``, best first."""
    values = paper_values(metric)
    mean, sd = values[(CHAMPION, source), test_set]
    found = []
    for row in comparable(source):
        other, other_sd = values[row, test_set]
        if other > mean:
            found.append(Rival(row, other - mean, other - mean > sd + other_sd))
    return sorted(found, key=lambda rival: -rival.lead)


def our_rivals(
    sweep: Measured, source: str, test_set: str, metric: str
) -> list[Rival] | None:
    """Our rows above SADM_res trained on ``source``, best first; None if it was not run."""
    (variant,) = sweep.variants
    values = sweep.values(metric, test_set)
    if (variant, CHAMPION, source) not in values.columns:
        return None
    found = []
    for row in comparable(source):
        gap = difference(values, (variant, *row), (variant, CHAMPION, source))
        if gap is not None and gap.mean > 0:
            found.append(Rival(row, gap.mean, verdict(gap) > 0))
    return sorted(found, key=lambda rival: -rival.lead)


def all_rivals(sweep: Measured | None, metrics: tuple[str, ...], test_sets: Mapping[str, str]):
    """(source, test set, {metric: rivals}) of the paper, or of a sweep; unmeasured ones left out.

    Yields
    ------
    For each source of annotations and test set.
    """
    for source in OWN_SET:
        for test_set in test_sets:
            found = {
                metric: paper_rivals(source, test_set, metric)
                if sweep is None
                else our_rivals(sweep, source, test_set, metric)
                for metric in metrics
            }
            if all(rivals is not None for rivals in found.values()):
                yield source, test_set, found
