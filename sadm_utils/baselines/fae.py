"""FAE: an autoencoder that rebuilds features instead of intensities.

Meissen et al., "Unsupervised anomaly localization with structural feature-autoencoders", BrainLes
2022. An intensity that is unusual is not always a lesion, and a lesion not always an unusual
intensity; the features of a pretrained encoder also hold the texture around a pixel.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sadm_utils.baselines.conv_autoencoder import ConvAutoencoder
from sadm_utils.baselines.maps import score_volume
from sadm_utils.baselines.similarity import ssim
from sadm_utils.baselines.teacher import PretrainedBaseline
from sadm_utils.config import Config, EvaluationConfig

#: Scales of the autoencoder, and the width of the similarity's window, at a quarter of the slice.
DEPTH, SIGMA = 3, 0.7


class FeatureAutoencoder(PretrainedBaseline):
    """The frozen encoder's first maps at one size, and an autoencoder over their channels."""

    title = "FAE"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        channels = sum(self.teacher.channels)
        self.autoencoder = ConvAutoencoder(channels, config.baselines.width, DEPTH)

    def features(self, image: Tensor) -> Tensor:
        """All maps of slices (B, 1, H, W) at the size of the first: (B, channels, H/4, W/4)."""
        maps = self.teacher(image)
        size = maps[0].shape[-2:]
        enlarged = [F.interpolate(m.float(), size, mode="bilinear") for m in maps]
        return torch.cat(enlarged, dim=1)

    def dissimilarity(self, image: Tensor) -> Tensor:
        """1 − SSIM of features and rebuilt features, meaned over channels: (B, 1, H/4, W/4)."""
        features = self.features(image)
        similarity = ssim(self.autoencoder(features), features, SIGMA)
        return 1 - similarity.mean(dim=1, keepdim=True)

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """The mean dissimilarity of healthy slices."""
        return self.dissimilarity(batch["image"]).mean()

    def score(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The dissimilarity at the slices' size, (B, 1, H, W) in [0, 2]."""
        return F.interpolate(self.dissimilarity(image), image.shape[-2:], mode="bilinear")

    def anomaly_map(
        self, image: np.ndarray, mask: np.ndarray, settings: EvaluationConfig, seed: int
    ) -> np.ndarray:
        """The score of each slice, smoothed as the reconstruction maps are; nothing is random."""
        return score_volume(self, self.score, image, mask, settings, seed, filtered=True)
