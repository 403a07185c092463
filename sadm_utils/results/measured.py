"""Finished sweeps as the pages read them: the folders ``sweeps/results/<name>``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sadm_utils.errors import UserError
from sadm_utils.evaluation.statistics import Interval, bootstrap_interval
from sadm_utils.results.paper import Row, plain_name
from sadm_utils.runs import project_root
from sadm_utils.sweep.slices import FILE, Picture, read_pictures

RUN_KEYS = ["seed", "fold"]
KEY = ["variant", "method", "annotations"]
COLUMNS = {
    "subjects.csv.gz": (
        *("variant", "seed", "fold", "method", "annotations", "test_set"),
        *("subject", "metric", "value"),
    ),
    "table.csv": (
        *("variant", "method", "annotations", "test_set", "metric"),
        *("mean", "sd_runs", "low", "high", "n_subjects", "n_runs"),
    ),
    "beta_curve.csv": (
        *("variant", "seed", "fold", "annotations", "test_set", "beta", "best_dice"),
        *("low", "high"),
    ),
}
ADDED = {"beta_curve.csv": ("low", "high")}
"""Columns that older records lack: they are NaN there."""
BETA_SUBJECTS = "beta_subjects.csv.gz"
BETA_COLUMNS = (
    *("variant", "seed", "fold", "annotations", "test_set", "subject", "beta", "best_dice"),
)
"""Of a file that older records lack."""
TEXT = ("variant", "method", "annotations", "test_set", "subject", "metric")
RESAMPLES = 2000


@dataclass(frozen=True)
class Cell:
    """One value of a table: fractions; ``sd`` is over runs, the interval over subjects."""

    mean: float
    sd: float
    low: float
    high: float
    subjects: int
    runs: int


@dataclass(frozen=True)
class Measured:
    """What a finished sweep has left.

    Attributes
    ----------
    subjects, table, curve
        The tables of the folder, with the columns of :data:`COLUMNS`; values are fractions.
    about
        How they were made: profile, data, commits, versions, device, date, wall time ...
    curve_subjects
        The weighting curve of each subject, columns :data:`BETA_COLUMNS`; empty in older records.
    pictures
        By test set, one slice with the maps of all methods, of the first variant; None in older
        records, which do not have them.
    """

    name: str
    subjects: pd.DataFrame
    table: pd.DataFrame
    curve: pd.DataFrame
    about: Mapping[str, Any]
    curve_subjects: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=list(BETA_COLUMNS))
    )
    pictures: Mapping[str, Picture] | None = None

    @property
    def variants(self) -> list[str]:
        return list(dict.fromkeys(self.table["variant"]))

    def only(self, variant: str) -> Measured:
        """The same sweep with one of its variants."""
        parts = (self.subjects, self.table, self.curve, self.curve_subjects)
        *tables, weights = (p[p["variant"] == variant] for p in parts)
        pictures = self.pictures if variant == self.variants[0] else None
        return Measured(self.name, *tables, self.about, weights, pictures)

    def cells(self, metric: str) -> dict[tuple[str, Row, str], Cell]:
        """Values by (variant, row, test set)."""
        chosen = self.table[self.table["metric"] == metric]
        return {
            (r["variant"], (r["method"], r["annotations"]), r["test_set"]): Cell(
                r["mean"], r["sd_runs"], r["low"], r["high"], int(r["n_subjects"]), int(r["n_runs"])
            )
            for r in chosen.to_dict("records")
        }

    def values(self, metric: str, test_set: str) -> pd.DataFrame:
        """One column for each (variant, method, annotations); a line a (seed, fold, subject)."""
        chosen = self.subjects[
            (self.subjects["metric"] == metric) & (self.subjects["test_set"] == test_set)
        ]
        keys = [*RUN_KEYS, "subject", *KEY]
        return chosen.groupby(keys, sort=False)["value"].mean().unstack(KEY)


def sweeps_folder() -> Path:
    """Where the repository keeps the records of finished sweeps."""
    return project_root() / "sweeps" / "results"


def read_sweep(name: str) -> Measured | None:
    """Read the record of a sweep; None if there is none.

    Raises
    ------
    UserError
        If a file is missing or damaged, or lacks a column.
    """
    folder = sweeps_folder() / name
    if not (folder / "about.json").exists():
        return None
    tables = [_read_table(folder / file, columns) for file, columns in COLUMNS.items()]
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{folder / 'about.json'} is damaged: collect the sweep again.") from None
    weights = folder / BETA_SUBJECTS
    more = {"curve_subjects": _read_table(weights, BETA_COLUMNS)} if weights.exists() else {}
    return Measured(name, *tables, about, pictures=read_pictures(folder / FILE), **more)


def _read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A CSV with empty text as ``""`` and the paper's names of the methods."""
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(TEXT, str))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: collect the sweep again.") from None
    except (ValueError, OSError, EOFError):
        raise UserError(f"{path} is damaged: collect the sweep again.") from None
    for column in ADDED.get(path.name, ()):
        if column not in table:
            table[column] = np.nan
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UserError(f"{path} lacks the columns {missing}: collect the sweep again.")
    for column in ("variant", "annotations"):
        table[column] = table[column].fillna("")
    if "method" in table:
        table["method"] = table["method"].map(plain_name)
    return table


def paired(values: pd.DataFrame, a: Any, b: Any) -> np.ndarray | None:
    """Differences a - b of two columns of :meth:`Measured.values`: one a subject, (n,).

    Runs of a subject are averaged: subjects are the unit of chance, and another seed is no other
    brain. None if the two have no subject in common.
    """
    if a not in values.columns or b not in values.columns:
        return None
    gaps = values[a].to_numpy() - values[b].to_numpy()
    both = ~np.isnan(gaps)
    if not both.any():
        return None
    subject, _ = pd.factorize(values.index.get_level_values("subject")[both])
    return np.bincount(subject, gaps[both]) / np.bincount(subject)


def difference(values: pd.DataFrame, a: Any, b: Any, seed: int = 0) -> Interval | None:
    """Mean paired difference a - b with its bootstrap interval over subjects, or None."""
    each = paired(values, a, b)
    if each is None:
        return None
    return bootstrap_interval(each, np.random.default_rng(seed), RESAMPLES)


def verdict(found: Interval) -> int:
    """1 if the whole interval lies above 0, -1 if below, 0 if the difference may be noise."""
    if not found.low <= found.high:  # one subject: no interval
        return 0
    return int(found.low > 0) - int(found.high < 0)
