"""Row 7: from a reconstruction to metrics, and thresholds over many volumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import ceilings, memory, peers
from benchmarks.inputs import brain_volume
from benchmarks.measure import interleave, ratio
from benchmarks.results import Found, Row, Series, peer, spread
from sadm_utils.evaluation.anomaly_map import median_filter, reconstruction_map, ssim_map
from sadm_utils.evaluation.histogram import ScoreHistogram
from sadm_utils.evaluation.metrics import average_precision, best_dice, volume_metrics

Shape = tuple[int, int, int]
SHAPES: tuple[Shape, ...] = ((96, 96, 50), (192, 192, 100))
TARGETS = {SHAPES[0]: (0.15, 250.0), SHAPES[1]: (1.2, None)}
PASSES = 5 * (2 + 3 * 2) + 4  # arrays of float32 that five smoothed fields must read and write


def ours(parts: dict[str, np.ndarray]) -> dict[str, float]:
    """The book's way: residual map inside the brain, then all metrics from one sort."""
    residual = reconstruction_map(parts["image"], parts["reconstruction"], parts["mask"])
    return volume_metrics(residual, parts["seg"])


def theirs(parts: dict[str, np.ndarray]) -> dict[str, float]:
    """The same with torchmetrics, SciPy and scikit-learn."""
    residual = peers.residual_map(parts["image"], parts["reconstruction"], parts["mask"])
    return peers.metrics(residual, parts["seg"])


def volume(quick: bool) -> Iterator[Row]:
    """Seconds and memory to evaluate one volume."""
    for shape in ((24, 24, 12),) if quick else SHAPES:
        parts = brain_volume(shape)
        pair = [ours(parts), theirs(parts)]
        far = max(abs(pair[0][k] - pair[1][k]) for k in pair[1])
        works = {"ours": lambda p=parts: ours(p), "peer": lambda p=parts: theirs(p)}
        times = interleave(works, 2 if quick else 9, limit=60)
        target, memory_target = TARGETS.get(shape, (None, None))
        found, other = {}, {}
        if not quick:
            found = memory.peak("benchmarks.evaluation:probe", shape=shape, which="ours")
            other = memory.peak("benchmarks.evaluation:probe", shape=shape, which="theirs")
        name = "×".join(map(str, shape))
        yield Row(
            f"evaluation_{shape[0]}",
            f"Evaluation of {name}",
            times["ours"].seconds,
            "s",
            target=target,
            floor=PASSES * 4 * float(np.prod(shape)) / ceilings.bandwidth(quick),
            peers=(
                peer(
                    "torchmetrics, SciPy, scikit-learn",
                    times["peer"].seconds,
                    ratio(times["peer"], times["ours"]),
                ),
            ),
            memory_mb=found.get("above_mb"),
            memory_target_mb=memory_target if found else None,
            details={
                "peer_memory_mb": other.get("above_mb"),
                "largest_difference_of_metrics": far,
                "seconds_by_part": profile(parts),
                **spread(times["ours"]),
            },
        )


def profile(parts: dict[str, np.ndarray]) -> dict[str, float]:
    """What each part of an evaluation takes."""
    brain = parts["mask"] > 0
    residual = (1 - ssim_map(parts["image"], parts["reconstruction"])) * brain
    smooth = median_filter(residual, 5, brain)
    works: dict[str, Callable[[], Any]] = {
        "ssim": lambda: ssim_map(parts["image"], parts["reconstruction"]),
        "median": lambda: median_filter(residual, 5, brain),
        "metrics": lambda: volume_metrics(smooth, parts["seg"]),
    }
    return {name: t.seconds for name, t in interleave(works, 3, limit=10).items()}


def probe(shape: Shape, which: str) -> Callable[[], None]:
    """Memory of one evaluation above its inputs; a tiny one before loads what is loaded once."""
    work = {"ours": ours, "theirs": theirs}[which]
    work(brain_volume((12, 12, 10)))
    parts = brain_volume(tuple(shape))
    return lambda: work(parts) and None


def thresholds(quick: bool) -> Iterator[Found]:
    """Best pooled Dice and AUPRC over many volumes: time and memory against their number."""
    shape = (24, 24, 12) if quick else SHAPES[0]
    numbers = (2, 4) if quick else (10, 100, 1000)
    base = scored(shape)
    parts = [varied(base, k) for k in range(numbers[0])]
    times = interleave(
        {"ours": lambda: stream(iter(parts)), "peer": lambda: pooled(parts)},
        3 if quick else 7,
        limit=40,
    )
    found = [grow(shape, number, quick) for number in numbers]
    seconds = [f["seconds"] for f in found]
    memories = [f["above_mb"] for f in found]
    dice, _, gap = stream(iter(parts))[0]
    exact, precision = pooled(parts)
    auprc, error = stream(iter(parts))[1]
    yield Row(
        "thresholds",
        f"Threshold and AUPRC, {numbers[0]} volumes",
        times["ours"].seconds,
        "s",
        floor=sum(p[0].nbytes + p[1].nbytes for p in parts) / ceilings.bandwidth(quick),
        peers=(
            peer(
                "all voxels, sorted",
                times["peer"].seconds,
                ratio(times["peer"], times["ours"]),
                "exact metrics of concatenated volumes",
            ),
        ),
        memory_mb=memories[0],
        details={
            "volumes": list(numbers),
            "seconds": seconds,
            "memory_mb": memories,
            "pooled_memory_mb": found[0].get("pooled_mb"),
            "seconds_per_volume_growth": (seconds[-1] / numbers[-1]) / (seconds[0] / numbers[0]),
            "dice_gap_stated": gap,
            "dice_gap_true": exact - dice,
            "auprc_error_stated": error,
            "auprc_error_true": abs(auprc - precision),
            **spread(times["ours"]),
        },
    )
    yield Series("thresholds", "volumes", list(map(float, numbers)), seconds, "s", memories)


def scored(shape: Shape) -> dict[str, np.ndarray]:
    """A volume with its residual map as ``score``."""
    parts = brain_volume(shape)
    score = reconstruction_map(parts["image"], parts["reconstruction"], parts["mask"])
    return {"score": score, "seg": parts["seg"], "mask": parts["mask"] > 0}


def varied(base: dict[str, np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score, lesion and brain of another volume: brighter, and with the lesion elsewhere."""
    factor = np.float32(0.8 + 0.4 * (0.618 * k % 1))
    return base["score"] * factor, np.roll(base["seg"], k % 7, axis=0), base["mask"]


def stream(volumes: Iterator[Any]) -> tuple[tuple[float, float, float], tuple[float, float]]:
    """The book's way: count each volume and forget it."""
    histogram = ScoreHistogram()
    for score, truth, mask in volumes:
        histogram.add(score, truth, mask)
    return histogram.best_dice(), histogram.average_precision()


def pooled(volumes: list[Any]) -> tuple[float, float]:
    """The straightforward way: all voxels at once."""
    score, truth = (np.concatenate([v[i][v[2]] for v in volumes]) for i in (0, 1))
    return best_dice(score, truth)[0], average_precision(score, truth)


def grow(shape: Shape, number: int, quick: bool) -> dict[str, Any]:
    """Seconds and memory of streaming over so many volumes, in a fresh process."""
    name = "benchmarks.evaluation:threshold_probe"
    if quick:
        return {"seconds": threshold_probe(shape, number)()["seconds"], "above_mb": 0.0}
    found = memory.peak(name, shape=shape, number=number)
    if number <= 100:
        found["pooled_mb"] = memory.peak(name, shape=shape, number=number, all_at_once=True)[
            "above_mb"
        ]
    return found


def threshold_probe(
    shape: Shape, number: int, all_at_once: bool = False
) -> Callable[[], dict[str, float]]:
    """Time and memory of a threshold over so many volumes; making them does not count as time."""
    base = scored(tuple(shape))
    stream(iter([varied(base, 0)]))

    def work() -> dict[str, float]:
        if all_at_once:
            pooled([varied(base, k) for k in range(number)])
            return {}
        making = [0.0]

        def volumes() -> Iterator[Any]:
            for k in range(number):
                begin = time.perf_counter()
                one = varied(base, k)
                making[0] += time.perf_counter() - begin
                yield one

        begin = time.perf_counter()
        stream(volumes())
        return {"seconds": time.perf_counter() - begin - making[0]}

    return work
