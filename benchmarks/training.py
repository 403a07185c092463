"""Rows 4 and 6: training steps of the three networks at paper size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks import ceilings, memory, models
from benchmarks.inputs import brain_slices
from benchmarks.measure import interleave, ratio
from benchmarks.models import Step
from benchmarks.results import Row, peer, spread
from sadm_utils.cddpm.model import ConditionedDiffusion
from sadm_utils.config import Config
from sadm_utils.spark.sparse import Visible

PLAIN = "plain fp32"
NOTE = "same network, channels first, float32, unfused optimizer"


def cddpm(quick: bool) -> Iterator[Row]:
    """Seconds an image of a cDDPM training step at batch 4."""
    config, size = models.settings(quick)
    batch = 2 if quick else 4
    image, _ = brain_slices(batch, size)
    model = models.cddpm(config)
    plain = models.plain_copy(model)
    works = {
        "fp32": models.cddpm_step(config, model, image, False),
        "bf16": models.cddpm_step(config, models.cddpm(config), image, True),
        PLAIN: models.cddpm_step(config, plain, image, False, plain=True),
    }
    work = 3 * (unet_flops(config, model, size) + ceilings.forward_flops(model.encoder, image[:1]))
    targets = {"fp32": (1.15, 3000.0), "bf16": (0.62, 3000.0)}
    title = f"cDDPM step, batch {batch}"
    probe = "benchmarks.training:cddpm_probe"
    yield from _rows("cddpm_step", title, works, batch, work, targets, quick, probe)


def cddpm_probe(
    kind: str, batch: int, quick: bool, size: int | None = None
) -> Callable[[], None]:
    """Peak memory of two training steps, network and optimizer included."""
    config, usual = models.settings(quick)
    image, _ = brain_slices(batch, size or usual)

    def work() -> None:
        plain = kind == PLAIN
        model = models.cddpm(config)
        model = models.plain_copy(model) if plain else model
        _twice(models.cddpm_step(config, model, image, kind == "bf16", plain))

    return work


def unet_flops(config: Config, model: ConditionedDiffusion, size: int) -> float:
    """Operations of the U-Net for one image."""
    cond = torch.zeros(1, model.unet.cond_dim)
    x = torch.zeros(1, 1, size, size)
    return ceilings.forward_flops(model.unet, x, torch.zeros(1, dtype=torch.long), cond)


def spark(quick: bool) -> Iterator[Row]:
    """Seconds an image of a SparK pretraining step at batch 32."""
    config, size = models.settings(quick)
    batch = 4 if quick else 32
    image, _ = brain_slices(batch, size)
    model = models.spark(config)
    works = {
        "fp32": models.spark_step(config, model, image, False),
        "bf16": models.spark_step(config, models.spark(config), image, True),
        PLAIN: models.spark_step(config, models.plain_copy(model), image, False, plain=True),
    }
    # The encoder needs no more than its visible patches; densify and decoder are dense.
    grid = model.grid(image)
    active = torch.zeros(1, 1, *grid, dtype=torch.bool)
    active.view(-1)[: max(round(active.numel() * (1 - model.mask_ratio)), 1)] = True
    every = ceilings.forward_flops(model, image[:1], active)
    encoder = ceilings.forward_flops(_DenseFeatures(model), image[:1])
    work = 3 * (every - encoder + encoder * float(active.float().mean()))
    targets = {"fp32": (0.025, None), "bf16": (0.025, None)}
    probe = "benchmarks.training:spark_probe"
    yield from _rows("spark_step", f"SparK step, batch {batch}", works, batch, work, targets,
                     quick, probe)


class _DenseFeatures(torch.nn.Module):
    """The encoder's four feature maps without holes."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> list[Tensor]:
        active = torch.ones(len(image), 1, *self.model.grid(image), dtype=torch.bool)
        return self.model.encoder.features(image, Visible(active))


def spark_probe(kind: str, batch: int, quick: bool) -> Callable[[], None]:
    """Peak memory of two pretraining steps."""
    config, size = models.settings(quick)
    image, _ = brain_slices(batch, size)

    def work() -> None:
        plain = kind == PLAIN
        model = models.spark(config)
        model = models.plain_copy(model) if plain else model
        _twice(models.spark_step(config, model, image, kind == "bf16", plain))

    return work


def sadm(quick: bool) -> Iterator[Row]:
    """Seconds an image of a segmentation step at batch 4, with and without a cache."""
    config, size = models.settings(quick)
    batch = 2 if quick else 4
    image, mask = brain_slices(batch, size)
    rebuilt, truth = 0.9 * image, (mask * (image > 0.7)).float()
    frozen = models.cddpm(config).eval().requires_grad_(False)
    slow = models.plain_copy(frozen)
    network = models.sadm(config)
    work = 3 * ceilings.forward_flops(network, rebuilt[:1], image[:1])
    extra = unet_flops(config, frozen, size)
    extra += ceilings.forward_flops(frozen.encoder, image[:1])
    for cached in (True, False):
        works = {}
        for name, bf16 in (("fp32", False), ("bf16", True), (PLAIN, False)):
            plain = name == PLAIN
            one = models.plain_copy(network) if plain else models.sadm(config)
            rebuild = _cache(rebuilt) if cached else _rebuild(slow if plain else frozen, image)
            works[name] = models.sadm_step(config, one, image, truth, bf16, rebuild, plain)
        kind = "cached" if cached else "uncached"
        targets = {"bf16": (0.2 if cached else 0.35, None), "fp32": (None, None)}
        flops = work if cached else work + extra
        title = f"SADM step, batch {batch}, {kind}"
        yield from _rows(f"sadm_step_{kind}", title, works, batch, flops, targets, quick)


def _cache(rebuilt: Tensor) -> Callable[[], Tensor]:
    return lambda: rebuilt


def _rebuild(model: ConditionedDiffusion, image: Tensor) -> Callable[[], Tensor]:
    """Reconstruct from one level an image, as the training of the segmentation network does."""
    draw, levels = torch.Generator().manual_seed(0), torch.tensor(model.levels)

    def rebuild() -> Tensor:
        steps = levels[torch.randint(len(levels), (len(image),), generator=draw)] - 1
        return model.reconstruct_at(image, steps, draw).float()

    return rebuild


def _twice(step: Step) -> None:
    step()
    step()


def _rows(
    key: str,
    title: str,
    works: Mapping[str, Step],
    batch: int,
    flops: float,
    targets: Mapping[str, tuple[float | None, float | None]],
    quick: bool,
    probe: str = "",
) -> Iterator[Row]:
    """Time the steps in turns; a row for each precision, with the plain step as the peer."""
    times = interleave(works, 2 if quick else 7, limit=60)
    plain = times[PLAIN]
    for name, (target, memory_target) in targets.items():
        found: dict[str, Any] = {}
        if probe and not quick:
            found = memory.peak(probe, kind=name, batch=batch, quick=quick)
        rate = ceilings.convolution_rate(name == "bf16", quick)
        yield Row(
            f"{key}_{name}",
            f"{title}, {name}",
            times[name].seconds / batch,
            "s/image",
            target=target,
            floor=flops / rate,
            peers=(peer(PLAIN, plain.seconds / batch, ratio(plain, times[name]), NOTE),),
            memory_mb=found.get("above_mb"),
            memory_target_mb=memory_target if found else None,
            details={"gflop_per_image": flops / 1e9, **found, **spread(times[name])},
        )

