"""The stage ``failures``: the run's models on spoiled scans, measured at validation thresholds."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sadm_utils.cddpm.training import load_cddpm
from sadm_utils.config import to_dict
from sadm_utils.data.stage import healthy, open_data
from sadm_utils.data.store import Volumes
from sadm_utils.errors import UserError
from sadm_utils.evaluation.metrics import confusion_at
from sadm_utils.evaluation.scoring import VolumeMaps, compute_maps
from sadm_utils.evaluation.stage import SYNTHETIC, read_maps, save_maps, test_sets
from sadm_utils.evaluation.tables import read_results
from sadm_utils.failures.damage import DAMAGES, Volume
from sadm_utils.failures.lesions import (
    DARKNESS,
    DIAMETERS_MM,
    add_ball,
    deepest_white_matter,
    slab,
)
from sadm_utils.predict.finished import INPUTS, METHOD, choose_network
from sadm_utils.runs import Run, Stage, compute_once
from sadm_utils.sadm.fusion import fuse
from sadm_utils.sadm.training import load_network

SALT = 83
PLAIN = "cDDPM"
SPOILED = {
    "healthy": tuple(DAMAGES),
    "sick": ("intact", "ghosts", "bias", "noise", "thick", "contrast"),  # those of the scanner
}
"""Which damages each kind of subject goes through."""


@dataclass(frozen=True)
class Broken:
    """Results of the finished stage.

    Attributes
    ----------
    annotations
        What the network of SADM_res was trained on.
    thresholds
        Of cDDPM and SADM_res, from validation subjects.
    damages
        A row a damage, method and kind of subject: ``marked_ml``, ``marked`` (share of the
        brain), ``dice``, ``recall``, ``precision``.
    sizes
        A row a drawn lesion and method: ``diameter_mm``, ``darkness``, ``recall``, ``score`` (the
        highest in the lesion, in units of the threshold).
    """

    folder: Path
    annotations: str
    thresholds: dict[str, float]
    damages: pd.DataFrame
    sizes: pd.DataFrame

    def maps(self, damage: str, kind: str = "healthy") -> VolumeMaps:
        """The maps of a spoiled subject."""
        return read_maps(self.folder / "maps" / kind / f"{damage}.npz")

    def score(self, maps: VolumeMaps) -> np.ndarray:
        """The score of SADM_res."""
        return fuse(maps.residual, maps.supervised[self.annotations, INPUTS])


@cache
def _code() -> str:
    """Hash of this room's sources but the figures."""
    digest = hashlib.sha256()
    for name in ("damage", "lesions", "stage"):
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return digest.hexdigest()[:16]


def break_it(run: Run, show: Callable[[str], None] = print) -> Broken:
    """Compute the stage, or read the finished one.

    Raises
    ------
    UserError
        The evaluation of chapter 6 is missing, or has no threshold.
    """
    run.require("evaluation")
    network = choose_network(run)
    settings = {"evaluation": to_dict(run.config.evaluation), "code": _code()}
    stage = run.stage("failures", settings, ["data", "cddpm", network.stage, "evaluation"])
    thresholds = {m: threshold(run, m, network.annotations) for m in (PLAIN, METHOD)}
    record = compute_once(
        stage, lambda: _compute(run, stage, network.annotations, thresholds, show)
    )
    return read_broken(stage.path, record)


def read_broken(folder: Path, record: dict[str, Any]) -> Broken:
    """Read what a finished stage holds."""
    frames = (pd.read_csv(folder / f"{name}.csv") for name in ("damages", "sizes"))
    metrics = record["metrics"]
    return Broken(folder, metrics["annotations"], metrics["thresholds"], *frames)


def threshold(run: Run, method: str, annotations: str) -> float:
    """Median over the test sets of a method's validation thresholds; of real lesions if any."""
    rows = read_results(run.path / "evaluation")[1].get("thresholds", [])
    own = annotations if method != PLAIN else ""
    found = {
        row["test_set"]: float(row["threshold"])
        for row in rows
        if row["method"] == method and row["annotations"] == own
    }
    real = {name: value for name, value in found.items() if name != SYNTHETIC}
    if not found:
        raise UserError(
            f"The evaluation in {run.path} has no threshold for {method}: it needs validation "
            "subjects; rerun notebooks/06_evaluation.ipynb."
        )
    return statistics.median((real or found).values())


def subjects_to_spoil(run: Run) -> dict[str, Volume]:
    """A healthy test subject, and of the first sick set the one whose lesion is of median size."""
    store = open_data(run)
    well = healthy(run, store, "test")
    sets = test_sets(run, store)
    test = next(iter(sets.values()))[1]
    sizes = test.seg.reshape(len(test), -1).sum(axis=1)
    row = int(np.argsort(sizes, kind="stable")[len(test) // 2])
    size = run.config.data.voxel_mm
    return {"healthy": _volume(well, 0, size), "sick": _volume(test, row, size)}


def _volume(volumes: Volumes, row: int, voxel_mm: float) -> Volume:
    image, mask, seg = (volumes.volume(row, part) for part in ("image", "mask", "seg"))
    return Volume(np.asarray(image, np.float32), mask, seg, voxel_mm)


def _compute(
    run: Run,
    stage: Stage,
    annotations: str,
    thresholds: dict[str, float],
    show: Callable[[str], None],
) -> dict[str, Any]:
    """Spoil, score and measure; write the tables and maps, return the record's metrics."""
    model = load_cddpm(run)
    networks = {(annotations, INPUTS): load_network(run, annotations, INPUTS)}

    def look(volume: Volume, name: str) -> tuple[VolumeMaps, dict[str, np.ndarray]]:
        maps = compute_maps(
            volume.image, volume.mask, model, networks, run.config.evaluation, run.seed,
            volume.seg, name,
        )  # fmt: skip
        fused = fuse(maps.residual, maps.supervised[annotations, INPUTS])
        return maps, {PLAIN: maps.residual, METHOD: fused}

    subjects, damages = subjects_to_spoil(run), []
    for kind, volume in subjects.items():
        show(f"{kind} subject: {len(SPOILED[kind])} scans")
        for number, name in enumerate(SPOILED[kind]):
            rng = np.random.default_rng([run.seed, SALT, number])
            spoiled = DAMAGES[name].spoil(volume, rng)
            maps, scores = look(spoiled, name)
            save_maps(stage.path / "maps" / kind, maps)
            damages += [
                {"damage": name, "kind": kind, "method": method,
                 **measure(score, spoiled, thresholds[method])}
                for method, score in scores.items()
            ]  # fmt: skip
    show(f"drawn lesions: {len(DIAMETERS_MM) * len(DARKNESS)} scans")
    sizes = _sizes(subjects["healthy"], look, thresholds)
    for name, rows in (("damages", damages), ("sizes", sizes)):
        pd.DataFrame(rows).to_csv(stage.path / f"{name}.csv", index=False)
    digest = hashlib.sha256((stage.path / "damages.csv").read_bytes()).hexdigest()[:16]
    return {"annotations": annotations, "thresholds": thresholds, "hash": digest}


def _sizes(
    volume: Volume,
    look: Callable[[Volume, str], tuple[VolumeMaps, dict[str, np.ndarray]]],
    thresholds: dict[str, float],
) -> list[dict[str, Any]]:
    """Draw lesions of several sizes into the healthy subject, one at a time."""
    center = deepest_white_matter(volume)
    rows = []
    for darkness, factor in DARKNESS.items():
        for diameter in DIAMETERS_MM:
            part, _ = slab(add_ball(volume, center, diameter, factor), center[2])
            _, scores = look(part, "ball")
            lesion = part.seg > 0
            for method, score in scores.items():
                limit = thresholds[method]
                rows.append({
                    "darkness": darkness, "diameter_mm": diameter, "method": method,
                    "voxels": int(lesion.sum()),
                    "recall": float((score[lesion] >= limit).mean()),
                    "score": float(score[lesion].max() / limit) if limit else float("nan"),
                })  # fmt: skip
    return rows


def measure(score: np.ndarray, volume: Volume, limit: float) -> dict[str, float]:
    """What a threshold marks inside the brain, and how it meets the lesion."""
    inside = volume.mask > 0
    marked = (score >= limit) & inside
    counts = confusion_at(score, volume.seg, limit, inside | (volume.seg > 0))
    return {
        "marked_ml": float(marked.sum()) * volume.voxel_mm**3 / 1000,
        "marked": float(marked.sum() / max(inside.sum(), 1)),
        "dice": counts.dice,
        "recall": counts.recall,
        "precision": counts.precision,
    }
