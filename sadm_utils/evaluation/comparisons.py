"""Which differences between rows of the table are noise? Paired tests with Holm's correction.

Two rows are compared on the same subjects. If neither were better, each difference could as well
have had the other sign: the *sign-flip test* counts how often random signs give a mean difference
as large as the one found. A table holds many comparisons, and one in twenty would look certain by
luck; *Holm's correction* makes up for that, over all comparisons of a test set.

A difference that is not noise is not therefore large, and noise is no proof of equality: with a
dozen subjects only clear differences can be told from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from sadm_utils.evaluation.statistics import SUBJECT_COLUMNS, bootstrap_interval
from sadm_utils.evaluation.tables import LOWER_IS_BETTER, METRIC_NAMES, NOTHING

EXACT_UP_TO = 16
"""Up to so many pairs, all 2^n signs are tried; above, random ones."""
MARK = "†"
RowKey = tuple[str, ...]


def sign_flip_test(
    differences: np.ndarray | Sequence[float], rng: np.random.Generator, resamples: int = 10_000
) -> float:
    """Two-sided p-value of a mean paired difference under random signs (Fisher 1935).

    Parameters
    ----------
    differences : array (pairs,)
        One difference a subject; ``nan`` is left out.
    rng : numpy.random.Generator
        Source of the random signs, which are needed above `EXACT_UP_TO` pairs only.
    resamples : int
        Random sets of signs; the set found counts as one more, so p is never 0.

    Returns
    -------
    float in (0, 1]; ``nan`` without a pair. With n pairs no p is below 2 / 2^n.
    """
    values = np.asarray(differences, dtype=np.float64).ravel()
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan")
    exact = values.size <= EXACT_UP_TO
    if exact:
        signs = _all_signs(values.size)
    else:
        signs = rng.integers(0, 2, (resamples, values.size)) * 2.0 - 1
    found = abs(values.sum())
    as_large = np.abs(signs @ values) >= found - 1e-12 * np.abs(values).sum()  # sums in any order
    if exact:
        return float(as_large.mean())
    return float(max((as_large.sum() + 1) / (resamples + 1), 2.0 ** (1 - values.size)))


@cache
def _all_signs(pairs: int) -> np.ndarray:
    """Every choice of signs of ``pairs`` differences: (2^pairs, pairs)."""
    return np.array(list(product((-1.0, 1.0), repeat=pairs)))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Correct p-values for having asked so many questions (Holm 1979).

    The smallest of m is multiplied by m, the next by m - 1 and so on; none falls below one before
    it, nor rises above 1. ``nan`` stays ``nan`` and is no question.
    """
    p = np.asarray(p_values, dtype=np.float64)
    result = np.full(p.shape, np.nan)
    asked = np.flatnonzero(~np.isnan(p))
    order = asked[np.argsort(p[asked], kind="stable")]
    factors = np.arange(order.size, 0, -1)
    result[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return result


def compare_rows(
    subjects: pd.DataFrame,
    test_set: str,
    metric: str = "best_dice",
    reference: RowKey | None = None,
    level: float = 0.05,
    seed: int = 0,
    resamples: int = 2000,
) -> pd.DataFrame:
    """Compare every row of a test set with the best one, or with a reference.

    Parameters
    ----------
    subjects : DataFrame
        Tidy: method, annotations, test_set, subject, metric, value; ``variant`` too if there is
        such a column. Several values of a row and subject (seeds, folds) are averaged first.
    reference : tuple of str, optional
        (method, annotations), after the variant if there are some; default: the best mean.
    level : float
        A difference with a corrected p at or above it is noise.
    seed, resamples
        Of the bootstrap intervals and the random signs.

    Returns
    -------
    DataFrame
        [variant,] method, annotations, mean, difference (row minus reference), low, high (its 95 %
        interval), p, p_holm, n (pairs), noise. A line a row, best first; the reference itself has
        difference 0, no p and no noise. Where a pair cannot be made, noise is True.

    Raises
    ------
    ValueError
        If there is no such metric, test set or reference.
    """
    wide, means = by_subject(subjects, test_set, metric), rank_rows(subjects, test_set, metric)
    best = means.index[0] if reference is None else tuple(reference)
    if best not in wide.index:
        raise ValueError(f"no {metric} of {best} on {test_set}")
    lines = []
    for key in means.index:
        difference = (wide.loc[key] - wide.loc[best]).to_numpy()
        found = bootstrap_interval(difference, np.random.default_rng(seed), resamples)
        p = np.nan if key == best else sign_flip_test(difference, np.random.default_rng(seed))
        line: dict[str, Any] = dict(zip(wide.index.names, key, strict=True))
        line |= {"mean": means[key], "difference": found.mean, "low": found.low,
                 "high": found.high, "p": p, "n": found.n}  # fmt: skip
        lines.append(line)
    table = pd.DataFrame(lines)
    table.insert(len(table.columns) - 1, "p_holm", holm(table["p"].to_numpy()))
    others = np.array([key != best for key in means.index])
    table["noise"] = others & ~(table["p_holm"].to_numpy() < level)
    return table


def noisy_rows(
    subjects: pd.DataFrame, test_set: str, metric: str, **options: Any
) -> set[tuple[str, str]]:
    """(method, annotations) of the rows that cannot be told from the best of :func:`compare_rows`.

    Empty if no row has a value, as with lesions of a size that no subject has.
    """
    chosen = subjects[(subjects["test_set"] == test_set) & (subjects["metric"] == metric)]
    if chosen["value"].isna().all():
        return set()
    rows = compare_rows(chosen, test_set, metric, **options)
    rows = rows[rows["noise"]]
    return set(zip(rows["method"], rows["annotations"], strict=True))


def rank_rows(subjects: pd.DataFrame, test_set: str, metric: str = "best_dice") -> pd.Series:
    """Mean of each row of a test set over its subjects, best first; arguments as above.

    Rows without a value for half of the subjects come last: a distance that exists for one easy
    subject only beats nothing.
    """
    wide = by_subject(subjects, test_set, metric)
    means = wide.mean(axis=1).sort_values(ascending=metric in LOWER_IS_BETTER, kind="stable")
    counts = wide.notna().sum(axis=1)[means.index]
    few = 2 * counts < counts.max()
    return pd.concat([means[~few], means[few]])


def by_subject(subjects: pd.DataFrame, test_set: str, metric: str) -> pd.DataFrame:
    """One metric of a test set: a line a row of the table, a column a subject, runs averaged."""
    missing = set(SUBJECT_COLUMNS) - set(subjects.columns)
    if missing:
        raise ValueError(f"the table of subjects lacks the columns {sorted(missing)}")
    chosen = subjects[(subjects["test_set"] == test_set) & (subjects["metric"] == metric)]
    keys = [name for name in ("variant", "method", "annotations") if name in subjects.columns]
    chosen = chosen.assign(**{name: chosen[name].astype(object).fillna("") for name in keys})
    means = chosen.groupby([*keys, "subject"], sort=False)["value"].mean()
    wide = means.unstack("subject").dropna(how="all")
    if wide.empty:
        raise ValueError(f"no {metric} on {test_set}")
    return wide


def mark_noise(
    table: pd.DataFrame,
    subjects: pd.DataFrame,
    metric: str = "best_dice",
    mark: str = MARK,
    **options: Any,
) -> pd.DataFrame:
    """Put a dagger behind each cell that cannot be told from the best of its column.

    Parameters
    ----------
    table
        From `sadm_utils.evaluation.tables.results_table`, with the columns of ``metric``.
    subjects
        One value a subject, as in `compare_rows`, which gets the ``options``.

    Returns
    -------
    A copy; columns of other metrics are as they were.

    Raises
    ------
    ValueError
        If ``subjects`` holds several variants, whose rows the table cannot tell apart.
    """
    if "variant" in subjects and subjects["variant"].nunique() > 1:
        raise ValueError("mark the rows of one variant at a time")
    result = table.copy()
    for test_set in dict.fromkeys(subjects["test_set"]):
        title = f"{test_set} {METRIC_NAMES.get(metric, metric)}"
        if title in result:
            noise = noisy_rows(subjects, test_set, metric, **options)
            keys = zip(table["method"], table["annotations"].replace(NOTHING, ""), strict=True)
            marks = [f" {mark}" if key in noise else "" for key in keys]
            result[title] = [cell + end for cell, end in zip(table[title], marks, strict=True)]
    return result
