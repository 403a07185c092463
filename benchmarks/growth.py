"""How cost grows with batch, image size, subjects, workers and processes: the curves of a figure.

The curve over volumes comes with the row ``thresholds``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks import memory, models
from benchmarks.evaluation import ours
from benchmarks.inputs import brain_slices, brain_volume, slice_store
from benchmarks.items import feed, one_after_another
from benchmarks.measure import interleave
from benchmarks.results import Series
from sadm_utils.cddpm.simplex import simplex_noise
from sadm_utils.data.augment import Augmenter
from sadm_utils.data.slices import SliceDataset
from sadm_utils.data.volumes import Volumes
from sadm_utils.data.workers import run_parallel
from sadm_utils.draem.synthesis import DraemSynthesizer


def growth(quick: bool) -> Iterator[Series]:
    """All curves."""
    yield from batches(quick)
    yield from sizes(quick)
    yield from synthesis(quick)
    yield from subjects(quick)
    yield workers(quick)
    yield from voxels(quick)
    yield processes(quick)


def batches(quick: bool) -> Iterator[Series]:
    """Training slices a second of the cDDPM against the batch, bfloat16."""
    x = [1, 2] if quick else [1, 2, 4, 8]
    found = [_training(batch, None, quick) for batch in x]
    yield _series("training_batch", "batch", x, found)


def sizes(quick: bool) -> Iterator[Series]:
    """Training slices a second of the cDDPM against the side of a slice, bfloat16, batch 4."""
    x = [32, 64] if quick else [48, 64, 96, 128]
    found = [_training(2 if quick else 4, size, quick) for size in x]
    yield _series("training_size", "pixels a side", x, found)


def _training(batch: int, size: int | None, quick: bool) -> dict[str, float]:
    config, usual = models.settings(quick)
    image, _ = brain_slices(batch, size or usual)
    step = models.cddpm_step(config, models.cddpm(config), image, True)
    seconds = interleave({"step": step}, 1 if quick else 3, limit=20)["step"].seconds
    found = {"rate": batch / seconds, "memory": 0.0}
    if not quick:
        probe = "benchmarks.training:cddpm_probe"
        told = memory.peak(probe, kind="bf16", batch=batch, quick=quick, size=size)
        found["memory"] = told["above_mb"]
    return found


def _series(key: str, axis: str, x: list[int], found: list[dict[str, float]]) -> Series:
    rates, memories = [f["rate"] for f in found], [f["memory"] for f in found]
    return Series(key, axis, list(map(float, x)), rates, "slices/s", memories)


def synthesis(quick: bool) -> Iterator[Series]:
    """Synthetic anomalies and noise fields a second against the batch."""
    x = [1, 4] if quick else [1, 2, 4, 8, 16, 32, 64, 128]
    generator = torch.Generator().manual_seed(0)
    rates: dict[str, list[float]] = {"draem": [], "simplex": []}
    for batch in x:
        image, mask = brain_slices(batch, 32 if quick else 96)
        works: dict[str, Callable[[], Any]] = {
            "draem": partial(DraemSynthesizer(), image, mask, generator),
            "simplex": partial(simplex_noise, batch, *image.shape[-2:], generator),
        }
        for name, timing in interleave(works, 3 if quick else 15, limit=10).items():
            rates[name].append(batch / timing.seconds)
    for name, y in rates.items():
        yield Series(f"{name}_batch", "batch", list(map(float, x)), y, "slices/s")


def subjects(quick: bool) -> Iterator[Series]:
    """Training items a second, and seconds to open, against the number of subjects on disk."""
    x = [2, 4] if quick else [10, 100, 358, 1251]
    size, depth = (32, 10) if quick else (96, 50)
    rates, seconds, memories = [], [], []
    for count in x:
        with TemporaryDirectory() as folder:
            volumes = slice_store(Path(folder), count, size, depth)
            begin = time.perf_counter()
            dataset = _dataset(volumes, 1000)
            seconds.append(time.perf_counter() - begin)
            fetch = one_after_another(dataset, 8 if quick else 500)
            rates.append((8 if quick else 500) / interleave({"f": fetch}, 3)["f"].seconds)
            if not quick:
                told = memory.peak("benchmarks.growth:open_probe", folder=folder, count=count)
                memories.append(told["above_mb"])
    axis = list(map(float, x))
    yield Series("items_subjects", "subjects", axis, rates, "slices/s")
    yield Series("open_subjects", "subjects", axis, seconds, "s", memories)


def _dataset(volumes: Volumes, slices: int) -> SliceDataset:
    return SliceDataset(volumes, seed=0, slices_per_volume=slices, augment=Augmenter())


def open_probe(folder: str, count: int) -> Callable[[], None]:
    """Memory to open a data set that lies on disk; mapped pages count while they are in use."""
    import numpy as np
    import pandas as pd

    from sadm_utils.data.volumes import PARTS

    files = [Path(folder) / f"{part}_{count}_0.npy" for part in PARTS]

    def work() -> None:
        arrays = [np.load(file, mmap_mode="r") for file in files]
        names = [str(row) for row in range(count)]
        table = pd.DataFrame({"subject": names})
        _dataset(Volumes(*arrays, names, np.zeros(count, int), table), 1)[0]

    return work


def workers(quick: bool) -> Series:
    """Training slices a second of a loader against its worker processes."""
    x = [0, 1] if quick else [0, 1, 2, 4]
    size, depth, count = (32, 10, 2) if quick else (96, 50, 20)
    with TemporaryDirectory() as folder:
        dataset = _dataset(slice_store(Path(folder), count, size, depth), 96)
        rates = [32 * feed(dataset, number)["batches_per_s"] for number in x]
    return Series("loader_workers", "workers", list(map(float, x)), rates, "slices/s")


def voxels(quick: bool) -> Iterator[Series]:
    """Seconds and memory of one evaluation against the voxels of the volume."""
    x = [(16, 16, 10), (24, 24, 12)] if quick else [
        (48, 48, 25), (64, 64, 33), (96, 96, 50), (128, 128, 67), (192, 192, 100)
    ]  # fmt: skip
    seconds, memories = [], []
    for shape in x:
        parts = brain_volume(shape)
        seconds.append(interleave({"e": partial(ours, parts)}, 3)["e"].seconds)
        if not quick:
            told = memory.peak("benchmarks.evaluation:probe", shape=shape, which="ours")
            memories.append(told["above_mb"])
    axis = [float(a * b * c) for a, b, c in x]
    yield Series("evaluation_voxels", "voxels", axis, seconds, "s", memories)


def evaluate_seed(seed: int, shape: tuple[int, int, int]) -> float:
    """Make and evaluate one volume: a task for a process."""
    torch.set_num_threads(1)
    return ours(brain_volume(shape, seed))["auprc"]


def processes(quick: bool) -> Series:
    """Volumes evaluated a second against the processes that share them, a thread each."""
    cores = os.cpu_count() or 1
    x = [1, 2] if quick else [n for n in (1, 2, 4, 8) if n <= max(cores, 2)]
    shape, count = ((16, 16, 10), 2) if quick else ((96, 96, 50), 24)
    rates, before = [], torch.get_num_threads()
    for jobs in x:
        tasks = [(seed, shape) for seed in range(count)]
        list(run_parallel(evaluate_seed, tasks[:jobs], jobs))  # start them
        begin = time.perf_counter()
        list(run_parallel(evaluate_seed, tasks, jobs))
        rates.append(count / (time.perf_counter() - begin))
        torch.set_num_threads(before)
    return Series("evaluation_processes", "processes", list(map(float, x)), rates, "volumes/s")
