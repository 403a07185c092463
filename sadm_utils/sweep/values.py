"""What the finished evaluations of a sweep have measured, read and reduced to a table.

Most metrics have a value for each subject. Some exist only for a test set as a whole (pooled
⌈Dice⌉, AUROC of detection): they are rows of an evaluation's ``results.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sadm_utils.errors import UserError
from sadm_utils.evaluation import tables
from sadm_utils.evaluation.statistics import ROW_COLUMNS, bootstrap_interval, summarize_runs
from sadm_utils.sweep.points import points_folder

RUN = ["variant", "seed", "fold"]
ROW = ["method", "annotations", "test_set", "metric"]
SUBJECTS = [*RUN, "method", "annotations", "test_set", "subject", "metric", "value"]
TABLE = [
    "variant", "method", "annotations", "test_set", "metric",
    "mean", "sd_runs", "low", "high", "n_subjects", "n_runs",
]  # fmt: skip
WHOLE = [*RUN, *ROW_COLUMNS]
BETA_SUBJECTS = [*RUN, *tables.BETA_SUBJECTS]
CURVE = [*RUN, "annotations", "test_set", "beta", "best_dice", "low", "high"]
RESAMPLES = 2000


@dataclass(frozen=True)
class Values:
    """Everything with the run that it belongs to.

    Attributes
    ----------
    subjects
        A line a subject and metric: columns `SUBJECTS`.
    whole
        A line a test set and metric that no subject has a value of: columns `WHOLE`.
    beta_subjects
        A line a weight and subject: columns `BETA_SUBJECTS`; none of an older evaluation.
    beta_curve
        A line a weight: columns `CURVE`. The 95 % interval over subjects, each averaged over the
        runs first, is that of the variant and the same for its runs; NaN without subjects' values.
    """

    subjects: pd.DataFrame
    whole: pd.DataFrame
    beta_subjects: pd.DataFrame
    beta_curve: pd.DataFrame


def read_chains(plan: Mapping[str, Any], records: Mapping[str, Any], folder: Path) -> Values:
    """Read the finished evaluations of a sweep: those of chapter 6 and of chapter 8.

    Parameters
    ----------
    plan, records
        The plan in ``folder``, and the records of the finished points by id.

    Raises
    ------
    UserError
        If a file is missing or damaged.
    """
    found: dict[str, list[pd.DataFrame]] = {"subjects": [], "whole": [], "weights": [], "curve": []}
    for chain in plan["chains"]:
        run = {key: chain[key] for key in RUN}
        for point in chain["results"]:
            if point in records:
                stage = points_folder(folder) / point / records[point]["stages"][-1]
                for name, table in _read_stage(stage).items():
                    found[name].append(table.assign(**run))
    columns = (SUBJECTS, WHOLE, BETA_SUBJECTS, CURVE[:-2])
    subjects, whole, weights, curve = map(_joined, found.values(), columns)
    return Values(
        subjects.drop_duplicates(SUBJECTS[:-1], ignore_index=True),
        whole.drop_duplicates([*RUN, *ROW], ignore_index=True),
        weights,
        _with_interval(curve, weights),
    )


def _joined(parts: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """All tables below each other with these columns, even if there are none."""
    full = [part[columns] for part in parts if len(part)]
    return pd.concat(full, ignore_index=True) if full else pd.DataFrame(columns=columns)


def _read_stage(stage: Path) -> dict[str, pd.DataFrame]:
    """The tables of one evaluation; only those of chapter 6 have weights."""
    subjects, results = _read_table(stage / "subjects.csv"), _read_results(stage)
    weights = stage / "beta_subjects.csv"
    return {
        "subjects": subjects,
        "whole": _of_whole_sets(results["rows"], subjects),
        "weights": _read_table(weights) if weights.exists() else pd.DataFrame(),
        "curve": pd.DataFrame(results.get("beta_curve", [])),
    }


def _read_table(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path, dtype={"subject": str, "annotations": str})
        return frame.fillna({"annotations": ""})
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(path, error) from None


def _read_results(stage: Path) -> dict[str, Any]:
    try:
        results = json.loads((stage / "results.json").read_text(encoding="utf-8"))
        return {"rows": [], **results}
    except (OSError, ValueError, TypeError) as error:
        raise _unreadable(stage / "results.json", error) from None


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path} cannot be read ({error}): delete {path.parent.parent} and run the sweep again."
    )


def _of_whole_sets(rows: list[dict[str, Any]], subjects: pd.DataFrame) -> pd.DataFrame:
    """Those of an evaluation's rows that are no summary of values of subjects."""
    found = pd.DataFrame(rows, columns=list(ROW_COLUMNS)).fillna({"annotations": ""})
    numbers = ["mean", "sd", "low", "high"]  # a null would be an object
    found = found.astype(dict.fromkeys(numbers, float))
    known = pd.MultiIndex.from_frame(subjects[ROW])
    return found[~pd.MultiIndex.from_frame(found[ROW]).isin(known)]


def _with_interval(curve: pd.DataFrame, weights: pd.DataFrame) -> pd.DataFrame:
    """Add ``low`` and ``high`` to a curve where each of its runs has values of subjects."""
    keys = ["variant", "annotations", "test_set", "beta"]
    runs = curve.groupby(keys)["seed"].size()
    lines = []
    for key, group in weights.groupby(keys, sort=False):
        each = group.groupby("subject", sort=False)["best_dice"].mean().to_numpy()
        # The same subjects are drawn at each weight, so that the band is as smooth as the curve.
        ends = bootstrap_interval(each, np.random.default_rng(0), RESAMPLES)
        if len(group[RUN].drop_duplicates()) == runs.get(key):
            lines.append((*key, ends.low, ends.high))
    intervals = pd.DataFrame(lines, columns=[*keys, "low", "high"])
    if intervals.empty:
        return curve.assign(low=float("nan"), high=float("nan"))
    return curve.merge(intervals, how="left", on=keys)[CURVE]


def make_table(values: Values) -> pd.DataFrame:
    """One line a row and metric: mean over runs, spread of the runs, interval over subjects.

    Metrics of whole sets come last. They have an interval only if there is exactly one run, whose
    own it is: without values of subjects, those of several runs cannot be joined.
    """
    names = {"sd": "sd_runs", "n": "n_subjects", "runs": "n_runs"}
    table = summarize_runs(values.subjects, n=RESAMPLES).rename(columns=names)[TABLE]
    whole = _summarize_whole(values.whole)
    return pd.concat([table, whole], ignore_index=True) if len(whole) else table


def _summarize_whole(whole: pd.DataFrame) -> pd.DataFrame:
    """Mean over runs of what is measured over a whole set; columns `TABLE`."""
    keys = ["variant", *ROW]
    lines = []
    for key, group in whole.groupby(keys, sort=False):
        runs = group.dropna(subset="mean")
        ends = runs.iloc[0] if len(runs) == 1 else {"low": float("nan"), "high": float("nan")}
        lines.append(dict(zip(keys, key, strict=True)) | {
            "mean": runs["mean"].mean(), "sd_runs": runs["mean"].std(ddof=1),
            "low": ends["low"], "high": ends["high"],
            "n_subjects": int(group["n"].max()), "n_runs": len(runs),
        })  # fmt: skip
    return pd.DataFrame(lines, columns=TABLE)
