"""Train the segmentation network on the frozen diffusion model's reconstructions (chapter 5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils.data import Dataset, StackDataset, default_collate

from sadm_utils import device, processes
from sadm_utils.cddpm.model import ConditionedDiffusion
from sadm_utils.cddpm.training import load_cddpm
from sadm_utils.config import Config, TrainConfig, to_dict
from sadm_utils.data.slices import SliceDataset
from sadm_utils.data.stage import healthy, open_data, training_slices
from sadm_utils.data.store import Store, Volumes
from sadm_utils.draem.synthesis import DraemSynthesizer
from sadm_utils.errors import UserError
from sadm_utils.launch import train_together
from sadm_utils.runs import Run, Stage, compute_once
from sadm_utils.sadm.network import SegmentationUNet
from sadm_utils.stages import Metrics, Weights
from sadm_utils.training import TrainedModule, fit

SET_OF_ANNOTATIONS = {"draem": "IXI", "brats21": "Brats21", "atlas_v2": "ATLAS"}
INPUTS = ("input", "residual")
DRAEM_SALT, LEVEL_SALT, WEIGHTS_SALT, DROP_PATH_SALT = 19, 23, 43, 47


def annotated_set(annotations: str) -> str:
    """The data set that a training source stands for, e.g. ``ATLAS`` for ``atlas_v2``.

    Raises
    ------
    UserError
        For a source that is not known.
    """
    if annotations not in SET_OF_ANNOTATIONS:
        valid = ", ".join(SET_OF_ANNOTATIONS)
        raise UserError(f"ANNOTATIONS is {annotations!r}: choose one of {valid}.")
    return SET_OF_ANNOTATIONS[annotations]


def stage_name(annotations: str, inputs: str) -> str:
    """Name of a network's stage, e.g. ``sadm-draem-residual``.

    Raises
    ------
    UserError
        For unknown annotations or inputs.
    """
    annotated_set(annotations)
    if inputs not in INPUTS:
        raise UserError(f"The network's inputs are {inputs!r}: choose one of {', '.join(INPUTS)}.")
    return f"sadm-{annotations}-{inputs}"


def build_synthesizer(config: Config) -> DraemSynthesizer:
    """Build the anomaly synthesizer of a configuration."""
    draem = config.draem
    return DraemSynthesizer(
        threshold=draem.threshold,
        opacity=draem.opacity,
        max_scale_exponent=draem.max_scale_exponent,
        probability=draem.probability,
        brain_only=draem.brain_only,
    )


def build_network(config: Config, inputs: str) -> SegmentationUNet:
    """Build the untrained network: image alone, or image and residual."""
    network = SegmentationUNet(config.sadm.width, config.sadm.depth, residual=inputs == "residual")
    return network.to(memory_format=torch.channels_last)


class SadmTraining(TrainedModule):
    """Binary cross-entropy between the supervised map and the anomaly mask."""

    draws_rows = True

    def __init__(self, network: SegmentationUNet, train: TrainConfig, seed: int) -> None:
        super().__init__(train, seed)
        self.network = network

    def training_step(self, batch: Mapping[str, torch.Tensor], index: int) -> torch.Tensor:
        logits = self.network(batch["reconstruction"], batch["image"])
        loss = F.binary_cross_entropy_with_logits(logits.float(), batch["anomaly"])
        self.log("loss", loss.detach(), on_step=False, on_epoch=True)
        return loss


class AnnotatedSlices:
    """Slices with an anomaly mask and a reconstruction, for any epoch.

    Epoch e holds the slices of epoch e mod ``distinct_epochs``: the diffusion model is frozen, so
    a slice that comes back needs no second reconstruction.
    """

    def __init__(
        self, run: Run, store: Store, model: ConditionedDiffusion, annotations: str
    ) -> None:
        self.run, self.model = run, model
        config, train = run.config.sadm, run.config.sadm.train
        volumes = training_volumes(run, store, annotations)
        if annotations != "draem":
            # Fewer subjects give more slices each, so that a training has about the same length
            # with any number: exactly where ``annotated_slices`` is much more than 1.
            volumes, share = _first_subjects(volumes, config.annotated_subjects)
            slices = max(1, round(config.annotated_slices / share))
            train = replace(train, slices_per_volume=slices)
        self.synthesizer = build_synthesizer(run.config) if annotations == "draem" else None
        self.slices = training_slices(run, volumes, train)
        self.cache: dict[int, Dataset] = {}

    def __call__(self, epoch: int) -> Dataset:
        config = self.run.config.sadm
        number = epoch % config.distinct_epochs
        if number not in self.cache:
            self.cache[number] = self._make(number)
            if config.distinct_epochs >= config.train.epochs:  # nothing will come back
                self.cache = {number: self.cache[number]}
        return self.cache[number]

    def _make(self, number: int) -> Dataset:
        dataset: SliceDataset = self.slices(number)
        items = default_collate([dataset[i] for i in range(len(dataset))])
        image, anomaly = items["image"], items["seg"].float()
        if self.synthesizer is not None:
            draw = device.generator(self.run.seed, DRAEM_SALT, number)
            image, anomaly, _ = self.synthesizer(image, items["mask"], draw)
        reconstruction = self._reconstruct(image, number)
        return StackDataset(image=image, anomaly=anomaly.float(), reconstruction=reconstruction)

    @torch.no_grad()
    def _reconstruct(self, image: torch.Tensor, number: int) -> torch.Tensor:
        """Reconstruct each slice from one of the test's noise levels, drawn at random.

        With ``sadm.frozen_encoder`` off, the encoder normalizes by the batch, drops paths, and its
        running statistics drift, as in the released code; the stage ``cddpm`` stays as it is.
        Several processes divide the work, unless the encoder drifts.
        """
        draw = device.generator(self.run.seed, LEVEL_SALT, number)
        levels = torch.tensor(self.model.levels)
        steps = levels[torch.randint(len(levels), (len(image),), generator=draw)] - 1
        target, frozen = device.get_device(), self.run.config.sadm.frozen_encoder
        images = image.split(32)
        noise = [self.model.diffusion.draw_noise(part, draw) for part in images]

        def rebuild(k: int) -> torch.Tensor:
            t = steps[32 * k : 32 * k + 32].to(target)
            with device.autocast(target):
                rebuilt = self.model.reconstruct_at(
                    images[k].to(target), t, noise=noise[k].to(target)
                )
            return rebuilt.float().cpu()

        self.model.encoder.train(not frozen)
        with device.seeded(self.run.seed, DROP_PATH_SALT, number):
            if frozen:
                parts = processes.divided(rebuild, len(images))
            else:  # each batch depends on those before
                parts = [rebuild(k) for k in range(len(images))]
        self.model.encoder.eval()
        return torch.cat(parts)


def training_volumes(run: Run, store: Store, annotations: str) -> Volumes:
    """Volumes to train on: all healthy ones, or the annotated ones behind the first ``holdout``.

    Raises
    ------
    UserError
        If the source is not known, or has too few annotated subjects.
    """
    if annotations == "draem":
        return healthy(run, store, "train")
    name = f"{annotated_set(annotations)}_val"
    if name not in store:
        raise UserError(
            f"ANNOTATIONS {annotations!r} needs the split {name}, which the data does not have: "
            f"choose draem, or add splits/{name}.csv to DATA_DIR."
        )
    volumes, holdout = store[name], run.config.data.holdout
    if len(volumes) <= holdout:
        raise UserError(
            f"The split {name} has {len(volumes)} subjects and data.holdout keeps "
            f"{holdout} back: nothing is left to train on; lower data.holdout."
        )
    return volumes.subset(slice(holdout, None))


def _first_subjects(volumes: Volumes, count: int) -> tuple[Volumes, float]:
    """The first ``count`` volumes (0: all), and which share of all they are."""
    if count > len(volumes):
        raise UserError(
            f"sadm.annotated_subjects is {count}, but only {len(volumes)} annotated subjects are "
            "there to train on: lower it."
        )
    chosen = volumes.subset(slice(0, count or None))
    return chosen, len(chosen) / len(volumes)


def sadm_stage(run: Run, annotations: str, inputs: str) -> Stage:
    """Describe the stage of one network; its parents are the data and the diffusion model."""
    config = run.config
    settings = {
        "annotations": annotations,
        "inputs": inputs,
        "sadm": to_dict(config.sadm),
        "cddpm": {"levels": list(config.cddpm.levels)},
        "data": {"augment": to_dict(config.data.augment), "holdout": config.data.holdout},
    }
    if annotations == "draem":
        settings["draem"] = to_dict(config.draem)
    return run.stage(stage_name(annotations, inputs), settings, ["data", "cddpm"])


def train_sadm(run: Run, annotations: str) -> dict[str, dict[str, Any]]:
    """Train both networks of one source of annotations; return their records by inputs.

    The two share the slices and their reconstructions. A finished stage is reused.
    """
    train = run.config.sadm.train

    @cache
    def slices() -> AnnotatedSlices:
        return AnnotatedSlices(run, open_data(run), load_cddpm(run), annotations)

    def train_one(stage: Stage, inputs: str) -> tuple[Metrics, Weights]:
        with device.seeded(run.seed, WEIGHTS_SALT):
            network = build_network(run.config, inputs)
        history = fit(SadmTraining(network, train, run.seed), slices(), stage)
        metrics = {"loss": float(history["loss"].iloc[-1]), "epochs": len(history)}
        return metrics, network.state_dict()

    records = {}
    for inputs in INPUTS:
        stage = sadm_stage(run, annotations, inputs)
        train_together(run, stage, train, "sadm", "--annotations", annotations)
        records[inputs] = compute_once(stage, partial(train_one, stage, inputs))
    return records


def load_network(run: Run, annotations: str, inputs: str) -> SegmentationUNet:
    """Load a finished network on the device: strictly, in eval mode, without gradients."""
    network = build_network(run.config, inputs)
    network.load_state_dict(run.finished(stage_name(annotations, inputs)).load_weights())
    return network.eval().requires_grad_(False).to(device.get_device())


@torch.no_grad()
def supervised_map(
    network: SegmentationUNet,
    image: torch.Tensor,
    reconstructions: torch.Tensor,
    batch_size: int = 64,
) -> torch.Tensor:
    """Compute ŷ: the network's sigmoid, averaged over the noise levels.

    Parameters
    ----------
    image
        Slices in [0, 1], (N, 1, H, W).
    reconstructions
        Their reconstructions from each level, (L, N, 1, H, W).

    Returns
    -------
    Probabilities in [0, 1], float32 (N, 1, H, W).
    """
    target = next(network.parameters()).device
    used = reconstructions if network.residual else reconstructions[:1]  # the rest would be equal
    parts = []
    for start in range(0, len(image), batch_size):
        part = slice(start, start + batch_size)
        with device.autocast(target):
            x = image[part].to(target)
            known = network.encode(x) if network.residual else None
            logits = [network(r[part].to(target), x, known) for r in used]
        # In half precision the sigmoid of every sure voxel would be exactly 1: no order is left.
        parts.append(torch.stack([one.float().sigmoid() for one in logits]).mean(0).cpu())
    return torch.cat(parts)
