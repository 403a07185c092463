"""The stage ``data``: from scans on disk (or the phantom cohort) to the slices of all chapters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sadm_utils.config import TrainConfig, to_dict
from sadm_utils.data.augment import Augmenter
from sadm_utils.data.layout import available_sets, read_split, split_path
from sadm_utils.data.phantom import RECORD, write_cohort
from sadm_utils.data.prepare import PrepareSettings, prepare_source
from sadm_utils.data.slices import SliceDataset
from sadm_utils.data.sources import split_kinds
from sadm_utils.data.splits import find_overlaps
from sadm_utils.data.store import MANIFEST_VERSION, Store, Volumes, build_store, open_store
from sadm_utils.errors import UserError
from sadm_utils.runs import Run, Stage, compute_once

SEED_OF_COHORT = 20240  # the phantom cohort is one data set, whatever the seed of a training is


def source_folder(run: Run, dataset: str = "") -> Path:
    """Return the data set of a run in the book's layout, made on first use.

    Without ``DATA_DIR`` the phantom cohort is written into the run folder. A ``DATA_DIR`` that
    holds raw scans and no ``splits`` is registered and sorted first.

    Parameters
    ----------
    dataset
        Which raw scans of ``DATA_DIR`` are meant: one or several of ``sources.SOURCES`` with
        commas between; empty for all that are recognized.

    Raises
    ------
    UserError
        ``dataset`` is unknown, or there are no raw scans to choose from.
    """
    if dataset:
        split_kinds(dataset, "DATASET")
        _need_raw_scans(run, dataset)
    if run.data_dir is None:
        phantom = to_dict(run.config.data.phantom)
        voxel_mm = phantom.pop("voxel_mm")
        folder = run.path / "phantom"
        return write_cohort(folder, phantom, SEED_OF_COHORT, voxel_mm, jobs=run.config.data.jobs)
    if (run.data_dir / "splits").is_dir():
        return run.data_dir
    return prepare_source(
        run.data_dir,
        run.path / "prepared",
        _report_quarters,
        settings=PrepareSettings(source=dataset or "auto"),
        jobs=run.config.data.jobs,
    )


def split_names(run: Run, folder: Path) -> list[str]:
    """Splits to process: the healthy fold and every list of every annotated set that is there."""
    fold = run.config.data.fold
    healthy = [f"IXI_train_fold{fold}", f"IXI_val_fold{fold}", "IXI_test"]
    sets = available_sets(folder).values()
    return healthy + [name for names in sets for name in sorted(names, reverse=True)]  # val, test


def data_stage(run: Run, folder: Path) -> Stage:
    """Describe the stage ``data``: its settings, and the lists and files that it is made of.

    Raises
    ------
    UserError
        If a list is missing or names a missing file.
    """
    left_out = ["augment", "holdout"] + (["phantom"] if run.data_dir else [])
    settings = {k: v for k, v in to_dict(run.config.data).items() if k not in left_out}
    names = split_names(run, folder)
    sources = {name: _fingerprint(folder, name, times=bool(run.data_dir)) for name in names}
    if run.data_dir is None:
        sources["simulation"] = _digest(folder / RECORD)
    header = {"DATA_DIR": str(run.data_dir or ""), "data": settings, "sources": sources,
              "columns": MANIFEST_VERSION}  # fmt: skip
    return run.stage("data", header, seeded=False)


def prepare_data(run: Run, dataset: str = "") -> dict[str, Any]:
    """Make the data set and process it into slices, or reuse the finished stage.

    ``dataset`` as in :func:`source_folder`.
    """
    folder = source_folder(run, dataset)
    stage, data = data_stage(run, folder), run.config.data

    def compute() -> dict[str, Any]:
        manifest = build_store(
            folder,
            stage.path,
            split_names(run, folder),
            crop_mm=data.crop_mm,
            voxel_mm=data.voxel_mm,
            curvature_steps=data.curvature_steps,
            percentiles=data.percentiles,
            jobs=data.jobs,
        )
        _tell_of_overlaps(folder, split_names(run, folder))
        counts = manifest.groupby("split", sort=False)["subject"].count().to_dict()
        return {"subjects": counts, "hash": _digest(stage.path / "manifest.csv")}

    return compute_once(stage, compute)


def _tell_of_overlaps(folder: Path, names: list[str]) -> None:
    """Say now, before days of training, what chapter 6 will refuse to score."""
    lists = {name: read_split(folder, name, check_files=False) for name in names}
    for sentence in find_overlaps(lists):
        if " share " in sentence:
            print(f"Warning: {sentence} Chapter 6 will refuse to score them: take them out of one "
                  "list now, as all that is trained would have to be trained again.")


def open_data(run: Run) -> Store:
    """Open the finished stage ``data`` for reading."""
    run.require("data")
    return open_store(run.path / "data")


def training_slices(
    run: Run, volumes: Volumes, train: TrainConfig
) -> Callable[[int], SliceDataset]:
    """Return augmented random slices of ``volumes`` as a function of the epoch."""
    augment = run.config.data.augment
    augmenter = Augmenter(
        augment.gamma, augment.bias_field, augment.blur, augment.ghosting, run.config.data.voxel_mm
    )
    dataset = SliceDataset(
        volumes, seed=run.seed, slices_per_volume=train.slices_per_volume, augment=augmenter
    )

    def of_epoch(epoch: int) -> SliceDataset:
        dataset.set_epoch(epoch)
        return dataset

    return of_epoch


def healthy(run: Run, store: Store, part: str) -> Volumes:
    """Healthy volumes of the run's fold: ``train`` or ``val``; or ``test``, which has no folds."""
    return store["IXI_test" if part == "test" else f"IXI_{part}_fold{run.config.data.fold}"]


def _fingerprint(folder: Path, name: str, times: bool) -> str:
    """Hash of a list and, with ``times``, of the sizes and times of the files that it names.

    A phantom that is simulated again has another time, but is the same.
    """
    frame = read_split(folder, name)
    digest = hashlib.sha256(split_path(folder, name).read_bytes())
    for file in frame[["image_file", "mask_file", "seg_file"]].to_numpy().ravel():
        if file and times:
            status = Path(file).stat()
            digest.update(f"{status.st_size} {status.st_mtime_ns} ".encode())
    return digest.hexdigest()[:16]


def _need_raw_scans(run: Run, dataset: str) -> None:
    if run.data_dir is None:
        raise UserError(
            f"DATASET {dataset!r} needs scans: name their folder as DATA_DIR, or leave DATASET "
            "empty for the built-in phantom cohort."
        )
    if (run.data_dir / "splits").is_dir():
        raise UserError(
            f"DATASET {dataset!r} chooses among raw scans, but {run.data_dir} is prepared, and its "
            "lists (folder 'splits') say what is used: leave DATASET empty."
        )


def _report_quarters(done: int, total: int) -> None:
    """Say how many scans are registered, four times in all."""
    if done == total or done * 4 // total > (done - 1) * 4 // total:
        print(f"Registered {done} of {total} scans to MNI space.", flush=True)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
