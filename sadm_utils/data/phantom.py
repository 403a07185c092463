"""The phantom cohort: simulated brain MRI, with and without lesions, for a book without data.

Nothing here is a patient. Subjects are simulated from the MNI152 maps in nilearn's wheel and
written in the folders and CSV files of the real data sets: healthy as IXI, tumor as BraTS21,
stroke as ATLAS v2, multiple sclerosis as MSLUB. Every subject is a pure function of
(kind, seed, index); the names of their files begin with ``PH``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sadm_utils.data.io import save_nifti, write_atomic
from sadm_utils.data.layout import write_split
from sadm_utils.data.phantom_subject import Subject, simulate_subject, subject_age
from sadm_utils.data.workers import run_parallel
from sadm_utils.errors import UserError

__all__ = ["PARTS", "Subject", "simulate_subject", "write_cohort"]

Progress = Callable[[int, int], None]
RECORD = "phantom.json"


@dataclass(frozen=True)
class _Part:
    """One list of subjects: what it holds, where its files go, and its first subject index."""

    kind: str
    folder: str
    split: str
    prefix: str
    first: int  # far apart, so that a larger cohort contains the smaller one


PARTS: dict[str, _Part] = {
    "ixi_train": _Part("healthy", "Train/ixi", "IXI_train_fold0", "PHH", 0),
    "ixi_val": _Part("healthy", "Train/ixi", "IXI_val_fold0", "PHH", 10_000),
    "ixi_test": _Part("healthy", "Train/ixi", "IXI_test", "PHH", 20_000),
    "brats21_val": _Part("tumor", "Test/Brats21", "Brats21_val", "PHT", 0),
    "brats21_test": _Part("tumor", "Test/Brats21", "Brats21_test", "PHT", 10_000),
    "atlas_val": _Part("stroke", "Test/ATLAS", "ATLAS_val", "PHS", 0),
    "atlas_test": _Part("stroke", "Test/ATLAS", "ATLAS_test", "PHS", 10_000),
    "mslub_val": _Part("ms", "Test/MSLUB", "MSLUB_val", "PHM", 0),
    "mslub_test": _Part("ms", "Test/MSLUB", "MSLUB_test", "PHM", 10_000),
}


@dataclass(frozen=True)
class _Job:
    part: _Part
    index: int

    @property
    def name(self) -> str:
        return f"{self.part.prefix}{self.index:05d}"

    def file(self, what: str) -> str:
        return f"/{self.part.folder}/{what}/{self.name}_{what}.nii.gz"

    def files(self) -> list[str]:
        kinds = ["mask", "t1"] if self.part.kind == "healthy" else ["mask", "seg", "t1"]
        return [self.file(what) for what in kinds]

    def done(self, data_dir: Path) -> bool:
        return all((data_dir / file[1:]).is_file() for file in self.files())


def write_cohort(
    data_dir: Path,
    counts: dict[str, int],
    seed: int,
    voxel_mm: float,
    folds: int = 1,
    jobs: int = -1,
    progress: Progress | None = None,
) -> Path:
    """Simulate a cohort and write it as NIfTI and CSV; continues where it was interrupted.

    Parameters
    ----------
    data_dir
        Folder to fill. A phantom cohort in it that was made with another seed, voxel size or
        version of the simulation is replaced.
    counts
        Number of subjects per list; keys are those of :data:`PARTS`, absent ones count 0.
    seed, voxel_mm
        See :func:`sadm_utils.data.phantom_subject.simulate_subject`.
    folds
        1 keeps ``ixi_train`` and ``ixi_val`` apart as fold 0. More deal the subjects of both into
        that many folds: in fold k every subject k, k + folds, … validates.
    jobs
        Processes, as in joblib; -1 uses every core, 1 none but this one.
    progress
        Called with (subjects finished, subjects in all) after each subject.

    Returns
    -------
    pathlib.Path
        ``data_dir``.

    Raises
    ------
    UserError
        Unknown or negative counts, too few subjects for the folds, a folder that holds other data,
        or a disk that cannot be written.
    """
    data_dir = Path(data_dir)
    _check(counts, folds)
    _claim(data_dir, seed, voxel_mm)
    lists = {
        name: [_Job(part, part.first + number) for number in range(counts.get(name, 0))]
        for name, part in PARTS.items()
    }
    everyone = [job for members in lists.values() for job in members]
    missing = [job for job in everyone if not job.done(data_dir)]
    finished = len(everyone) - len(missing)
    if progress and everyone:
        progress(finished, len(everyone))
    for _ in _run(missing, data_dir, seed, voxel_mm, jobs):
        finished += 1
        if progress:
            progress(finished, len(everyone))
    splits = {name: members for name, members in _splits(lists, folds).items() if members}
    for stale in data_dir.glob("splits/*.csv"):
        if stale.stem not in splits:
            stale.unlink()
    for name, members in splits.items():
        write_split(data_dir, name, [_row(job, seed) for job in members])
    return data_dir


def _check(counts: dict[str, int], folds: int) -> None:
    for name, count in counts.items():
        if name not in PARTS:
            raise UserError(f"Unknown phantom list '{name}': choose from {', '.join(PARTS)}.")
        if not 0 <= count <= 10_000:
            raise UserError(f"The phantom list '{name}' needs 0 to 10000 subjects, not {count}.")
    healthy = counts.get("ixi_train", 0) + counts.get("ixi_val", 0)
    if folds < 1 or (folds > 1 and healthy < folds):
        raise UserError(
            f"{folds} folds need at least {max(folds, 1)} subjects in ixi_train and ixi_val "
            f"together, not {healthy}: simulate more, or ask for fewer folds."
        )


def _recipe(seed: int, voxel_mm: float) -> dict[str, object]:
    """What a cohort was made with; the source code of the simulation is a part of it."""
    names = ("phantom_fields", "phantom_anatomy", "phantom_lesions", "phantom_subject")
    code = b"".join(Path(__file__).with_name(f"{name}.py").read_bytes() for name in names)
    return {
        "note": "Simulated subjects, no patients.",
        "seed": seed,
        "voxel_mm": float(voxel_mm),
        "simulation": hashlib.sha256(code).hexdigest()[:16],
    }


def _claim(data_dir: Path, seed: int, voxel_mm: float) -> None:
    """Make sure that phantoms already in the folder are of this recipe, or remove them."""
    record, recipe = data_dir / RECORD, _recipe(seed, voxel_mm)
    if record.is_file():
        try:
            if json.loads(record.read_text()) == recipe:
                return
        except ValueError:
            pass
        for old in [*data_dir.glob("T*/*/*/PH*.nii.gz"), *data_dir.glob("splits/*.csv")]:
            old.unlink()
    elif any((data_dir / name).exists() for name in ("Train", "Test", "splits")):
        raise UserError(
            f"{data_dir} holds data that is no phantom cohort: choose an empty folder for it."
        )
    with write_atomic(record) as temporary:
        Path(temporary).write_text(json.dumps(recipe, indent=2) + "\n")


def _run(
    members: list[_Job], data_dir: Path, seed: int, voxel_mm: float, jobs: int
) -> Iterator[str]:
    if jobs == 1 or len(members) < 2:
        yield from (_write(job, data_dir, seed, voxel_mm) for job in members)
        return
    arguments = ((job, data_dir, seed, voxel_mm) for job in members)
    yield from run_parallel(_write, arguments, jobs, ordered=False)


def _write(job: _Job, data_dir: Path, seed: int, voxel_mm: float) -> str:
    subject: Subject = simulate_subject(job.part.kind, seed, job.index, voxel_mm)
    for file in job.files():
        what = Path(file).parent.name
        array = {"t1": subject.image, "mask": subject.mask, "seg": subject.seg}[what]
        dtype = np.int16 if what == "t1" else np.uint8
        save_nifti(data_dir / file[1:], array, subject.affine, dtype=dtype)
    return job.name


def _row(job: _Job, seed: int) -> dict[str, object]:
    sick = job.part.kind != "healthy"
    return {
        "img_name": f"{job.name}_t1.nii.gz",
        "age": subject_age(job.part.kind, seed, job.index),
        "label": int(sick),
        "img_path": job.file("t1"),
        "mask_path": job.file("mask"),
        "seg_path": job.file("seg") if sick else "",
        "source": "phantom (simulated)",
    }


def _splits(lists: dict[str, list[_Job]], folds: int) -> dict[str, list[_Job]]:
    splits = {PARTS[name].split: members for name, members in lists.items()}
    if folds > 1:
        pool = lists["ixi_train"] + lists["ixi_val"]
        for fold in range(folds):
            splits[f"IXI_val_fold{fold}"] = pool[fold::folds]
            splits[f"IXI_train_fold{fold}"] = [
                job for number, job in enumerate(pool) if number % folds != fold
            ]
    return splits
