"""Build the slice store: every volume of a split, processed once.

A split ``NAME`` is ``NAME_image.npy`` (float16), ``NAME_mask.npy`` and ``NAME_seg.npy`` (uint8),
each (N, D, H, W) with axial slices along D. ``manifest.csv`` has a row per volume and is written
last, so a folder without it is no store. Building again keeps the splits that are complete.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk

from sadm_utils.data.io import Scan, describe, load_nifti, write_atomic
from sadm_utils.data.layout import read_split
from sadm_utils.data.preprocess import Processed, preprocess_volume
from sadm_utils.data.volumes import PARTS, Store, Volumes, open_store
from sadm_utils.data.workers import run_parallel
from sadm_utils.errors import UserError

__all__ = [
    "MANIFEST_VERSION", "Store", "Volumes", "build_store", "load_subject", "open_store",
    "process_files",
]  # fmt: skip

MANIFEST_VERSION = 2
"""Counts the changes of the manifest's columns. A store with others is made anew, and so is what
was trained from it."""

Progress = Callable[[int, int], None]


def build_store(
    data_dir: str | Path,
    out_dir: str | Path,
    splits: list[str],
    *,
    crop_mm: tuple[float, ...] = (192, 192, 100),
    voxel_mm: float = 2.0,
    curvature_steps: int = 3,
    percentiles: tuple[float, ...] = (1, 99),
    jobs: int = -1,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Process every volume of ``splits`` into a store.

    Parameters
    ----------
    data_dir
        Data folder in the layout of :mod:`sadm_utils.data.layout`.
    out_dir
        Folder of the store. Splits in it that were made from the same files with the same settings
        are kept; other splits are made anew.
    splits
        Names such as ``IXI_train_fold0``.
    crop_mm, voxel_mm, curvature_steps, percentiles
        See :func:`sadm_utils.data.preprocess.preprocess_volume`.
    jobs
        Processes; -1 for one a core.
    progress
        Called with (volumes done, volumes in all).

    Returns
    -------
    pandas.DataFrame
        The manifest: split, row, subject, label, age, file, shape, spacing, orientation (of the
        input file), min, max (of the processed image), mask_voxels, lesion_voxels, sha256 (of the
        input files together), image_sha256 (of the scan alone), grid (JSON of
        :class:`sadm_utils.data.preprocess.Grid`).

    Raises
    ------
    UserError
        A file of a split is unfit, or the disk is full; the sentence names the file.
    """
    out = Path(out_dir)
    frames = {name: read_split(data_dir, name) for name in splits}
    settings = {
        "crop_mm": [float(size) for size in crop_mm],
        "voxel_mm": float(voxel_mm),
        "curvature_steps": curvature_steps,
        "percentiles": [float(percent) for percent in percentiles],
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "manifest.csv").unlink(missing_ok=True)
    for stale in out.glob(".*.npy.*"):  # what a killed build was writing
        stale.unlink()
    done, total = 0, sum(len(frame) for frame in frames.values())
    tables = []
    for name, frame in frames.items():
        table = _finished_split(out, name, frame, settings)
        if table is None:
            results = run_parallel(_process, _tasks(frame, settings), jobs)
            counted = _count(results, progress, done, total)
            table = _write_split(out, name, frame, Path(data_dir), settings, counted)
        done += len(frame)
        if progress:
            progress(done, total)
        tables.append(table)
    manifest = pd.concat(tables, ignore_index=True)
    with write_atomic(out / "manifest.csv") as temporary:
        manifest.to_csv(temporary, index=False)
    return manifest


def load_subject(
    image_file: str, mask_file: str, seg_file: str = ""
) -> tuple[Scan, np.ndarray, np.ndarray | None]:
    """Read a subject's files in RAS order: scan, brain mask and lesion mask (or None).

    Raises
    ------
    UserError
        A file is unfit, or a mask lies on another grid than its image.
    """
    scan = load_nifti(image_file, canonical=True)
    labels: list[np.ndarray | None] = []
    for file in (mask_file, seg_file):
        if not file:
            labels.append(None)
            continue
        label = load_nifti(file, canonical=True)
        corners = np.array([[0, 0, 0, 1], [*np.array(scan.array.shape) - 1, 1]]).T
        apart = np.abs((label.affine - scan.affine) @ corners)[:3].max()
        if label.array.shape != scan.array.shape or apart > 0.5 * max(scan.zooms):
            raise UserError(
                f"{file} (shape {label.array.shape}) does not lie on the grid of {image_file} "
                f"(shape {scan.array.shape}): resample the mask to the image's grid."
            )
        labels.append(label.array)
    return scan, labels[0], labels[1]


def process_files(image_file: str, mask_file: str, seg_file: str, settings: dict) -> Processed:
    """Read and preprocess one subject; an error names its image file.

    ``settings`` are the keyword arguments of :func:`preprocess_volume`, without the affine.
    """
    scan, mask, seg = load_subject(image_file, mask_file, seg_file)
    try:
        return preprocess_volume(
            scan.array, mask, seg, scan.zooms, affine=scan.affine, **settings
        )
    except UserError as error:
        raise UserError(f"{image_file}: {error}") from error


def _tasks(frame: pd.DataFrame, settings: dict) -> Iterator[tuple]:
    for _, row in frame.iterrows():
        yield row["image_file"], row["mask_file"], row["seg_file"], settings


def _count(results: Iterable, progress: Progress | None, done: int, total: int) -> Iterable:
    """Pass results on and report progress over all splits."""
    for index, result in enumerate(results):
        if progress:
            progress(done + index, total)
        yield result


def _process(
    image_file: str, mask_file: str, seg_file: str, settings: dict
) -> tuple[dict[str, np.ndarray], dict]:
    """Work of one process: arrays (D, H, W) and the volume's part of the manifest."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    result = process_files(image_file, mask_file, seg_file, settings)
    scan = hashlib.sha256(Path(image_file).read_bytes())
    digest = scan.copy()
    for file in (mask_file, seg_file):
        if file:
            digest.update(Path(file).read_bytes())
    record = {
        **describe(image_file),
        "min": float(result.image.min()),
        "max": float(result.image.max()),
        "mask_voxels": int(result.mask.sum()),
        "lesion_voxels": int(result.seg.sum()),
        "sha256": digest.hexdigest(),
        "image_sha256": scan.hexdigest(),
        "grid": json.dumps({**vars(result.grid), "affine": result.grid.affine.round(6).tolist()}),
    }
    parts = {
        part: np.ascontiguousarray(getattr(result, part).transpose(2, 0, 1), dtype=kind)
        for part, kind in PARTS.items()
    }
    return parts, record


def _write_split(
    out: Path, name: str, frame: pd.DataFrame, data_dir: Path, settings: dict, results: Iterable
) -> pd.DataFrame:
    """Stream a split's volumes into its arrays; the record that makes it complete comes last."""
    record = out / f"{name}_record.json"
    record.unlink(missing_ok=True)
    shape = [round(size / settings["voxel_mm"]) for size in settings["crop_mm"]]
    rows: list[dict] = []
    with ExitStack() as stack:
        streams = {}
        for part, kind in PARTS.items():
            temporary = stack.enter_context(write_atomic(out / f"{name}_{part}.npy"))
            streams[part] = stack.enter_context(open(temporary, "wb"))
            header = {"descr": np.dtype(kind).str, "fortran_order": False,
                      "shape": (len(frame), shape[2], shape[0], shape[1])}
            np.lib.format.write_array_header_1_0(streams[part], header)
        for index, (parts, facts) in enumerate(results):
            for part, value in parts.items():
                streams[part].write(value.tobytes())
            source = frame.iloc[index]
            rows.append({
                "split": name, "row": index, "subject": source["subject"],
                "label": int(source["label"]), "age": float(source["age"]),
                "file": str(Path(source["image_file"]).relative_to(data_dir)), **facts,
            })
    table = pd.DataFrame(rows)
    with write_atomic(record) as temporary:
        facts = {**_fingerprint(frame, settings), "rows": rows}
        Path(temporary).write_text(json.dumps(facts))
    return table


def _finished_split(
    out: Path, name: str, frame: pd.DataFrame, settings: dict
) -> pd.DataFrame | None:
    """The manifest rows of a split that is already complete with these inputs and settings."""
    try:
        known = json.loads((out / f"{name}_record.json").read_text())
    except (OSError, json.JSONDecodeError):
        return None
    rows = known.pop("rows", [])
    arrays = [out / f"{name}_{part}.npy" for part in PARTS]
    if known != _fingerprint(frame, settings) or not all(file.is_file() for file in arrays):
        return None
    return pd.DataFrame(rows)


def _fingerprint(frame: pd.DataFrame, settings: dict) -> dict:
    """Settings, and path, size and time of every input file: what a rebuild compares."""
    inputs = []
    for _, row in frame.iterrows():
        for file in (row["image_file"], row["mask_file"], row["seg_file"]):
            if file:
                status = Path(file).stat()
                inputs.append([file, status.st_size, status.st_mtime_ns, int(row["label"])])
    return {"settings": settings, "inputs": inputs, "columns": MANIFEST_VERSION}
