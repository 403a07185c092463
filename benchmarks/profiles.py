"""Where the time of a step goes: shares of its operations by kind, from PyTorch's profiler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch.profiler import ProfilerActivity, profile

from benchmarks import models
from benchmarks.inputs import brain_slices
from benchmarks.reconstruction import ours
from benchmarks.results import Profile

KINDS = {
    "convolutions": ("conv",),
    "normalization": ("_norm", "norm_", "lastnorm"),
    "matrix products": ("addmm", "bmm", "aten::mm", "attention", "aten::linear"),
    "optimizer": ("adam",),
    "copies": ("copy", "clone", "contiguous", "aten::cat", "fill_", "zero_"),
}
"""Parts of the names of PyTorch's operations; what has none of them is ``REST``."""

REST = "the rest"


def kind_of(operation: str) -> str:
    """The kind of an operation, by its name in the profile.

    The gradient of the U-Net's normalization is made of sums and products, and counts as these.
    """
    name = operation.lower()
    return next((k for k, parts in KINDS.items() if any(p in name for p in parts)), REST)


def shares(work: Callable[[], Any]) -> tuple[float, dict[str, float]]:
    """Seconds that all operations of ``work`` take, and the share of each kind, which sum to 1.

    Each operation counts without those that it calls.
    """
    work()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        work()
    seconds: Counter[str] = Counter()
    for event in found.key_averages():
        seconds[kind_of(event.key)] += event.self_cpu_time_total / 1e6
    total = sum(seconds.values())
    return total, {kind: seconds[kind] / total for kind in (*KINDS, REST)}


def profiles(quick: bool) -> Iterator[Profile]:
    """The steps and the reconstruction of the table in bfloat16, and the cDDPM's in float32."""
    config, size = models.settings(quick)
    few, many, deep = (2, 4, 2) if quick else (4, 32, 8)
    image, mask = brain_slices(many, size)
    some = image[:few]
    rebuilt, truth = 0.9 * some, (mask[:few] * (some > 0.7)).float()
    network = models.sadm(config)
    model = models.cddpm(config)
    works: dict[str, tuple[str, Callable[[], Any]]] = {
        "cddpm_fp32": ("cDDPM step, fp32", models.cddpm_step(config, model, some, False)),
        "cddpm_bf16": ("cDDPM step, bf16", models.cddpm_step(config, model, some, True)),
        "reconstruction_bf16": (
            "Reconstruction, bf16",
            partial(ours, models.cddpm(config).eval(), image[:deep], True),
        ),
        "spark_bf16": (
            "SparK step, bf16",
            models.spark_step(config, models.spark(config), image, True),
        ),
        "sadm_cached_bf16": (
            "SADM step, cached, bf16",
            models.sadm_step(config, network, some, truth, True, lambda: rebuilt),
        ),
    }
    for key, (title, work) in works.items():
        seconds, found = shares(work)
        yield Profile(key, title, seconds, found)
