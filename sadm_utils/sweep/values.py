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

import pandas as pd

from sadm_utils.errors import UserError
from sadm_utils.evaluation.statistics import ROW_COLUMNS, summarize_runs
from sadm_utils.sweep.points import points_folder

RUN = ["variant", "seed", "fold"]
ROW = ["method", "annotations", "test_set", "metric"]
SUBJECTS = [*RUN, "method", "annotations", "test_set", "subject", "metric", "value"]
TABLE = [
    "variant", "method", "annotations", "test_set", "metric",
    "mean", "sd_runs", "low", "high", "n_subjects", "n_runs",
]  # fmt: skip
WHOLE = [*RUN, *ROW_COLUMNS]
CURVE = [*RUN, "annotations", "test_set", "beta", "best_dice"]
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
    beta_curve
        A line a weight: columns `CURVE`.
    """

    subjects: pd.DataFrame
    whole: pd.DataFrame
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
    subjects, wholes, curves = ([pd.DataFrame(columns=c)] for c in (SUBJECTS, WHOLE, CURVE))
    for chain in plan["chains"]:
        run = {key: chain[key] for key in RUN}
        for point in chain["results"]:
            if point in records:
                stage = points_folder(folder) / point / records[point]["stages"][-1]
                each, results = _read_subjects(stage), _read_results(stage)
                subjects.append(each.assign(**run)[SUBJECTS])
                wholes.append(_of_whole_sets(results["rows"], each).assign(**run)[WHOLE])
                if rows := results.get("beta_curve"):
                    curves.append(pd.DataFrame(rows).assign(**run)[CURVE])
    one, two, three = (_joined(tables) for tables in (subjects, wholes, curves))
    return Values(
        one.drop_duplicates(SUBJECTS[:-1], ignore_index=True),
        two.drop_duplicates([*RUN, *ROW], ignore_index=True),
        three,
    )


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """All tables below each other; the first one is empty, and has the columns."""
    full = [table for table in tables if len(table)]
    return pd.concat(full or tables[:1], ignore_index=True)


def _read_subjects(stage: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(stage / "subjects.csv", dtype={"subject": str, "annotations": str})
        return frame.fillna({"annotations": ""})
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(stage / "subjects.csv", error) from None


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
