"""The stage ``evaluation``: every method on every test set, with thresholds from validation."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sadm_utils import device
from sadm_utils.config import Config, to_dict
from sadm_utils.data.stage import healthy, open_data
from sadm_utils.data.store import Store, Volumes
from sadm_utils.errors import UserError
from sadm_utils.evaluation.findings import check_findings
from sadm_utils.evaluation.metrics import best_dice, l1_error
from sadm_utils.evaluation.protocol import Healthy, Scored, measure_healthy, measure_set
from sadm_utils.evaluation.scoring import VolumeMaps, scores
from sadm_utils.evaluation.shared import share_maps
from sadm_utils.evaluation.statistics import bootstrap_interval, summarize
from sadm_utils.evaluation.tables import write_beta_subjects, write_results
from sadm_utils.runs import Run, Stage, compute_once
from sadm_utils.sadm.fusion import fuse
from sadm_utils.sadm.training import (
    INPUTS,
    SET_OF_ANNOTATIONS,
    build_synthesizer,
    stage_name,
    training_volumes,
)

SYNTHETIC, KEPT_MAPS = "DRAEM", 4
SYNTHETIC_SEED, SYNTHETIC_SALT = 0, {"val": 31, "test": 29}
"""Not the run's seed: runs with different seeds are tested on the same images."""
SOURCES = ("evaluation", "sadm", "cddpm", "draem")
Look = Callable[[int, VolumeMaps], None]


@cache
def sources_hash() -> str:
    """Hash of the sources that make maps and numbers of trained models."""
    digest, package = hashlib.sha256(), Path(__file__).parent.parent
    for room in SOURCES:
        for path in sorted((package / room).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def finished_networks(run: Run) -> list[tuple[str, str]]:
    """(annotations, inputs) of every network that is finished in the run."""
    names = [(source, inputs) for source in SET_OF_ANNOTATIONS for inputs in INPUTS]
    return [n for n in names if (run.path / stage_name(*n) / "record.json").exists()]


def evaluation_stage(run: Run) -> Stage:
    """Describe the stage ``evaluation``; its parents are the data and all finished networks."""
    config = run.config
    settings = {
        "evaluation": to_dict(config.evaluation),
        "draem": to_dict(config.draem),
        "cddpm": {"levels": list(config.cddpm.levels)},
        "data": {"holdout": config.data.holdout},
        "code": sources_hash(),  # quick to compute again, unlike a training
    }
    networks = [stage_name(*name) for name in finished_networks(run)]
    return run.stage("evaluation", settings, ["data", "cddpm", *networks])


def evaluate(run: Run, show: Callable[[str], None] = print) -> dict[str, Any]:
    """Score every test set with every finished model, or reuse the finished stage.

    Writes ``results.json`` and ``results.csv`` (a row a method, test set and metric),
    ``subjects.csv`` (a value a subject), ``beta_subjects.csv`` (the same for each weight β), and
    the maps of the first subjects of each set.
    """
    stage = evaluation_stage(run)
    return compute_once(stage, lambda: _evaluate(run, stage, show))


def _evaluate(run: Run, stage: Stage, show: Callable[[str], None]) -> dict[str, Any]:
    """Score everything, write the results into the stage and return the record's metrics."""
    store, settings = open_data(run), run.config.evaluation
    sets, names = test_sets(run, store), finished_networks(run)
    check_unseen(run, store, sets, names)
    folder = stage.path
    errors: list[float] = []
    tables: dict[str, list[dict[str, Any]]] = {"subjects": [], "whole": [], "beta": []}
    limits: list[dict[str, Any]] = []

    def scored(volumes: Volumes, look: Look | None = None) -> Iterator[Scored]:
        maps = share_maps(run, names, volumes, stage.key)
        for number, result in enumerate(maps):
            if look:
                look(number, result)
            yield _scored(result, run.config)

    def look_at_healthy(number: int, result: VolumeMaps) -> None:
        errors.append(l1_error(result.image, result.reconstruction, result.mask))

    healthy_sets = [healthy(run, store, part) for part in ("val", "test")]
    show(f"healthy: {len(healthy_sets[0])} validation and {len(healthy_sets[1])} test subjects")
    well = measure_healthy(scored(healthy_sets[0]), scored(healthy_sets[1], look_at_healthy))
    for name, (validation, test) in sets.items():
        show(f"{name}: {len(validation)} validation and {len(test)} test subjects")

        def look(number: int, result: VolumeMaps, name: str = name) -> None:
            tables["beta"] += _beta_rows(name, result, settings.betas)
            if number < KEPT_MAPS:
                save_maps(folder / "maps" / name, result)

        parts = scored(validation), scored(test, look)
        found = measure_set(name, *parts, well, run.seed, settings.bootstrap)
        tables["subjects"] += found.subjects
        tables["whole"] += found.whole
        limits += [
            {"method": method, "annotations": source, "test_set": name, "threshold": float(value)}
            for (method, source), value in found.thresholds.items()
        ]
    extra = {"thresholds": limits, "healthy_rates": healthy_rates(well)}
    frames = {name: pd.DataFrame(rows) for name, rows in tables.items()}
    return _write_results(run, folder, frames, errors, extra)


def _write_results(
    run: Run,
    folder: Path,
    tables: Mapping[str, pd.DataFrame],
    errors: list[float],
    extra: dict[str, Any],
) -> dict[str, Any]:
    """Summarize the values of all subjects with bootstrap intervals, and write the tables."""
    resamples, subjects = run.config.evaluation.bootstrap, tables["subjects"]
    summary = pd.concat([summarize(subjects, run.seed, resamples), tables["whole"]])
    error = bootstrap_interval(errors, np.random.default_rng(run.seed), resamples)
    extra = {
        "profile": run.config.profile,
        "seed": run.seed,
        "healthy_l1": dataclasses.asdict(error),
        "findings": check_findings(subjects, error, run.seed, resamples),
        **extra,
        "beta_curve": _mean_curve(tables["beta"]) if len(tables["beta"]) else [],
    }
    write_beta_subjects(folder, tables["beta"])
    write_results(folder, summary.reset_index(drop=True), extra, subjects)
    return {"healthy_l1": error.mean, "rows": len(summary)}


def healthy_rates(well: Healthy) -> list[dict[str, Any]]:
    """For each row and rate: the threshold, and what share of healthy test brains it marks."""
    return [
        {"method": method, "annotations": source, "rate": rate, "threshold": float(limit),
         "marked": well.marked.get((method, source), {}).get(rate)}
        for (method, source), limits in well.thresholds.items()
        for rate, limit in limits.items()
    ]  # fmt: skip


def check_unseen(
    run: Run,
    store: Store,
    sets: Mapping[str, tuple[Volumes, Volumes]],
    networks: Sequence[tuple[str, str]],
) -> None:
    """Refuse to score subjects that a model was trained on, or that set the threshold of their set.

    A subject counts as known by its name or by the content of its scan. Those that
    are named in ``evaluation.accept_trained`` are let through.

    Raises
    ------
    UserError
        Naming the test set, its known subjects, and how to accept them.
    """
    sources = dict.fromkeys(["draem", *(annotations for annotations, _ in networks)])
    trained = [training_volumes(run, store, source) for source in sources]
    accepted = set(run.config.evaluation.accept_trained)
    for test_set, (validation, test) in sets.items():
        for told, known in (
            ("The models were trained on", _shared((validation, test), trained)),
            ("The threshold comes from", _shared((test,), (validation,))),
        ):
            if refused := [subject for subject in known if subject not in accepted]:
                raise UserError(
                    f"{told} {', '.join(refused)}, which {test_set} would score: remove them from "
                    f"one of the lists in splits, or set evaluation.accept_trained to {refused} in "
                    "OVERRIDES."
                )


def _shared(scored: Sequence[Volumes], others: Sequence[Volumes]) -> list[str]:
    """Subjects of ``scored`` that are in ``others`` as well, by name or with the same scan."""
    names = {subject for volumes in others for subject in volumes.subjects}
    scans = {digest for volumes in others for digest in volumes.table["image_sha256"]}
    pairs = [p for v in scored for p in zip(v.subjects, v.table["image_sha256"], strict=True)]
    return list(dict.fromkeys(s for s, digest in pairs if s in names or digest in scans))


def test_sets(run: Run, store: Store) -> dict[str, tuple[Volumes, Volumes]]:
    """(validation, test) volumes of each test set; no validation subject was trained on.

    The annotated sets hold their first ``data.holdout`` validation subjects back from training.
    The synthetic set is made of the healthy validation and test subjects.
    """
    sets = {}
    for name in ("Brats21", "ATLAS", "MSLUB", "WMH"):
        if f"{name}_test" in store and len(store[f"{name}_test"]):
            test, held_out = store[f"{name}_test"], slice(0, run.config.data.holdout)
            none = test.subset(slice(0, 0))  # without a validation list there is no threshold
            validation = store[f"{name}_val"].subset(held_out) if f"{name}_val" in store else none
            sets[name] = (validation, test)
    parts = [synthetic_set(run, healthy(run, store, part), part) for part in ("val", "test")]
    sets[SYNTHETIC] = (parts[0], parts[1])
    return sets


def synthetic_set(run: Run, volumes: Volumes, part: str) -> Volumes:
    """Put a DRAEM anomaly into each slice of healthy volumes.

    They are the same ones in every run with the same settings, and others in ``"val"`` than in
    ``"test"``.
    """
    synthesizer = build_synthesizer(run.config)
    image, seg = np.array(volumes.image, np.float32), np.array(volumes.seg)
    for row in range(len(volumes)):
        draw = device.generator(SYNTHETIC_SEED, SYNTHETIC_SALT[part], row)
        slices, mask = (torch.from_numpy(np.array(v[row])).float()[:, None]
                        for v in (image, volumes.mask))
        anomalous, anomaly, _ = synthesizer(slices, mask, draw)
        image[row], seg[row] = anomalous[:, 0].clamp(0, 1).numpy(), anomaly[:, 0].numpy() > 0
    return dataclasses.replace(volumes, image=image, seg=seg)


def save_maps(folder: Path, maps: VolumeMaps) -> None:
    """Keep a subject's maps for the figures, as float16 arrays in one ``.npz``."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {n: getattr(maps, n) for n in ("image", "reconstruction", "residual")}
    arrays |= {stage_name(*key): value for key, value in maps.supervised.items()}
    halves = {name: array.astype(np.float16) for name, array in arrays.items()}
    np.savez_compressed(folder / f"{maps.subject}.npz", mask=maps.mask, seg=maps.seg, **halves)


def read_maps(file: Path) -> VolumeMaps:
    """Read what :func:`save_maps` has written."""
    with np.load(file, allow_pickle=False) as arrays:
        supervised = {
            (name.split("-")[1], name.split("-")[2]): arrays[name].astype(np.float32)
            for name in arrays.files
            if name.startswith("sadm-")
        }
        parts = [arrays[n].astype(np.float32) for n in ("image", "reconstruction", "residual")]
        return VolumeMaps(
            file.stem, parts[0], arrays["mask"], arrays["seg"], parts[1], parts[2], supervised
        )


def kept_case(folder: Path) -> VolumeMaps | None:
    """Of the subjects of one test set whose maps were kept, the one with the median lesion."""
    kept = {file.stem: read_maps(file) for file in folder.glob("*.npz")}
    return kept.get(_median_lesion({name: int(maps.seg.sum()) for name, maps in kept.items()}))


def kept_subject(volumes: Volumes) -> str | None:
    """The subject of a test set that :func:`kept_case` will return, before there are maps."""
    rows = enumerate(volumes.subjects[:KEPT_MAPS])
    return _median_lesion({subject: int(volumes.volume(k, "seg").sum()) for k, subject in rows})


def _median_lesion(sizes: Mapping[str, int]) -> str | None:
    """Of subjects with their numbers of lesion voxels the median one; of equal ones, by name."""
    ordered = sorted(sizes, key=lambda subject: (sizes[subject], subject))
    return ordered[len(ordered) // 2] if ordered else None


def _scored(maps: VolumeMaps, config: Config) -> Scored:
    return Scored(
        maps.subject,
        maps.mask,
        maps.seg,
        scores(maps, config.evaluation.median),
        config.data.voxel_mm,
        maps.image,
        {("cDDPM", ""): maps.reconstruction},
    )


def _beta_rows(test_set: str, maps: VolumeMaps, count: int) -> list[dict[str, Any]]:
    """⌈Dice⌉ of SADM_res for each weight β of the residual map (paper, appendix D)."""
    inside = (maps.mask > 0) | (maps.seg > 0)
    rows = []
    for (annotations, inputs), supervised in maps.supervised.items():
        if inputs != "residual":
            continue
        for beta in np.linspace(0, 1, count):
            score = fuse(maps.residual[inside], supervised[inside], float(beta))
            dice = best_dice(score, maps.seg[inside])[0]
            rows.append({"annotations": annotations, "test_set": test_set, "subject": maps.subject,
                         "beta": round(float(beta), 4), "best_dice": dice})
    return rows


def _mean_curve(curve: pd.DataFrame) -> list[dict[str, Any]]:
    keys = ["annotations", "test_set", "beta"]
    return curve.groupby(keys, sort=False)["best_dice"].mean().reset_index().to_dict("records")
