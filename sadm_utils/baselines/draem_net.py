"""DRAEM-Net: one network paints over a synthetic anomaly, another finds what was painted over.

Zavrtanik et al., "DRAEM", ICCV 2021. Both are trained together: the gradient of the segmentation
reaches the reconstruction, too. At a test, no anomaly is added.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sadm_utils.baselines.conv_autoencoder import ConvAutoencoder
from sadm_utils.baselines.maps import score_volume
from sadm_utils.baselines.method import Baseline
from sadm_utils.baselines.similarity import ssim
from sadm_utils.config import Config, EvaluationConfig
from sadm_utils.sadm.network import SegmentationUNet
from sadm_utils.sadm.training import build_synthesizer


def reconstruction_loss(rebuilt: Tensor, image: Tensor) -> Tensor:
    """Mean squared error plus 1 − SSIM (DRAEM, equation 2, both with weight 1)."""
    return F.mse_loss(rebuilt.float(), image) + 1 - ssim(rebuilt, image).mean()


def focal_loss(logits: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """Cross-entropy in which a pixel counts less the surer it is right: (1 − p)^γ · (−log p).

    Parameters
    ----------
    logits, target
        (B, 1, H, W), the target in {0, 1}; p is the probability given to the true class.
    gamma
        0 is the plain cross-entropy. Lin et al., ICCV 2017, and DRAEM: 2.
    """
    entropy = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    return ((1 - torch.exp(-entropy)) ** gamma * entropy).mean()


class DraemNet(Baseline):
    """A reconstructive and a discriminative network, trained on the anomalies of chapter 2.

    DRAEM stacks image and reconstruction as channels of a U-Net. Here the siamese network of
    chapter 5 reads them, as in the paper's other rows: the image, and what was not rebuilt.
    """

    title = "DRAEM-Net"
    annotations = "draem"
    uses = ("baselines.width", "sadm.depth", "draem")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        width, depth = config.baselines.width, config.sadm.depth
        self.synthesizer = build_synthesizer(config)
        self.reconstructor = ConvAutoencoder(1, width, depth)
        self.segmenter = SegmentationUNet(width, depth, residual=True)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Rebuild slices (B, 1, H, W) without their anomalies, and find these: logits."""
        rebuilt = self.reconstructor(image)
        return rebuilt, self.segmenter(rebuilt, image)

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """Compare the reconstruction with the healthy slice, and the map with the true mask."""
        image = batch["image"]
        anomalous, anomaly, _ = self.synthesizer(image, batch["mask"], generator)
        rebuilt, logits = self(anomalous)
        return reconstruction_loss(rebuilt, image) + focal_loss(logits, anomaly)

    def anomaly_map(
        self, image: np.ndarray, mask: np.ndarray, settings: EvaluationConfig, seed: int
    ) -> np.ndarray:
        """The probability of an anomaly, in [0, 1]; nothing is random."""

        def probability(slices: Tensor, generator: torch.Generator) -> Tensor:
            return self(slices)[1].sigmoid()

        return score_volume(self, probability, image, mask, settings, seed)
