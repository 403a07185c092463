"""Records of sweeps that nobody has run, with values that are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from sadm_utils.results.paper import Row, paper_values
from sadm_utils.sweep.slices import FILE, Picture, pack

SETS = ("Brats21", "ATLAS", "MSLUB", "DRAEM")
SUBJECTS = tuple(f"s{k}" for k in range(12))
SPREAD = tuple(0.002 * (k - 5.5) for k in range(12))
"""What makes a subject harder or easier for every method; the mean is 0."""
Mean = Callable[[str, Row, str, str], float | None]
"""Mean of (variant, row, test set, metric), or None if it was not run."""


def write_sweep(
    folder: Path,
    name: str,
    mean: Mean,
    rows: Iterable[Row],
    variants: Iterable[str] = ("plain",),
    seeds: Iterable[int] = (0,),
    jitter: float = 0.0,
    **about: object,
) -> Path:
    """Write the five files; ``jitter`` alternates in sign with the subject and the row."""
    lines = []
    for variant in variants:
        for number, row in enumerate(rows):
            for test_set in SETS:
                for metric in ("best_dice", "auprc"):
                    level = mean(variant, row, test_set, metric)
                    if level is None:
                        continue
                    for seed in seeds:
                        for k, subject in enumerate(SUBJECTS):
                            own = jitter * (-1) ** (k + number) + SPREAD[k] + 0.001 * seed
                            lines.append((variant, seed, 0, *row, test_set, subject, metric,
                                          level + own))  # fmt: skip
    columns = ["variant", "seed", "fold", "method", "annotations", "test_set", "subject", "metric",
               "value"]  # fmt: skip
    subjects = pd.DataFrame(lines, columns=columns)
    target = folder / "sweeps" / "results" / name
    target.mkdir(parents=True)
    subjects.to_csv(target / "subjects.csv.gz", index=False)
    summary(subjects).to_csv(target / "table.csv", index=False)
    curve(subjects).to_csv(target / "beta_curve.csv", index=False)
    curve_subjects(subjects).to_csv(target / "beta_subjects.csv.gz", index=False)
    made = {
        "name": name, "profile": "table", "data": "phantom", "commits": ["0123456789abcdef"],
        "devices": ["a CPU"], "date": "2026-01-02T03:04", "wall_s": 3725.0, "failed": {},
        "cost": {"04_cddpm_training": {
            "points": 2, "seconds": 400.0, "mean_seconds": 200.0, "peak_bytes": 2**30,
        }},
    }  # fmt: skip
    (target / "about.json").write_text(json.dumps({**made, **about}))
    return target


def write_pictures(target: Path, rows: Iterable[Row]) -> None:
    """A slice for each set: a map holds the lesion and, the later its row, the more of noise."""
    pictures, draw = {}, np.random.default_rng(0)
    for test_set in sorted(SETS):
        image, lesion = np.zeros((28, 32, 2), np.float32), np.zeros((28, 32), np.float32)
        image[3:-3, 3:-3], lesion[8:14, 10:18] = 0.5, 1
        picture = Picture("P401", 1, image[:, :, 1], lesion)
        for number, row in enumerate(rows):
            noise = 0.1 * number * draw.random(image.shape)
            picture.add(row, lesion[..., None] + noise, None if row[1] else image)
        pictures[test_set] = picture
    (target / FILE).write_bytes(pack(pictures))


def summary(subjects: pd.DataFrame) -> pd.DataFrame:
    """``table.csv``, with an interval of ± 1 point."""
    keys = ["variant", "method", "annotations", "test_set", "metric"]
    lines = []
    for key, part in subjects.groupby(keys, sort=False):
        runs = part.groupby(["seed", "fold"])["value"].mean()
        mean = part["value"].mean()
        counts = part["subject"].nunique(), len(runs)
        lines.append((*key, mean, runs.std(), mean - 0.01, mean + 0.01, *counts))
    return pd.DataFrame(
        lines, columns=[*keys, "mean", "sd_runs", "low", "high", "n_subjects", "n_runs"]
    )


def curve(subjects: pd.DataFrame) -> pd.DataFrame:
    """``beta_curve.csv``: a tent with its top, 0.5, at β = 0.3; an interval of ± 2 points."""
    keys = ["variant", "seed", "fold", "annotations", "test_set", "beta"]
    means = curve_subjects(subjects).groupby(keys, sort=False)["best_dice"].mean().reset_index()
    return means.assign(low=means["best_dice"] - 0.02, high=means["best_dice"] + 0.02)


def curve_subjects(subjects: pd.DataFrame) -> pd.DataFrame:
    """``beta_subjects.csv.gz``: each subject has its own level, and a tent of its own height."""
    sources = [s for s in dict.fromkeys(subjects["annotations"]) if s not in ("", "pii")]
    runs = dict.fromkeys(zip(subjects["variant"], subjects["seed"], strict=True))
    lines = [
        (variant, seed, 0, source, test_set, subject, beta / 10,
         0.5 + SPREAD[k] - (0.1 + SPREAD[k]) * abs(beta / 10 - 0.3))
        for variant, seed in runs
        for source in sources
        for test_set in SETS
        for beta in range(11)
        for k, subject in enumerate(SUBJECTS)
    ]  # fmt: skip
    return pd.DataFrame(lines, columns=[
        "variant", "seed", "fold", "annotations", "test_set", "subject", "beta", "best_dice",
    ])  # fmt: skip


def forget_subjects_of_curves(folder: Path) -> None:
    """Make a record as an earlier version wrote it: without spread of the weighting curve."""
    (folder / "beta_subjects.csv.gz").unlink()
    table = pd.read_csv(folder / "beta_curve.csv")
    table.drop(columns=["low", "high"]).to_csv(folder / "beta_curve.csv", index=False)


def as_in_the_paper(shift: float = 0.0) -> Mean:
    """The paper's own means plus ``shift``, and 0.2 where it has none."""

    def mean(variant: str, row: Row, test_set: str, metric: str) -> float:
        return paper_values(metric).get((row, test_set), (0.2, 0.0))[0] + shift

    return mean
