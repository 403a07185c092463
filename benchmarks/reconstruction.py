"""Row 5: reconstructing the slices of a volume from three noise levels at paper size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import ceilings, memory, models
from benchmarks.inputs import brain_slices
from benchmarks.measure import interleave, ratio
from benchmarks.results import Row, peer, spread
from benchmarks.training import unet_flops
from sadm_utils import device
from sadm_utils.cddpm.model import ConditionedDiffusion
from sadm_utils.cddpm.training import RECONSTRUCTION_SALT, reconstruct_slices

#: Mean and largest difference to the plain path that a precision may cause, in intensities [0, 1].
TOLERANCE = {"fp32": (1e-5, 1e-3), "bf16": (1e-2, 0.2)}
TARGETS = {"fp32": 55.0, "bf16": 30.0}


def plain_path(model: ConditionedDiffusion, image: Tensor, seed: int) -> Tensor:
    """The ordinary way: one encoder call a level, channels first, gradients on record."""
    draw = device.generator(seed, RECONSTRUCTION_SALT, 0)
    found = []
    for level in model.levels:
        cond = model.encoder(image)
        step = level - 1
        found.append(model.diffusion.reconstruct(model.unet, image, step, cond, generator=draw))
    return torch.stack(found).clamp(0, 1).detach()


def ours(model: ConditionedDiffusion, image: Tensor, bf16: bool) -> Tensor:
    """What the book does, in a chosen precision."""
    with models.precision(bf16):
        return reconstruct_slices(model, image, 0)


def reconstruction(quick: bool) -> Iterator[Row]:
    """Seconds for 50 slices; the peer does fewer of them, and both do those in turns."""
    config, size = models.settings(quick)
    count, few = (4, 2) if quick else (50, 8)
    image, _ = brain_slices(count, size)
    model = models.cddpm(config).eval()
    plain = models.plain_copy(model)
    works = {
        "fp32": partial(ours, model, image[:few], False),
        "bf16": partial(ours, model, image[:few], True),
        "plain": partial(plain_path, plain, image[:few], 0),
    }
    expected = works["plain"]()
    differences = {name: (works[name]() - expected).abs() for name in TARGETS}
    times = interleave(works, 2 if quick else 3, warmup=0)
    flops = len(model.levels) * unet_flops(config, model, size)
    flops += ceilings.forward_flops(model.encoder, image[:1])
    scale = count / few
    for name, target in TARGETS.items():
        bf16 = name == "bf16"
        whole = interleave({"ours": partial(ours, model, image, bf16)}, 1 if quick else 2, 0, 0)
        mean, largest = float(differences[name].mean()), float(differences[name].max())
        found: dict[str, Any] = {}
        if not quick:
            found = memory.peak("benchmarks.reconstruction:probe", bf16=bf16, count=count)
        yield Row(
            f"reconstruction_{name}",
            f"Reconstruction, {count} slices, 3 levels, {name}",
            whole["ours"].seconds,
            "s",
            target=target,
            floor=count * flops / ceilings.convolution_rate(bf16, quick),
            peers=(
                peer(
                    "plain fp32",
                    scale * times["plain"].seconds,
                    ratio(times["plain"], times[name]),
                    f"{few} slices in turns with ours, scaled by {scale:g}: encoder at every "
                    "level, channels first, gradients on record",
                ),
            ),
            memory_mb=found.get("above_mb"),
            details={
                "difference_mean": mean,
                "difference_max": largest,
                "difference_allowed": TOLERANCE[name],
                "agrees": mean <= TOLERANCE[name][0] and largest <= TOLERANCE[name][1],
                "gflop_per_slice": flops / 1e9,
                **found,
                **spread(whole["ours"]),
            },
        )


def probe(bf16: bool, count: int) -> Callable[[], None]:
    """Peak memory of a reconstruction, network included."""
    config, size = models.settings(False)
    image, _ = brain_slices(count, size)

    def work() -> None:
        ours(models.cddpm(config).eval().requires_grad_(False), image, bf16)

    return work
