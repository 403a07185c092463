"""A network of a few weights and a training that can be stopped at any step."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from sadm_utils.config import TrainConfig
from sadm_utils.stages import Stage
from sadm_utils.training import TrainedModule, fit

TRAIN = TrainConfig(
    epochs=4, batch_size=4, learning_rate=0.05, warmup_steps=3, final_lr_fraction=0.1,
    weight_decay=0.01, ema_decay=0.8, gradient_clip=1.0, precision="32",
)  # fmt: skip
STEPS = 3  # of an epoch
AtStep = Callable[[int], None]


class Toy(TrainedModule):
    """Batch norm has buffers, dropout draws from the global generator, noise from the step's."""

    def __init__(self, train: TrainConfig = TRAIN, at_step: AtStep = lambda step: None) -> None:
        super().__init__(train, seed=3)
        self.at_step = at_step
        self.rates: list[float] = []
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Linear(2, 8, bias=False), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1)
        )

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        self.at_step(self.global_step)
        self.rates.append(self.optimizers().param_groups[0]["lr"])
        x, y = batch
        noise = 0.1 * torch.randn(x.shape, generator=self.step_generator())
        loss = (self.net(x + noise) - y).square().mean()
        self.log("loss", loss.detach(), on_step=False, on_epoch=True)
        return loss


def epoch_data(epoch: int) -> Dataset:
    """Other points in each epoch, of the same function."""
    x = torch.randn(4 * STEPS, 2, generator=torch.Generator().manual_seed(epoch))
    return TensorDataset(x, (x[:, :1] * x[:, 1:]).sin())


def toy_stage(folder: Path, **settings: Any) -> Stage:
    """A stage with no parents that has begun, and whose lock nobody holds."""
    stage = Stage("cddpm", folder / "cddpm", settings, {}, {})
    stage.begin()
    stage.release()
    return stage


def hang_in_the_middle(folder: Path) -> None:
    """Train until the middle of the third epoch, tell so by a file, and wait to be killed."""

    def at_step(step: int) -> None:
        if step == 2 * STEPS + 1:
            (folder / "hanging").touch()
            time.sleep(120)

    fit(Toy(at_step=at_step), epoch_data, toy_stage(folder))


if __name__ == "__main__":
    hang_in_the_middle(Path(sys.argv[1]))
