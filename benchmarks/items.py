"""Row 3: training items, and a loader that must not keep a fast card waiting."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks import ceilings, peers
from benchmarks.inputs import slice_store
from benchmarks.measure import Work, interleave, ratio
from benchmarks.results import Row, peer, spread
from sadm_utils.data.augment import Augmenter
from sadm_utils.data.slices import SliceDataset
from sadm_utils.data.volumes import Volumes

STEP_SECONDS = 0.05
BATCH = 32


def items(quick: bool) -> Iterator[Row]:
    """Processor time of a training slice, without and with annotations."""
    size, depth, subjects = (32, 10, 2) if quick else (96, 50, 20)
    number = 8 if quick else 128
    with TemporaryDirectory() as folder:
        for lesions in (False, True):
            volumes = slice_store(Path(folder), subjects, size, depth, lesions)
            dataset = SliceDataset(
                volumes, seed=0, slices_per_volume=1000, augment=Augmenter(), min_brain=0.05
            )
            few = number // 32 or 1
            whole, scale = WholeVolumes(volumes, 10**6), number / few
            works: dict[str, Work] = {
                "ours": one_after_another(dataset, number),
                "peer": one_after_another(whole, few),
            }
            library = _torchio(volumes, few)
            if library is not None:
                works["library"] = library
            times = interleave(works, 3 if quick else 15, limit=40)
            found = [
                peer(
                    "whole volume",
                    1e3 * scale * times["peer"].cpu_seconds / number,
                    scale * ratio(times["peer"], times["ours"], cpu=True),
                    "our functions on 3-D arrays, one slice used, cached volumes",
                )
            ]
            if library is not None:
                found.append(
                    peer(
                        "TorchIO",
                        1e3 * times["library"].cpu_seconds / few,
                        scale * ratio(times["library"], times["ours"], cpu=True),
                        "whole volume, one slice used, cached volumes",
                    )
                )
            moved = size**2 * (2 + 1 + 1 + 3 * 4)
            kind = "with" if lesions else "without"
            yield Row(
                f"item_{kind}_annotations",
                f"Training item of {size}², {kind} annotations",
                1e3 * times["ours"].cpu_seconds / number,
                "ms CPU",
                target=1,
                floor=1e3 * moved / ceilings.bandwidth(quick),
                peers=tuple(found),
                details=spread(times["ours"]),
            )


def one_after_another(dataset: SliceDataset | WholeVolumes, number: int) -> Work:
    """Fetch ``number`` items, other ones at each call."""
    start = count(step=number)

    def fetch() -> None:
        first = next(start)
        for index in range(first, first + number):
            dataset[index % len(dataset)]

    return fetch


class WholeVolumes(Dataset):
    """Items as the released code makes them: a volume from memory, augmented for one slice."""

    def __init__(self, volumes: Volumes, length: int) -> None:
        self.cached = [volumes.volume(row) for row in range(min(len(volumes), 4))]
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> torch.Tensor:
        rng = np.random.default_rng(index)
        volume = peers.augment_volume(self.cached[index % len(self.cached)], rng)
        return torch.from_numpy(volume[:, :, int(rng.integers(volume.shape[2]))].copy())[None]


def _torchio(volumes: Volumes, number: int) -> Work | None:
    """Items of the released code's augmentation by TorchIO; None where it is not installed."""
    try:
        import torchio
    except ImportError:
        return None
    transform = torchio.Compose([
        torchio.RandomGamma(p=0.5),
        torchio.RandomBiasField(p=0.25),
        torchio.RandomBlur(p=0.25),
        torchio.RandomGhosting(p=0.5),
    ])  # fmt: skip
    tensor = torch.from_numpy(volumes.volume(0))[None]
    middle = tensor.shape[-1] // 2

    def fetch() -> list[torch.Tensor]:
        scans = (torchio.ScalarImage(tensor=tensor) for _ in range(number))
        return [transform(scan).data[0, :, :, middle] for scan in scans]

    return fetch


def loader(quick: bool) -> Iterator[Row]:
    """Batches a second of a data loader, free and beside a card that takes 50 ms a step.

    The card is played by a sleep: while it computes, it needs no core. What counts is how long
    the next batch lets it wait.
    """
    size, depth, subjects, batches = (32, 10, 2, 3) if quick else (96, 50, 20, 60)
    with TemporaryDirectory() as folder:
        volumes = slice_store(Path(folder), subjects, size, depth)
        length = BATCH * batches
        dataset = SliceDataset(
            volumes, seed=0, slices_per_volume=-(-length // subjects), augment=Augmenter()
        )
        cores = os.cpu_count() or 1
        found = [feed(dataset, w) for w in ((0, 1) if quick else (0, 1, 2, 4)) if w <= 2 * cores]
        best = max(found, key=lambda f: f["batches_per_s"])
        whole = feed(WholeVolumes(volumes, BATCH * (2 if quick else 8)), best["workers"])
    yield Row(
        "loader",
        f"Loader, {best['workers']} workers, batches of {BATCH} of {size}²",
        best["batches_per_s"],
        "batches/s",
        target=1 / STEP_SECONDS,
        higher=True,
        peers=(
            peer(
                "whole volumes",
                whole["batches_per_s"],
                best["batches_per_s"] / whole["batches_per_s"],
                "the same loader and workers, volumes in memory",
            ),
        ),
        details={"by_workers": found, "card_waits_for_whole_volumes": whole["card_waits"]},
    )


def feed(dataset: SliceDataset | WholeVolumes, workers: int) -> dict[str, Any]:
    """Run through a data set twice: as fast as it goes, and with a step of 50 ms at each batch."""
    options: dict[str, Any] = {"batch_size": BATCH, "num_workers": workers, "drop_last": True}
    if workers:
        options |= {"persistent_workers": True, "prefetch_factor": 4}
    batches = DataLoader(dataset, **options)
    next(iter(batches))  # start the workers
    begin = time.perf_counter()
    number = sum(1 for _ in batches)
    free = number / (time.perf_counter() - begin)
    waits, source = [], iter(batches)
    for _ in range(number):
        begin = time.perf_counter()
        next(source)
        waits.append(time.perf_counter() - begin)
        time.sleep(STEP_SECONDS)
    waited = sum(waits[1:])  # the first batch has nothing to hide behind
    steps = len(waits[1:]) * STEP_SECONDS
    return {
        "workers": workers,
        "batches_per_s": free,
        "card_waits": waited / max(steps + waited, 1e-9),
    }
