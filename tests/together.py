"""Trainings that one process or several take: run as a module in each of several processes."""

from __future__ import annotations

import dataclasses
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import Dataset, StackDataset

from sadm_utils import device, processes
from sadm_utils.cddpm.model import build_cddpm
from sadm_utils.cddpm.training import CddpmTraining
from sadm_utils.config import TrainConfig, load_config
from sadm_utils.sadm.training import SadmTraining, build_network
from sadm_utils.spark.training import SparkTraining, build_spark
from sadm_utils.stages import Stage
from sadm_utils.training import TrainedModule, fit

CONFIG = load_config(
    "smoke",
    {
        "encoder.depth": 18, "encoder.width": 4, "encoder.drop_path": 0.3,
        "spark.decoder_width": 32, "cddpm.width": 8, "cddpm.blocks": 1, "cddpm.groups": 4,
        "sadm.width": 4, "sadm.depth": 2,
    },
)  # fmt: skip
TRAIN = TrainConfig(
    epochs=3, batch_size=4, learning_rate=3e-4, warmup_steps=2, ema_decay=0.5, gradient_clip=1.0,
    precision="32",
)  # fmt: skip
STEPS = 2  # of an epoch
#: What each training is of, with which optimizer, and at which step it is killed.
CASES = {
    "cddpm": ("cddpm", "muon", None),
    "spark": ("spark", "adam", None),
    "sadm": ("sadm", "adam", None),
    "cddpm-killed": ("cddpm", "muon", 3),
}


class Killed(Exception):
    """Stands for a kill: nothing in the loop handles it."""


class Watch(pl.Callback):
    """Keep the loss of each step over the whole batch, and stop where the case says so."""

    def __init__(self, stop: int | None) -> None:
        self.losses: list[float] = []
        self.stop = stop

    def on_train_batch_end(self, trainer, module, outputs, *args: Any) -> None:
        self.losses.append(processes.mean(outputs["loss"]))
        if trainer.global_step == self.stop:
            raise Killed


def build(kind: str, train: TrainConfig) -> TrainedModule:
    """A small network of each stage, with the same first weights in every process."""
    with device.seeded(3):
        if kind == "spark":
            return SparkTraining(build_spark(CONFIG), train, seed=5)
        if kind == "sadm":
            return SadmTraining(build_network(CONFIG, "residual"), train, seed=5)
        return CddpmTraining(build_cddpm(CONFIG), train, seed=5)


def epoch_data(side: int, epoch: int) -> Dataset:
    """Nine images for two batches of four; the ninth is dropped."""
    draw = torch.Generator().manual_seed(epoch)
    image, rebuilt = torch.rand(2, 9, 1, side, side, generator=draw)
    return StackDataset(image=image, reconstruction=rebuilt, anomaly=(image > 0.8).float())


def train(case: str, folder: Path, resumed: bool = False) -> dict[str, Any]:
    """Train a case in a folder: the loss of each step, the history and the weights."""
    kind, optimizer, stop = CASES[case]
    together = {"devices": processes.count(), "optimizer": optimizer}
    module = build(kind, dataclasses.replace(TRAIN, **together))
    stage = Stage(kind, folder / case, {}, {}, {})
    processes.from_first(stage.begin)
    watch = Watch(None if resumed else stop)
    module.configure_callbacks = lambda: [watch]  # type: ignore[method-assign]
    history = None
    try:
        data = partial(epoch_data, 96 if kind == "spark" else 32)
        history = fit(module, data, stage).to_dict("list")
    except Killed:
        pass
    finally:
        stage.release()
    return {"losses": watch.losses, "history": history, "weights": module.state_dict()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with processes.together():
        done_here: list[int] = []
        squares = processes.divided(lambda k: done_here.append(k) or k * k, 5)
        torch.save((done_here, squares), Path(sys.argv[1]) / f"divided-{processes.rank()}.pt")
        for name in CASES:
            result = train(name, Path(sys.argv[1]))
            if processes.is_first():
                torch.save(result, Path(sys.argv[1]) / f"{name}.pt")
            else:
                torch.save(result["weights"], Path(sys.argv[1]) / f"{name}-second.pt")
