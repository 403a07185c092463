"""From the points of a sweep to tidy tables: ``subjects``, ``table``, ``beta_curve``, ``about`` ...

Values are fractions. A run is one (variant, seed, fold); the spread of a table's row is that of the
runs, its interval that of the subjects. The tables are read and reduced in
:mod:`sadm_utils.sweep.values`.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from sadm_utils.errors import UserError, writing
from sadm_utils.records import write_atomic
from sadm_utils.sweep.claim import read_plan
from sadm_utils.sweep.pictures import write_pictures
from sadm_utils.sweep.points import failure, finished, points_folder, taken_over
from sadm_utils.sweep.values import make_table, read_chains
from sadm_utils.sweep.versions import find_conflict
from sadm_utils.sweep.wall import read_wall


@dataclass(frozen=True)
class Collected:
    """The tables of a sweep, what is known of it, and sentences for who reads them."""

    subjects: pd.DataFrame
    table: pd.DataFrame
    beta_subjects: pd.DataFrame
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
    read = read_chains(plan, records, folder)
    if read.subjects.empty:
        raise UserError(
            f"No evaluation is finished in {folder}: run 'sadm sweep' again; it says what is "
            "missing and what has failed."
        )
    about = _about(plan, records, folder, conflict)
    tables = read.subjects, make_table(read), read.beta_subjects, read.beta_curve
    found = Collected(*tables, about, _sentences(about, conflict))
    _write(found, folder / "results")
    unread = write_pictures(plan, records, folder)
    return replace(found, sentences=[*found.sentences, *unread])


def _about(
    plan: Mapping[str, Any], records: Mapping[str, Any], folder: Path, conflict: str
) -> dict[str, Any]:
    """What the results were made from, on what, and at what cost.

    ``seconds``, ``cost`` and ``peak_bytes`` are those of the points that this sweep has run;
    ``reused`` counts the others, which ``--reuse`` took from another sweep, and
    ``reused_seconds`` is what they had taken there. Devices are those of all points; versions those
    of the last, as the others may differ in their builds only, or ``mixed`` says so.
    """
    sweep = plan["sweep"]
    made = list(records.values())
    taken = {name for name in records if taken_over(points_folder(folder) / name)}
    own = [record for name, record in records.items() if name not in taken]

    def all_of(key: str) -> list[Any]:
        return sorted({str(record.get(key) or "unknown") for record in made})

    failed = {p["id"]: failure(points_folder(folder) / p["id"]) for p in plan["points"]}
    return {
        "name": sweep["name"],
        "profile": sweep["profile"],
        "data": Path(sweep["data_dir"]).name if sweep["data_dir"] else "phantom",
        "tier": "own" if sweep["data_dir"] else "phantom",
        "date": max(record["finished"] for record in made),
        "commits": all_of("commit"),
        "packages": all_of("package"),
        "versions": made[-1].get("versions", {}),
        "python": all_of("python"),
        "devices": all_of("device"),
        "threads": all_of("threads"),
        **read_wall(folder),
        "seconds": round(sum(record["seconds"] for record in own), 1),
        "peak_bytes": max((record["peak_bytes"] for record in own), default=0),
        "cost": _cost(own),
        "reused": len(taken),
        "reused_seconds": round(sum(records[name]["seconds"] for name in taken), 1),
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
        try:
            found.subjects.to_parquet(folder / "subjects.parquet", index=False)
        except ImportError:  # pyarrow is no part of the book
            pass
    write_atomic(folder / "subjects.csv.gz", _packed(found.subjects))
    write_atomic(folder / "beta_subjects.csv.gz", _packed(found.beta_subjects))
    write_atomic(folder / "table.csv", found.table.to_csv(index=False))
    write_atomic(folder / "beta_curve.csv", found.beta_curve.to_csv(index=False))
    write_atomic(folder / "about.json", json.dumps(found.about, indent=2, ensure_ascii=False))


def _packed(table: pd.DataFrame) -> bytes:
    """A table as gzipped CSV. Without a time in it, the same values make the same file."""
    return gzip.compress(table.to_csv(index=False).encode(), mtime=0)
