"""A comparison method: a network with a loss, and the anomaly map of a volume (chapter 8)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sadm_utils import device
from sadm_utils.config import Config, EvaluationConfig
from sadm_utils.evaluation.anomaly_map import reconstruction_map
from sadm_utils.spark.model import load_pretrained

MAP_SALT = 61
SliceFunction = Callable[[Tensor, torch.Generator], Tensor]


def to_slices(volume: np.ndarray) -> Tensor:
    """A volume (H, W, D) as slices (D, 1, H, W), float32."""
    return torch.from_numpy(np.ascontiguousarray(volume.transpose(2, 0, 1)))[:, None].float()


def to_volume(slices: Tensor) -> np.ndarray:
    """Slices (D, 1, H, W) as a volume (H, W, D)."""
    return np.ascontiguousarray(slices[:, 0].permute(1, 2, 0).numpy())


@torch.no_grad()
def map_slices(
    module: nn.Module, slices: Tensor, function: SliceFunction, seed: int, batch_size: int = 32
) -> Tensor:
    """Call ``function(part, generator)`` on batches of slices on the device of ``module``.

    The generator of a batch is a pure function of the seed and of the batch's place.
    """
    target = next(module.parameters()).device
    parts = []
    for start in range(0, len(slices), batch_size):
        draw = device.generator(seed, MAP_SALT, start)
        with device.autocast(target):
            found = function(slices[start : start + batch_size].to(target), draw)
        parts.append(found.float().cpu())
    return torch.cat(parts)


class Baseline(nn.Module, ABC):
    """One row of the paper's comparison.

    Attributes
    ----------
    title
        Name of the row in the table, e.g. ``"AE"``.
    annotations
        What it is trained on beside healthy images: ``""``, ``"pii"`` or ``"draem"``.
    pretrained
        True if it stands on the encoder of the stage ``spark``, which is then loaded.
    schedule
        Which of the trainings in ``baselines`` is its own.
    uses
        The settings that its network and its loss depend on, beside the training and the data: a
        dotted key, or a whole section. Other settings may change without a new training.
    test_uses
        The settings that only its anomaly map depends on, beside ``evaluation``.
    """

    title: ClassVar[str]
    annotations: ClassVar[str] = ""
    pretrained: ClassVar[bool] = False
    schedule: ClassVar[str] = "train"
    uses: ClassVar[tuple[str, ...]] = ("baselines.width",)
    test_uses: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """Training loss of healthy slices.

        Parameters
        ----------
        batch
            ``image`` in [0, 1] and brain ``mask`` in {0, 1}, float32 (B, 1, H, W).
        generator
            On the CPU; the only source of the step's randomness.
        """

    def load_encoder(self, spark_state: Mapping[str, Tensor]) -> None:
        """Take the weights of the stage ``spark`` over, before training; if ``pretrained``."""
        load_pretrained(self.encoder, spark_state)

    @abstractmethod
    def anomaly_map(
        self, image: np.ndarray, mask: np.ndarray, settings: EvaluationConfig, seed: int
    ) -> np.ndarray:
        """Score a volume.

        Parameters
        ----------
        image, mask
            Scan in [0, 1] and brain mask, (H, W, D).
        seed
            What is random is a pure function of it.

        Returns
        -------
        float32 (H, W, D), larger where an anomaly is more likely, 0 outside the brain.
        """


class ReconstructionBaseline(Baseline):
    """A method that rebuilds the image; it is scored as cDDPM is (paper, section 2.3)."""

    @abstractmethod
    def reconstruct(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Rebuild slices (B, 1, H, W) in [0, 1]: the same shape and range, float32."""

    def reconstruction(self, image: np.ndarray, seed: int, batch_size: int = 32) -> np.ndarray:
        """Rebuild a volume (H, W, D) in [0, 1], slice by slice: float32."""
        rebuilt = map_slices(self, to_slices(image), self.reconstruct, seed, batch_size)
        return to_volume(rebuilt.clamp(0, 1))

    def anomaly_map(
        self, image: np.ndarray, mask: np.ndarray, settings: EvaluationConfig, seed: int
    ) -> np.ndarray:
        rebuilt = self.reconstruction(image, seed, settings.batch_size)
        return self.residual(image, rebuilt, mask, settings)

    @staticmethod
    def residual(
        image: np.ndarray, rebuilt: np.ndarray, mask: np.ndarray, settings: EvaluationConfig
    ) -> np.ndarray:
        """x̃ of chapter 6, from a volume (H, W, D) and its reconstruction: float32 (H, W, D)."""
        return reconstruction_map(
            image,
            rebuilt,
            mask > 0,
            settings.residual,
            settings.median,
            settings.ssim_sigma,
            settings.ssim_range or None,
        ).astype(np.float32)
