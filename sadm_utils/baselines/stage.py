"""Evaluate a trained comparison method on the test sets of chapter 6, by the same protocol."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sadm_utils.baselines.method import Baseline, ReconstructionBaseline
from sadm_utils.baselines.registry import method_class, title
from sadm_utils.baselines.training import load_baseline, settings_of, stage_name
from sadm_utils.config import to_dict
from sadm_utils.data.stage import healthy, open_data
from sadm_utils.data.store import Store, Volumes
from sadm_utils.evaluation import stage as chapter6
from sadm_utils.evaluation.metrics import l1_error
from sadm_utils.evaluation.protocol import Healthy, Scored, measure_healthy, measure_set
from sadm_utils.evaluation.statistics import bootstrap_interval, summarize
from sadm_utils.evaluation.tables import read_results, write_results
from sadm_utils.runs import Run, Stage, compute_once


@cache
def _code() -> str:
    """Hash of the sources that an evaluation depends on: this room, and those of chapter 6."""
    digest = hashlib.sha256(chapter6.sources_hash().encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def evaluation_name(name: str) -> str:
    """Name of the stage of a method's evaluation, e.g. ``baseline-ae-evaluation``."""
    return f"{stage_name(name)}-evaluation"


def evaluation_stage(run: Run, name: str) -> Stage:
    """Describe the evaluation of a method; its parents are the data and the trained method."""
    evaluation = to_dict(run.config.evaluation)
    evaluation.pop("betas")  # nothing is fused here
    settings = {
        "evaluation": evaluation,
        **settings_of(run.config, [*method_class(name).test_uses, "data.holdout", "draem"]),
        "code": _code(),
    }
    return run.stage(evaluation_name(name), settings, ["data", stage_name(name)])


def evaluate_baseline(
    run: Run, name: str, show: Callable[[str], None] = print
) -> dict[str, Any]:
    """Score every test set with a trained method, or reuse the finished stage.

    Writes ``results.json``, ``results.csv`` and ``subjects.csv`` as chapter 6 does, and the maps
    of one test subject of each set: the one that chapter 6 shows.

    Raises
    ------
    UserError
        If the method is not trained, or a test subject is one that it was trained on.
    """
    stage = evaluation_stage(run, name)
    return compute_once(stage, lambda: _evaluate(run, name, stage.path, show))


def _evaluate(run: Run, name: str, folder: Path, show: Callable[[str], None]) -> dict[str, Any]:
    """Score everything, write the results into ``folder`` and return the record's metrics."""
    store, method = open_data(run), load_baseline(run, name)
    sets = chapter6.test_sets(run, store)
    chapter6.check_unseen(run, store, sets, [])  # a comparison method sees no annotated subject
    well, errors = _healthy(run, store, method, show)
    subjects: list[dict[str, Any]] = []
    whole: list[dict[str, Any]] = []
    limits: list[dict[str, Any]] = []
    for test_set, (validation, test) in sets.items():
        show(f"{method.title}, {test_set}: {len(validation)} + {len(test)} subjects")
        keep = folder / "maps" / test_set
        parts = _scored(run, method, validation), _scored(run, method, test, keep)
        found = measure_set(test_set, *parts, well, run.seed, run.config.evaluation.bootstrap)
        subjects += found.subjects
        whole += found.whole
        limits += [
            {"method": row[0], "annotations": row[1], "test_set": test_set, "threshold": value}
            for row, value in found.thresholds.items()
        ]
    extra = {"thresholds": limits, "healthy_rates": chapter6.healthy_rates(well)}
    return _write(run, folder, pd.DataFrame(subjects), pd.DataFrame(whole), errors, extra)


def _healthy(
    run: Run, store: Store, method: Baseline, show: Callable[[str], None]
) -> tuple[Healthy, list[float]]:
    """What healthy subjects say, and the mean |x̂ − x| in the brain of each one of the test.

    There are no such errors for a method that does not rebuild the image.
    """
    validation, test = (healthy(run, store, part) for part in ("val", "test"))
    show(f"{method.title}, healthy: {len(validation)} + {len(test)} subjects")
    errors: list[float] = []

    def with_errors() -> Iterator[Scored]:
        for volume in _scored(run, method, test):
            errors.extend(
                l1_error(volume.image, rebuilt, volume.mask)
                for rebuilt in volume.reconstructions.values()
            )
            yield volume

    return measure_healthy(_scored(run, method, validation), with_errors()), errors


def _scored(
    run: Run, method: Baseline, volumes: Volumes, keep: Path | None = None
) -> Iterator[Scored]:
    """Score each volume of a split, one at a time; what is random differs between volumes.

    The maps of the subject that chapter 6 shows are written into the folder ``keep``.
    """
    settings, key = run.config.evaluation, (method.title, method.annotations)
    kept = None if keep is None else chapter6.kept_subject(volumes)
    for row, subject in enumerate(volumes.subjects):
        image, mask, seg = (volumes.volume(row, part) for part in ("image", "mask", "seg"))
        rebuilt, seed = {}, run.seed + row
        if isinstance(method, ReconstructionBaseline):
            rebuilt[key] = method.reconstruction(image, seed, settings.batch_size)
            score = method.residual(image, rebuilt[key], mask, settings)
        else:
            score = method.anomaly_map(image, mask, settings, seed)
        if keep is not None and subject == kept:
            _save_maps(keep / f"{subject}.npz", image, mask, seg, score, rebuilt.get(key))
        voxel_mm = run.config.data.voxel_mm
        yield Scored(subject, mask, seg, [(*key, score)], voxel_mm, image, rebuilt)


def _write(
    run: Run,
    folder: Path,
    subjects: pd.DataFrame,
    whole: pd.DataFrame,
    errors: list[float],
    extra: dict[str, Any],
) -> dict[str, Any]:
    """Summarize with bootstrap intervals, and write the tables as chapter 6 does."""
    resamples = run.config.evaluation.bootstrap
    summary = pd.concat([summarize(subjects, run.seed, resamples), whole], ignore_index=True)
    extra = {"profile": run.config.profile, "seed": run.seed, **extra}
    metrics: dict[str, Any] = {"rows": len(summary)}
    if errors:
        error = bootstrap_interval(errors, np.random.default_rng(run.seed), resamples)
        extra["healthy_l1"], metrics["healthy_l1"] = dataclasses.asdict(error), error.mean
    write_results(folder, summary, extra, subjects)
    return metrics


def _save_maps(
    file: Path,
    image: np.ndarray,
    mask: np.ndarray,
    seg: np.ndarray,
    score: np.ndarray,
    rebuilt: np.ndarray | None,
) -> None:
    """Keep the maps of a subject for the figures, as float16 arrays in one ``.npz``."""
    arrays = {"image": image, "score": score}
    if rebuilt is not None:
        arrays["reconstruction"] = rebuilt
    halves = {name: np.asarray(array, np.float16) for name, array in arrays.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, mask=mask, seg=seg, **halves)


def load_maps(run: Run, name: str, test_set: str) -> dict[str, np.ndarray]:
    """The maps of the test subject of a set that was kept: the one that chapter 6 shows.

    Returns
    -------
    ``image``, ``mask``, ``seg``, ``score`` and, if the method rebuilds, ``reconstruction``: each
    (H, W, D), float32 but for the masks.
    """
    run.require(evaluation_name(name))
    (file,) = (run.path / evaluation_name(name) / "maps" / test_set).glob("*.npz")
    with np.load(file, allow_pickle=False) as arrays:
        kinds = {key: np.uint8 if key in ("mask", "seg") else np.float32 for key in arrays.files}
        return {key: arrays[key].astype(kind) for key, kind in kinds.items()}


def baseline_results(run: Run, name: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows and further results of a finished evaluation, as of chapter 6's ``read_results``."""
    run.require(evaluation_name(name))
    return read_results(run.path / evaluation_name(name))


def comparison(run: Run, names: Sequence[str]) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """The methods' rows, and chapter 6's rows without annotations if it has been run.

    Returns
    -------
    Tidy rows, and the healthy error (``mean``, ``low``, ``high`` ...) of each row that rebuilds.
    """
    parts, errors = [], {}
    for name in names:
        rows, extra = baseline_results(run, name)
        parts.append(rows)
        if "healthy_l1" in extra:
            errors[title(name)] = extra["healthy_l1"]
    if (run.path / "evaluation" / "record.json").exists():
        run.require("evaluation")
        rows, extra = read_results(run.path / "evaluation")
        parts.append(rows[rows["annotations"].fillna("") == ""])
        errors["cDDPM"] = extra["healthy_l1"]
    return pd.concat(parts, ignore_index=True), errors
