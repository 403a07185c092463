"""Try a chapter's training for a few steps at any size: seconds and memory, and nothing is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from sadm_utils import device
from sadm_utils.cddpm.model import build_cddpm
from sadm_utils.cddpm.training import CddpmTraining, reconstruct_slices
from sadm_utils.config import Config, apply_overrides
from sadm_utils.data.phantom import simulate_subject
from sadm_utils.data.preprocess import preprocess_volume
from sadm_utils.data.stage import SEED_OF_COHORT, training_slices
from sadm_utils.data.volumes import Volumes
from sadm_utils.errors import UserError
from sadm_utils.report import duration, peak_memory_gib
from sadm_utils.runs import Run
from sadm_utils.sadm.training import AnnotatedSlices, SadmTraining, build_network, supervised_map
from sadm_utils.spark.model import random_mask
from sadm_utils.spark.training import SparkTraining, build_spark
from sadm_utils.stages import NOTEBOOK_OF_STAGE
from sadm_utils.training import TrainedModule

Show = Callable[[str], None]


@dataclass
class Trial:
    """What a trial took: seconds of each part, peak memory in GiB, losses of the steps."""

    stage: str
    batch_size: int
    seconds: dict[str, float] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    memory_gib: float = 0.0
    device_memory_gib: float = 0.0


def try_stage(
    notebook: str, config: Config, steps: int, seed: int = 0, show: Show = print
) -> Trial:
    """Take training steps of a chapter, and process one volume with what came out.

    Everything happens in memory, on one simulated subject. Chapter 5 takes the labels of DRAEM.

    Parameters
    ----------
    notebook
        Name of notebook 03, 04 or 05.
    steps
        Number of training steps, at least 1.

    Raises
    ------
    UserError
        For a chapter that trains nothing, or no steps.
    """
    trials = {"spark": _try_spark, "cddpm": _try_cddpm, "sadm": _try_sadm}
    stages = {NOTEBOOK_OF_STAGE[stage]: stage for stage in trials}
    if notebook not in stages:
        raise UserError(f"{notebook} trains nothing: --steps is for {', '.join(stages)}.")
    if steps < 1:
        raise UserError(f"--steps must be at least 1, not {steps}.")
    stage = stages[notebook]
    batch_size = getattr(config, stage).train.batch_size
    config = apply_overrides(
        config,
        {
            f"{stage}.train.epochs": 1,
            f"{stage}.train.slices_per_volume": steps * batch_size,
            "sadm.distinct_epochs": 1,
        },
    )
    trial = Trial(stage, batch_size)
    show(
        f"A trial of {stage}, profile {config.profile}, on {device.device_name()}: one simulated "
        "subject; no data are read and nothing is kept."
    )
    clock = _Clock(trial, show)
    run = Run(Path(), config, None, seed)
    with device.seeded(seed), clock("one simulated volume"):
        volumes = simulated_volume(config)
    with device.seeded(seed):
        trials[stage](run, volumes, clock)
    _note_memory(trial)
    show(f"  peak memory: {trial.memory_gib:.1f} GiB" + (
        f", of the device {trial.device_memory_gib:.1f} GiB" if trial.device_memory_gib else ""
    ))  # fmt: skip
    return trial


def simulated_volume(config: Config) -> Volumes:
    """One healthy subject of the phantom cohort, processed as chapter 1 does."""
    data = config.data
    subject = simulate_subject("healthy", SEED_OF_COHORT, 0, data.phantom.voxel_mm)
    zooms = (data.phantom.voxel_mm,) * 3
    result = preprocess_volume(
        subject.image, subject.mask, None, zooms, affine=subject.affine, crop_mm=data.crop_mm,
        voxel_mm=data.voxel_mm, curvature_steps=data.curvature_steps,
        percentiles=data.percentiles,
    )  # fmt: skip
    arrays = (np.ascontiguousarray(a.transpose(2, 0, 1))[None]
              for a in (result.image, result.mask, result.seg))  # fmt: skip
    return Volumes(*arrays, ["phantom"], np.zeros(1, int), pd.DataFrame())


class _Clock:
    """Times a part of a trial, says so, and keeps it."""

    def __init__(self, trial: Trial, show: Show) -> None:
        self.trial, self.show = trial, show

    def __call__(self, part: str) -> _Clock:
        self.part = part
        return self

    def __enter__(self) -> None:
        _synchronize()
        self.started = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        _synchronize()
        seconds = time.perf_counter() - self.started
        if error[0] is None:
            self.trial.seconds[self.part] = seconds
            # A GPU's steps are short.
            shown = duration(seconds) if seconds >= 1 else f"{1000 * seconds:.0f} ms"
            self.show(f"  {self.part}: {shown}")


def _try_spark(run: Run, volumes: Volumes, clock: _Clock) -> None:
    train = run.config.spark.train
    model = build_spark(run.config)
    data = training_slices(run, volumes, train)(0)
    _train(SparkTraining(model, train, run.seed), data, clock)
    image = _slices(volumes)
    active = random_mask(len(image), model.grid(image), model.mask_ratio)
    with torch.no_grad(), clock("one volume painted"):
        for part, shown in zip(image.split(32), active.split(32), strict=True):
            with device.autocast():
                model.eval().reconstruct(part.to(_place(model)), shown.to(_place(model)))


def _try_cddpm(run: Run, volumes: Volumes, clock: _Clock) -> None:
    train = run.config.cddpm.train
    model = build_cddpm(run.config)
    _train(CddpmTraining(model, train, run.seed), training_slices(run, volumes, train)(0), clock)
    with clock(f"one volume reconstructed from {len(model.levels)} noise levels"):
        reconstruct_slices(model.eval(), _slices(volumes), run.seed)


def _try_sadm(run: Run, volumes: Volumes, clock: _Clock) -> None:
    model = build_cddpm(run.config).eval().requires_grad_(False).to(device.get_device())
    store: Any = {f"IXI_train_fold{run.config.data.fold}": volumes}
    slices = AnnotatedSlices(run, store, model, "draem")
    with clock("anomalies and reconstructions for the steps"):
        data = slices(0)
    network = build_network(run.config, "residual")
    _train(SadmTraining(network, run.config.sadm.train, run.seed), data, clock)
    image = _slices(volumes)
    with clock(f"one volume reconstructed from {len(model.levels)} noise levels"):
        each = reconstruct_slices(model, image, run.seed)
    with clock("its supervised map"):
        supervised_map(network.eval(), image, each)


def _train(module: TrainedModule, data: Any, clock: _Clock) -> None:
    """Take one optimizer step for each batch of ``data``, as the training loop does."""
    module.log = lambda *_, **__: None  # type: ignore[method-assign]  # there is no trainer
    module.train().to(device.get_device())
    optimizer = module.configure_optimizers()["optimizer"]
    batch_size = clock.trial.batch_size
    for number, batch in enumerate(DataLoader(data, batch_size, drop_last=True), start=1):
        with clock(f"training step {number} of {batch_size} slices"):
            loss = _step(module, optimizer, _move(batch))
        clock.trial.losses.append(loss)
    parameters = sum(p.numel() for p in module.parameters() if p.requires_grad)
    clock.show(f"  {parameters:,} parameters trained, last loss {clock.trial.losses[-1]:.4f}")


def _step(module: TrainedModule, optimizer: torch.optim.Optimizer, batch: Any) -> float:
    optimizer.zero_grad()
    with device.autocast():
        loss = module.training_step(batch, 0)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _move(batch: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v.to(device.get_device()) if torch.is_tensor(v) else v for k, v in batch.items()}


def _slices(volumes: Volumes) -> torch.Tensor:
    """All slices of the volume: float32 (D, 1, H, W)."""
    return torch.from_numpy(volumes.image[0].astype(np.float32))[:, None]


def _place(module: torch.nn.Module) -> torch.device:
    return next(module.parameters()).device


def _synchronize() -> None:
    if device.get_device().type != "cpu":
        torch.accelerator.synchronize()


def _note_memory(trial: Trial) -> None:
    trial.memory_gib = peak_memory_gib()
    if device.get_device().type != "cpu":
        module = torch.get_device_module(device.get_device())
        trial.device_memory_gib = module.max_memory_allocated() / 2**30

