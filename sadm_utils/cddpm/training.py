"""Train the conditioned diffusion model on healthy slices (chapter 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from sadm_utils import device
from sadm_utils.cddpm.model import ConditionedDiffusion, build_cddpm
from sadm_utils.config import TrainConfig, to_dict
from sadm_utils.data.stage import healthy, open_data, training_slices
from sadm_utils.data.store import Volumes
from sadm_utils.launch import train_together
from sadm_utils.runs import Run, Stage, compute_once
from sadm_utils.spark.model import load_pretrained
from sadm_utils.stages import Metrics, Weights
from sadm_utils.training import TrainedModule, fit

RECONSTRUCTION_SALT, WEIGHTS_SALT = 17, 41


class CddpmTraining(TrainedModule):
    """Encoder and U-Net learn together: mean |x̂0 − x0| at uniformly drawn steps."""

    draws_rows = True

    def __init__(self, model: ConditionedDiffusion, train: TrainConfig, seed: int) -> None:
        super().__init__(train, seed)
        self.model = model

    def muon_module(self) -> torch.nn.Module:
        """The U-Net: the encoder's matrices are large, and were pretrained with Adam."""
        return self.model.unet

    def training_step(self, batch: Mapping[str, torch.Tensor], index: int) -> torch.Tensor:
        image = batch["image"].contiguous(memory_format=torch.channels_last)
        loss = self.model.loss(image, self.step_generator())
        self.log("loss", loss.detach(), on_step=False, on_epoch=True)
        return loss


def cddpm_stage(run: Run) -> Stage:
    """Describe the stage ``cddpm``; its parents are the data and, if used, the pretraining."""
    config = run.config
    own = to_dict(config.cddpm)
    own.pop("levels")  # of the test; training draws from all steps
    settings = {
        "encoder": to_dict(config.encoder),
        "cddpm": own,
        "data": {"augment": to_dict(config.data.augment)},
    }
    return run.stage("cddpm", settings, ["data", "spark"] if config.cddpm.pretrained else ["data"])


def train_cddpm(run: Run) -> dict[str, Any]:
    """Train the model, or reuse the finished stage; return its record."""
    stage, train = cddpm_stage(run), run.config.cddpm.train

    def compute() -> tuple[Metrics, Weights]:
        data = open_data(run)
        model = start_model(run)
        measure = healthy_error(healthy(run, data, "val"), run)
        history = fit(
            CddpmTraining(model, train, run.seed),
            training_slices(run, healthy(run, data, "train"), train),
            stage,
            lambda module: {"healthy_l1": measure(module.model)},
        )
        metrics = {name: float(history[name].iloc[-1]) for name in ("loss", "healthy_l1")}
        return {**metrics, "epochs": len(history)}, model.state_dict()

    train_together(run, stage, train, "cddpm")
    return compute_once(stage, compute)


def start_model(run: Run) -> ConditionedDiffusion:
    """Build the model with its first weights: the encoder's from SparK, if it was pretrained."""
    with device.seeded(run.seed, WEIGHTS_SALT):
        model = build_cddpm(run.config)
    if run.config.cddpm.pretrained:
        load_pretrained(model.encoder, run.finished("spark").load_weights())
    return model


def load_cddpm(run: Run) -> ConditionedDiffusion:
    """Load the finished stage ``cddpm`` on the device: strict, in eval mode, no gradients."""
    model = build_cddpm(run.config)
    model.load_state_dict(run.finished("cddpm").load_weights())
    return model.eval().requires_grad_(False).to(device.get_device())


def healthy_error(
    volumes: Volumes, run: Run, slices: int = 4
) -> Callable[[ConditionedDiffusion], float]:
    """Return a function that measures the l1 error inside the brain on fixed healthy slices.

    The slices, the noise and the levels are the same at each call, so the figures compare.
    """
    image, mask = middle_slices(volumes, slices)

    def measure(model: ConditionedDiffusion) -> float:
        training = model.training
        reconstruction = reconstruct_slices(model.eval(), image, run.seed).mean(0)
        model.train(training)
        return float((reconstruction - image).abs()[mask].mean())

    return measure


def middle_slices(volumes: Volumes, slices: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Some slices around the middle of each volume: images and masks (bool), (N, 1, H, W)."""
    middle = np.linspace(0.3, 0.7, slices) * volumes.image.shape[1]
    image = torch.from_numpy(volumes.image[:, middle.astype(int)].astype(np.float32))
    mask = torch.from_numpy(volumes.mask[:, middle.astype(int)] > 0)
    return image.flatten(0, 1)[:, None], mask.flatten(0, 1)[:, None]


@torch.no_grad()
def reconstruct_slices(
    model: ConditionedDiffusion, image: torch.Tensor, seed: int, batch_size: int = 32
) -> torch.Tensor:
    """Reconstruct slices (N, 1, H, W) in [0, 1] from each noise level: float32 (L, N, 1, H, W).

    The noise is a pure function of the seed, of the size of the batches, and of a slice's place.
    """
    target = next(model.parameters()).device
    parts = []
    for start in range(0, len(image), batch_size):
        draw = device.generator(seed, RECONSTRUCTION_SALT, start)
        part = image[start : start + batch_size].to(target)
        with device.autocast(target):
            parts.append(model.reconstruct(part, draw).float().cpu())
    return torch.cat(parts, dim=1)
