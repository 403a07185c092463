"""How sure is a mean over a dozen subjects? Bootstrap intervals, single and paired.

Subjects are the unit of chance: voxels of one brain are not independent, so they are never
resampled. All functions leave ``nan`` values out (metrics that do not exist for a subject) and
report how many subjects remain.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

SUBJECT_COLUMNS = ("method", "annotations", "test_set", "subject", "metric", "value")
ROW_COLUMNS = ("method", "annotations", "test_set", "metric", "mean", "sd", "low", "high", "n")


@dataclass(frozen=True)
class Interval:
    """Mean, spread over subjects (sample standard deviation), and interval of the mean."""

    mean: float
    sd: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.4g} ± {self.sd:.2g} [{self.low:.4g}, {self.high:.4g}] (n = {self.n})"


def bootstrap_interval(
    values: np.ndarray | list[float],
    rng: np.random.Generator,
    n: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap of the mean over subjects (Efron 1979).

    Parameters
    ----------
    values : array (subjects,)
        One number a subject; ``nan`` is left out.
    rng : numpy.random.Generator
        Source of the resampling.
    n : int
        Number of resamples.
    level : float
        Share of the bootstrap means inside the interval.

    Returns
    -------
    Interval
        With fewer than two values ``sd``, ``low`` and ``high`` are ``nan``: one subject says
        nothing about the spread.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    values = np.asarray(values, dtype=np.float64).ravel()
    values = values[~np.isnan(values)]
    nan = float("nan")
    if values.size < 2:
        return Interval(float(values[0]) if values.size else nan, nan, nan, nan, values.size)
    means = values[rng.integers(0, values.size, (n, values.size))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(
        float(values.mean()), float(values.std(ddof=1)), float(low), float(high), values.size
    )


def paired_difference(
    a: np.ndarray | list[float],
    b: np.ndarray | list[float],
    rng: np.random.Generator,
    n: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Interval of mean(a - b) for two methods measured on the same subjects in the same order.

    Pairing removes what makes a subject hard for every method, so the interval is usually much
    narrower than the two separate ones suggest. A pair with a ``nan`` is left out.
    """
    a, b = (np.asarray(v, dtype=np.float64).ravel() for v in (a, b))
    if a.shape != b.shape:
        raise ValueError(f"pairs need two values a subject, got {a.size} and {b.size}")
    return bootstrap_interval(a - b, rng, n, level)


def summarize(subjects: pd.DataFrame, seed: int = 0, n: int = 2000) -> pd.DataFrame:
    """Reduce one value a subject to one row a group, with bootstrap intervals.

    Parameters
    ----------
    subjects : DataFrame
        Tidy: columns method, annotations, test_set, subject, metric, value.
    seed : int
        Every group starts from it anew, so a row does not depend on which other rows exist.

    Returns
    -------
    DataFrame with columns method, annotations, test_set, metric, mean, sd, low, high, n, in the
    order of first appearance.
    """
    missing = set(SUBJECT_COLUMNS) - set(subjects.columns)
    if missing:
        raise ValueError(f"the table of subjects lacks the columns {sorted(missing)}")
    keys = ["method", "annotations", "test_set", "metric"]
    rows = []
    for key, group in subjects.groupby(keys, sort=False, dropna=False):
        interval = bootstrap_interval(group["value"].to_numpy(), np.random.default_rng(seed), n)
        rows.append(dict(zip(keys, key, strict=True)) | vars(interval))
    return pd.DataFrame(rows, columns=list(ROW_COLUMNS))


def summarize_runs(
    subjects: pd.DataFrame,
    runs: Sequence[str] = ("seed", "fold"),
    seed: int = 0,
    n: int = 2000,
) -> pd.DataFrame:
    """Mean ± sd over runs (trainings with other seeds, folds), and an interval over subjects.

    The two answer different questions: the sd says how much another training would change the
    mean, the interval how much other subjects would. Each leaves the other out.

    Parameters
    ----------
    subjects : DataFrame
        As in `summarize`, with columns that tell the runs apart; ``variant`` too if there is one.
    runs : sequence of str
        Names of these columns.

    Returns
    -------
    DataFrame
        [variant,] method, annotations, test_set, metric, mean (over subjects, each averaged over
        its runs), sd (sample standard deviation of the runs' means; ``nan`` with one run), low,
        high (95 % bootstrap interval of that mean), n (subjects), runs. Where each run has a value
        of each subject, the mean is also that of the runs' means.
    """
    missing = {*SUBJECT_COLUMNS, *runs} - set(subjects.columns)
    if missing:
        raise ValueError(f"the table of subjects lacks the columns {sorted(missing)}")
    keys = [k for k in ("variant", "method", "annotations", "test_set", "metric")
            if k in subjects.columns]  # fmt: skip
    rows = []
    for key, group in subjects.groupby(keys, sort=False, dropna=False):
        means = group.groupby(list(runs), dropna=False)["value"].mean().dropna()
        each = group.groupby("subject", sort=False)["value"].mean().to_numpy()
        interval = bootstrap_interval(each, np.random.default_rng(seed), n)
        # The mean that the interval belongs to: the runs' means may lack different subjects.
        found = {"mean": interval.mean, "sd": means.std(ddof=1), "low": interval.low,
                 "high": interval.high, "n": interval.n, "runs": len(means)}  # fmt: skip
        rows.append(dict(zip(keys, key, strict=True)) | found)
    return pd.DataFrame(rows)


def compare(
    subjects: pd.DataFrame,
    a: tuple[str, str],
    b: tuple[str, str],
    test_set: str,
    metric: str = "best_dice",
    seed: int = 0,
    n: int = 2000,
) -> Interval:
    """Paired difference of two rows of the results, matched by subject.

    Parameters
    ----------
    subjects : DataFrame
        As in `summarize`.
    a, b : (method, annotations)
        The difference is a - b.

    Raises
    ------
    ValueError
        If a row does not exist or the two were not measured on the same subjects.
    """
    chosen = subjects[(subjects["test_set"] == test_set) & (subjects["metric"] == metric)]
    columns = []
    for method, annotations in (a, b):
        rows = chosen[(chosen["method"] == method) & (chosen["annotations"] == annotations)]
        if rows.empty:
            raise ValueError(f"no {metric} of {method} ({annotations or '-'}) on {test_set}")
        columns.append(rows.set_index("subject")["value"])
    if set(columns[0].index) != set(columns[1].index):
        raise ValueError(f"{a} and {b} were measured on different subjects of {test_set}")
    second = columns[1].reindex(columns[0].index)
    rng = np.random.default_rng(seed)
    return paired_difference(columns[0].to_numpy(), second.to_numpy(), rng, n)
