"""Row 10: from the store to the model, and from a raw scan to the store's files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
import torch

from benchmarks import ceilings, memory
from benchmarks.inputs import slice_store
from benchmarks.items import one_after_another
from benchmarks.measure import Work, interleave, ratio
from benchmarks.results import Row, peer, spread
from sadm_utils.data.io import save_nifti
from sadm_utils.data.phantom import simulate_subject
from sadm_utils.data.prepare import PrepareSettings, prepare_subject
from sadm_utils.data.slices import SliceDataset
from sadm_utils.data.sources import RawSubject
from sadm_utils.data.volumes import Volumes

KEY = "Brats21/phantom"


def slices(quick: bool) -> Iterator[Row]:
    """Slices a second without augmentation, and a raw scan registered; on one core each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        yield stored_slices(Path(folder), quick)
        yield registered_scan(Path(folder), quick)
    torch.set_num_threads(threads)


def stored_slices(folder: Path, quick: bool) -> Row:
    """Slices a second from the memory-mapped store; the peer reads compressed NIfTI files."""
    size, depth, subjects = (32, 10, 2) if quick else (96, 50, 20)
    number, few = (8, 2) if quick else (2000, 20)
    volumes = slice_store(folder, subjects, size, depth, lesions=True)
    dataset = SliceDataset(volumes, seed=0, slices_per_volume=100_000 // subjects)
    works: dict[str, Work] = {
        "ours": one_after_another(dataset, number),
        "peer": from_files(_files(folder, volumes), dataset, few),
    }
    times = interleave(works, 3 if quick else 15, limit=40)
    moved = size**2 * (2 + 1 + 1 + 3 * 4)
    return Row(
        "stored_slices",
        f"Slices of {size}² from the store, one core",
        number / times["ours"].cpu_seconds,
        "slices/s",
        target=10_000,
        higher=True,
        floor=ceilings.bandwidth(quick) / moved,
        peers=(
            peer(
                "NIfTI files",
                few / times["peer"].cpu_seconds,
                number / few * ratio(times["peer"], times["ours"], cpu=True),
                "image, mask and lesion from .nii.gz, one slice used",
            ),
        ),
        details=spread(times["ours"]),
    )


def _files(folder: Path, volumes: Volumes) -> list[Path]:
    """The parts of one volume as compressed files."""
    return [
        save_nifti(folder / f"{part}.nii.gz", volumes.volume(0, part), np.eye(4))
        for part in ("image", "mask", "seg")
    ]


def from_files(files: list[Path], dataset: SliceDataset, number: int) -> Work:
    """Fetch slices of a volume on disk as one would without a store."""
    start, depth = count(), dataset.volumes.image.shape[1]

    def fetch() -> None:
        for _ in range(number):
            k = next(start) % depth
            for file in files:
                plane = np.array(nib.load(file).dataobj[:, :, k], dtype=np.float32)
                torch.from_numpy(plane)[None]

    return fetch


def registered_scan(folder: Path, quick: bool) -> Row:
    """Processor seconds of one subject, and the most memory that its process has."""
    voxel_mm = 4.0 if quick else 1.0
    subject = raw_phantom(folder, voxel_mm)
    work = {"ours": prepare_work(subject, folder / "out")}
    times = interleave(work, 1 if quick else 5, limit=120, warmup=0 if quick else 1)
    found = {}
    if not quick:
        found = memory.peak("benchmarks.preparation:probe", folder=str(folder))
    return Row(
        "registered_scan",
        f"Raw scan of {voxel_mm:g} mm to MNI space, with N4, one core",
        times["ours"].cpu_seconds,
        "s CPU",
        target=15,
        memory_mb=found["baseline_mb"] + found["above_mb"] if found else None,
        memory_target_mb=2 * 2**30 / memory.MEGA if found else None,
        details=spread(times["ours"]),
    )


def raw_phantom(folder: Path, voxel_mm: float) -> RawSubject:
    """A simulated patient whose head is tilted and elsewhere, as a scan on disk."""
    one = simulate_subject("tumor", seed=1, index=0, voxel_mm=voxel_mm)
    angle, world = np.deg2rad(10), np.eye(4)
    world[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    world[:3, 3] = (8, -12, 10)
    subject = _raw_subject(folder)
    for file, array in ((subject.image, one.image), (subject.lesion, one.seg)):
        save_nifti(file, array, world @ one.affine)
    return subject


def _raw_subject(folder: Path) -> RawSubject:
    image, lesion = (str(folder / f"raw_{name}.nii.gz") for name in ("image", "lesion"))
    return RawSubject("phantom", "Brats21", image, lesion=lesion, label=1)


def prepare_work(subject: RawSubject, out: Path) -> Callable[[], None]:
    """All that ``sadm prepare`` does for one subject, with all files that it writes."""

    def work() -> None:
        record = prepare_subject(KEY, subject, out, PrepareSettings())
        if record["error"]:
            raise RuntimeError(record["error"])

    return work


def probe(folder: str) -> Callable[[], None]:
    """Memory of one subject in a fresh process; the scan is there already."""
    return prepare_work(_raw_subject(Path(folder)), Path(folder) / "probe")
