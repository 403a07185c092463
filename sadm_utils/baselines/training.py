"""Train a comparison method on healthy slices (chapter 8), with the loop of all chapters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from sadm_utils import device
from sadm_utils.baselines.method import Baseline, ReconstructionBaseline, map_slices
from sadm_utils.baselines.registry import check_name, method_class
from sadm_utils.cddpm.training import middle_slices
from sadm_utils.config import Config, TrainConfig, to_dict
from sadm_utils.data.stage import healthy, open_data, training_slices
from sadm_utils.data.store import Volumes
from sadm_utils.launch import train_together
from sadm_utils.runs import Run, Stage, compute_once
from sadm_utils.stages import Metrics, Weights
from sadm_utils.training import TrainedModule, fit

WEIGHTS_SALT = 53
Validate = Callable[[TrainedModule], dict[str, float]]


class BaselineTraining(TrainedModule):
    """Minimize the loss of a method."""

    def __init__(self, method: Baseline, train: TrainConfig, seed: int) -> None:
        super().__init__(train, seed)
        self.method = method
        self.train_key = f"baselines.{method.schedule}"

    def training_step(self, batch: Mapping[str, torch.Tensor], index: int) -> torch.Tensor:
        images = {
            name: batch[name].contiguous(memory_format=torch.channels_last)
            for name in ("image", "mask")
        }
        loss = self.method.loss(images, self.step_generator())
        self.log("loss", loss.detach(), on_step=False, on_epoch=True)
        return loss


def stage_name(name: str) -> str:
    """Name of a method's stage, e.g. ``baseline-ae``."""
    check_name(name)
    return f"baseline-{name}"


def train_settings(config: Config, name: str) -> TrainConfig:
    """The training of a method."""
    return getattr(config.baselines, method_class(name).schedule)


def settings_of(config: Config, keys: Iterable[str]) -> dict[str, Any]:
    """The settings that dotted keys name, as a nested mapping; a key may be a whole section."""
    whole, chosen = to_dict(config), {}
    for key in keys:
        *sections, last = key.split(".")
        source, target = whole, chosen
        for section in sections:
            source, target = source[section], target.setdefault(section, {})
        target[last] = source[last]
    return chosen


def baseline_stage(run: Run, name: str) -> Stage:
    """Describe the stage of a method; its parents are the data and, if used, the pretraining.

    Only what the method uses is in its settings: a change of another setting does not train again.
    """
    method = method_class(name)
    keys = [f"baselines.{method.schedule}", *method.uses, "data.augment"]
    settings = {"method": method.title, **settings_of(run.config, keys)}
    parents = ["data", "spark"] if method.pretrained else ["data"]
    return run.stage(stage_name(name), settings, parents)


def train_baseline(run: Run, name: str) -> dict[str, Any]:
    """Train a method, or reuse the finished stage; return its record.

    Raises
    ------
    UserError
        For an unknown method, or if a parent is missing or was made with other settings.
    """
    stage, train = baseline_stage(run, name), train_settings(run.config, name)
    section = f"baselines.{method_class(name).schedule}"
    train_together(run, stage, train, name, section=section)
    return compute_once(stage, lambda: fit_baseline(run, name, stage))


def fit_baseline(run: Run, name: str, stage: Stage) -> tuple[Metrics, Weights]:
    """Train from the first weights, or from a killed run's; return metrics and weights."""
    train, data = train_settings(run.config, name), open_data(run)
    method = start_baseline(run, name)
    history = fit(
        BaselineTraining(method, train, run.seed),
        training_slices(run, healthy(run, data, "train"), train),
        stage,
        healthy_error(method, healthy(run, data, "val"), run.seed),
    )
    last = history.iloc[-1]
    metrics = {key: float(last[key]) for key in ("loss", "healthy_l1") if key in history}
    return {**metrics, "epochs": len(history)}, method.state_dict()


def build_baseline(config: Config, name: str) -> Baseline:
    """Build the untrained method of a configuration."""
    return method_class(name)(config).to(memory_format=torch.channels_last)


def start_baseline(run: Run, name: str) -> Baseline:
    """Build a method with its first weights: the encoder's from SparK, if it stands on it."""
    with device.seeded(run.seed, WEIGHTS_SALT):
        method = build_baseline(run.config, name)
    if method.pretrained:
        method.load_encoder(run.finished("spark").load_weights())
    return method


def load_baseline(run: Run, name: str) -> Baseline:
    """Load a finished method on the device: strictly, in eval mode, without gradients."""
    method = build_baseline(run.config, name)
    method.load_state_dict(run.finished(stage_name(name)).load_weights())
    return method.eval().requires_grad_(False).to(device.get_device())


def healthy_error(method: Baseline, volumes: Volumes, seed: int) -> Validate | None:
    """Return a function that measures the l1 error inside the brain on fixed healthy slices.

    ``None`` for a method that does not rebuild the image.
    """
    if not isinstance(method, ReconstructionBaseline):
        return None
    image, mask = middle_slices(volumes)

    def measure(module: TrainedModule) -> dict[str, float]:
        training = method.training
        rebuilt = map_slices(method.eval(), image, method.reconstruct, seed)
        method.train(training)
        return {"healthy_l1": float((rebuilt - image).abs()[mask].mean())}

    return measure
