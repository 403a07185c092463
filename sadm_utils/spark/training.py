"""Train SparK on healthy slices (chapter 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from sadm_utils import device
from sadm_utils.config import Config, TrainConfig, to_dict
from sadm_utils.data.stage import healthy, open_data, training_slices
from sadm_utils.launch import train_together
from sadm_utils.runs import Run, Stage, compute_once
from sadm_utils.spark.model import SparK, fill_patches
from sadm_utils.stages import Metrics, Weights
from sadm_utils.training import TrainedModule, fit

WEIGHTS_SALT = 37


def build_spark(config: Config) -> SparK:
    """Build the untrained network of a configuration."""
    return SparK(
        depth=config.encoder.depth,
        width=config.encoder.width,
        drop_path=config.encoder.drop_path,
        decoder_width=config.spark.decoder_width,
        patch=config.spark.patch,
        mask_ratio=config.spark.mask_ratio,
    )


class SparkTraining(TrainedModule):
    """Predict hidden patches; AdamW with the betas of the SparK paper."""

    betas = (0.9, 0.95)
    draws_rows = True

    def __init__(self, model: SparK, train: TrainConfig, seed: int) -> None:
        super().__init__(train, seed)
        self.model = model

    def training_step(self, batch: Mapping[str, torch.Tensor], index: int) -> torch.Tensor:
        image = fill_patches(batch["image"], self.model.patch)
        loss, _ = self.model(image, generator=self.step_generator())
        self.log("loss", loss.detach(), on_step=False, on_epoch=True)
        return loss


def spark_stage(run: Run) -> Stage:
    """Describe the stage ``spark`` of a run: its settings and its parent, the data."""
    config = run.config
    settings = {
        "encoder": to_dict(config.encoder),
        "spark": to_dict(config.spark),
        "data": {"augment": to_dict(config.data.augment)},
    }
    return run.stage("spark", settings, ["data"])


def train_spark(run: Run) -> dict[str, Any]:
    """Pretrain the encoder, or reuse the finished stage; return its record."""
    stage, train = spark_stage(run), run.config.spark.train

    def compute() -> tuple[Metrics, Weights]:
        volumes = healthy(run, open_data(run), "train")
        with device.seeded(run.seed, WEIGHTS_SALT):
            model = build_spark(run.config)
        module = SparkTraining(model, train, run.seed)
        history = fit(module, training_slices(run, volumes, train), stage)
        metrics = {"masked_mse": float(history["loss"].iloc[-1]), "epochs": len(history)}
        return metrics, model.state_dict()

    train_together(run, stage, train, "spark")
    return compute_once(stage, compute)


def load_spark(run: Run) -> SparK:
    """Load the finished stage ``spark``, strictly, in eval mode."""
    model = build_spark(run.config)
    model.load_state_dict(run.finished("spark").load_weights())
    return model.eval()
