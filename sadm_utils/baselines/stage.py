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
from sadm_utils.baselines.registry import METHODS, method_class, title
from sadm_utils.baselines.training import load_baseline, settings_of, stage_name
from sadm_utils.config import to_dict
from sadm_utils.data.stage import healthy, open_data
from sadm_utils.data.store import Volumes
from sadm_utils.evaluation import stage as chapter6
from sadm_utils.evaluation.metrics import l1_error
from sadm_utils.evaluation.protocol import Scored, subject_rows, validation_thresholds
from sadm_utils.evaluation.statistics import bootstrap_interval, summarize
from sadm_utils.evaluation.tables import read_results, write_results
from sadm_utils.runs import Run, Stage, compute_once


@cache
def _code() -> str:
    """Hash of the sources that an evaluation depends on: this room and chapter 6."""
    digest = hashlib.sha256()
    for folder in (Path(chapter6.__file__).parent, Path(__file__).parent):
        for path in sorted(folder.glob("*.py")):
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
    of the first test subject of each set.

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
    rows: list[dict[str, Any]] = []
    limits: list[dict[str, Any]] = []
    for test_set, (validation, test) in sets.items():
        show(f"{method.title}, {test_set}: {len(validation)} + {len(test)} subjects")
        thresholds = validation_thresholds(_scored(run, method, validation))
        limits += [
            {"method": row[0], "annotations": row[1], "test_set": test_set, "threshold": value}
            for row, value in thresholds.items()
        ]
        for number, volume in enumerate(_scored(run, method, test)):
            rows += subject_rows(test_set, volume, thresholds)
            if number == 0:
                _save_maps(run, method, folder / "maps" / f"{test_set}.npz", test, volume)
    return _write(run, folder, pd.DataFrame(rows), _healthy_errors(run, method), limits)


def _scored(run: Run, method: Baseline, volumes: Volumes) -> Iterator[Scored]:
    """Score each volume of a split, one at a time; what is random differs between volumes."""
    for row, subject in enumerate(volumes.subjects):
        image, mask, seg = (volumes.volume(row, part) for part in ("image", "mask", "seg"))
        score = method.anomaly_map(image, mask, run.config.evaluation, run.seed + row)
        yield Scored(subject, mask, seg, [(method.title, method.annotations, score)])


def _healthy_errors(run: Run, method: Baseline) -> list[float]:
    """Mean |x̂ − x| in the brain of each healthy test subject; empty if nothing is rebuilt."""
    if not isinstance(method, ReconstructionBaseline):
        return []
    volumes, errors = healthy(run, open_data(run), "test"), []
    for row in range(len(volumes)):
        image, mask = volumes.volume(row, "image"), volumes.volume(row, "mask")
        rebuilt = method.reconstruction(image, run.seed + row, run.config.evaluation.batch_size)
        errors.append(l1_error(image, rebuilt, mask))
    return errors


def _write(
    run: Run,
    folder: Path,
    subjects: pd.DataFrame,
    errors: list[float],
    thresholds: list[dict[str, Any]],
) -> dict[str, Any]:
    """Summarize with bootstrap intervals, and write the tables as chapter 6 does."""
    resamples = run.config.evaluation.bootstrap
    summary = summarize(subjects, run.seed, resamples)
    extra = {"profile": run.config.profile, "seed": run.seed, "thresholds": thresholds}
    metrics: dict[str, Any] = {"rows": len(summary)}
    if errors:
        error = bootstrap_interval(errors, np.random.default_rng(run.seed), resamples)
        extra["healthy_l1"], metrics["healthy_l1"] = dataclasses.asdict(error), error.mean
    write_results(folder, summary, extra, subjects)
    return metrics


def _save_maps(run: Run, method: Baseline, file: Path, volumes: Volumes, volume: Scored) -> None:
    """Keep the maps of the first subject of a set for the figures."""
    image, size = volumes.volume(0, "image"), run.config.evaluation.batch_size
    ((_, _, score),) = volume.scores
    arrays = {"image": image, "score": score}
    if isinstance(method, ReconstructionBaseline):
        arrays["reconstruction"] = method.reconstruction(image, run.seed, size)
    halves = {name: np.asarray(array, np.float16) for name, array in arrays.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, mask=volume.mask, seg=volume.seg, **halves)


def load_maps(run: Run, name: str, test_set: str) -> dict[str, np.ndarray]:
    """The kept maps of the first test subject of a set.

    Returns
    -------
    ``image``, ``mask``, ``seg``, ``score`` and, if the method rebuilds, ``reconstruction``: each
    (H, W, D), float32 but for the masks.
    """
    run.require(evaluation_name(name))
    file = run.path / evaluation_name(name) / "maps" / f"{test_set}.npz"
    with np.load(file, allow_pickle=False) as arrays:
        kinds = {key: np.uint8 if key in ("mask", "seg") else np.float32 for key in arrays.files}
        return {key: arrays[key].astype(kind) for key, kind in kinds.items()}


def finished_baselines(run: Run) -> list[str]:
    """Names of the methods whose evaluation is finished in the run, in the table's order."""
    return [n for n in METHODS if (run.path / evaluation_name(n) / "record.json").exists()]


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
