"""From the points of a sweep to tidy tables: ``subjects``, ``table``, ``beta_curve``, ``about``.

Values are fractions. A run is one (variant, seed, fold); the spread of a table's row is that of the
runs, its interval that of the subjects.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from sadm_utils.errors import UserError, writing
from sadm_utils.evaluation.statistics import summarize_runs
from sadm_utils.records import write_atomic
from sadm_utils.sweep.claim import read_plan
from sadm_utils.sweep.pictures import write_pictures
from sadm_utils.sweep.points import failure, finished, points_folder
from sadm_utils.sweep.versions import find_conflict

RUN = ["variant", "seed", "fold"]
SUBJECTS = [*RUN, "method", "annotations", "test_set", "subject", "metric", "value"]
TABLE = [
    "variant", "method", "annotations", "test_set", "metric",
    "mean", "sd_runs", "low", "high", "n_subjects", "n_runs",
]  # fmt: skip
CURVE = [*RUN, "annotations", "test_set", "beta", "best_dice"]
RESAMPLES = 2000


@dataclass(frozen=True)
class Collected:
    """The tables of a sweep, what is known of it, and sentences for who reads them."""

    subjects: pd.DataFrame
    table: pd.DataFrame
    beta_curve: pd.DataFrame
    about: dict[str, Any]
    sentences: list[str] = field(default_factory=list)


def collect(folder: str | Path, mixed: bool = False) -> Collected:
    """Collect what is finished in a sweep's folder, and write it into ``results`` there.

    Parameters
    ----------
    mixed
        Accept points that were made by different sources or settings.

    Raises
    ------
    UserError
        The folder holds no sweep, nothing is finished, or results of different versions would mix.
    """
    folder = Path(folder)
    plan = read_plan(folder)
    points = {p["id"]: finished(points_folder(folder) / p["id"]) for p in plan["points"]}
    records = {name: record for name, record in points.items() if record is not None}
    conflict = find_conflict(records.values())
    if conflict and not mixed:
        raise UserError(
            f"The results in {folder} are of different versions: {conflict}. Run 'sadm sweep' with "
            "--refresh to make the older ones again, or add --mixed to accept the mixture."
        )
    subjects, curve = _read_chains(plan, records, folder)
    if subjects.empty:
        raise UserError(
            f"No evaluation is finished in {folder}: run 'sadm sweep' again; it says what is "
            "missing and what has failed."
        )
    about = _about(plan, records, folder, conflict)
    found = Collected(subjects, _table(subjects), curve, about, _sentences(about, conflict))
    _write(found, folder / "results")
    write_pictures(plan, records, folder)
    return found


def _read_chains(
    plan: Mapping[str, Any], records: Mapping[str, Any], folder: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Values of all subjects and weights of all curves, with the run that they belong to."""
    subjects, curves = [pd.DataFrame(columns=SUBJECTS)], [pd.DataFrame(columns=CURVE)]
    for chain in plan["chains"]:
        run = {key: chain[key] for key in RUN}
        for point in chain["results"]:
            if point in records:
                stage = points_folder(folder) / point / records[point]["stages"][-1]
                subjects.append(_read_subjects(stage).assign(**run)[SUBJECTS])
                rows = _read_extra(stage).get("beta_curve", [])
                if rows:
                    curves.append(pd.DataFrame(rows).assign(**run)[CURVE])
    one, two = (pd.concat(t[1:] or t, ignore_index=True) for t in (subjects, curves))
    return one.drop_duplicates(SUBJECTS[:-1], ignore_index=True), two


def _read_subjects(stage: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(stage / "subjects.csv", dtype={"subject": str})
        return frame.fillna({"annotations": ""})
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(stage / "subjects.csv", error) from None


def _read_extra(stage: Path) -> dict[str, Any]:
    try:
        return json.loads((stage / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(stage / "results.json", error) from None


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path} cannot be read ({error}): delete {path.parent.parent} and run the sweep again."
    )


def _table(subjects: pd.DataFrame) -> pd.DataFrame:
    """One line a row and metric: mean over runs, spread of the runs, interval over subjects."""
    names = {"sd": "sd_runs", "n": "n_subjects", "runs": "n_runs"}
    return summarize_runs(subjects, n=RESAMPLES).rename(columns=names)[TABLE]


def _about(
    plan: Mapping[str, Any], records: Mapping[str, Any], folder: Path, conflict: str
) -> dict[str, Any]:
    sweep = plan["sweep"]
    made = list(records.values())

    def all_of(key: str) -> list[Any]:
        return sorted({str(record.get(key) or "unknown") for record in made})

    failed = {p["id"]: failure(points_folder(folder) / p["id"]) for p in plan["points"]}
    return {
        "name": sweep["name"],
        "profile": sweep["profile"],
        "data": Path(sweep["data_dir"]).name if sweep["data_dir"] else "phantom",
        "date": max(record["finished"] for record in made),
        "commits": all_of("commit"),
        "packages": all_of("package"),
        "versions": made[-1].get("versions", {}),
        "python": all_of("python"),
        "devices": all_of("device"),
        "threads": all_of("threads"),
        "seconds": round(sum(record["seconds"] for record in made), 1),
        "peak_bytes": max(record["peak_bytes"] for record in made),
        "cost": _cost(made),
        "points": len(plan["points"]),
        "finished": len(records),
        "failed": {k: v for k, v in failed.items() if v and k not in records},
        "mixed": conflict,
        "sweep": sweep,
        "collected": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _cost(made: list[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Number, seconds and peak memory of the points of each notebook."""
    cost = {}
    for notebook in sorted({record["notebook"] for record in made}):
        own = [record for record in made if record["notebook"] == notebook]
        seconds = [record["seconds"] for record in own]
        cost[notebook] = {
            "points": len(own),
            "seconds": round(sum(seconds), 1),
            "mean_seconds": round(sum(seconds) / len(seconds), 1),
            "peak_bytes": max(record["peak_bytes"] for record in own),
        }
    return cost


def _sentences(about: Mapping[str, Any], conflict: str) -> list[str]:
    sentences = []
    if about["finished"] < about["points"]:
        failed = f", {len(about['failed'])} failed" if about["failed"] else ""
        sentences.append(
            f"{about['finished']} of {about['points']} points are finished{failed}: the table "
            "holds what is there."
        )
    if conflict:
        sentences.append(f"Versions are mixed: {conflict}.")
    return sentences


def _write(found: Collected, folder: Path) -> None:
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Without a time in it, the same values make the same file.
        packed = {"method": "gzip", "mtime": 0}
        part = folder / ".subjects.csv.gz.part"
        found.subjects.to_csv(part, index=False, compression=packed)
        part.replace(folder / "subjects.csv.gz")
        try:
            found.subjects.to_parquet(folder / "subjects.parquet", index=False)
        except ImportError:  # pyarrow is no part of the book
            pass
    write_atomic(folder / "table.csv", found.table.to_csv(index=False))
    write_atomic(folder / "beta_curve.csv", found.beta_curve.to_csv(index=False))
    write_atomic(folder / "about.json", json.dumps(found.about, indent=2, ensure_ascii=False))
