"""What RD and FAE stand on: the encoder of chapter 3, frozen.

Their authors take a ResNet that was trained on a million photographs. This book downloads no
weights, so the encoder is the one that SparK has pretrained on healthy slices. The rows are
therefore not quite the paper's, and marked in the tables of sweeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from sadm_utils.baselines.method import Baseline
from sadm_utils.config import Config, EncoderConfig
from sadm_utils.spark.model import load_pretrained
from sadm_utils.spark.resnet import ResNet

#: The first feature maps, at strides 4, 8 and 16; the last one hardly knows where things are.
SCALES = 3


class Teacher(nn.Module):
    """A ResNet that never changes: no gradients, and never in training mode.

    Its batch norm uses the statistics that SparK has gathered over visible patches.
    """

    def __init__(self, encoder: EncoderConfig) -> None:
        super().__init__()
        self.encoder = ResNet(encoder.depth, encoder.width).requires_grad_(False)
        self.channels = self.encoder.channels[:SCALES]
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, whatever the module around it is told."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> list[Tensor]:
        """Feature maps (B, channels[i], H/2^(i+2), W/2^(i+2)) of slices (B, 1, H, W)."""
        return self.encoder.features(image)[:SCALES]


class PretrainedBaseline(Baseline):
    """A method on top of the frozen teacher, which is part of its state dict."""

    pretrained: ClassVar[bool] = True
    uses: ClassVar[tuple[str, ...]] = ("baselines.width", "encoder.depth", "encoder.width")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.teacher = Teacher(config.encoder)

    def load_encoder(self, weights: Mapping[str, Tensor]) -> None:
        """Take the teacher's weights from the stage ``spark``; to be called before training.

        Raises
        ------
        UserError
            If SparK has trained an encoder of another depth or width.
        """
        load_pretrained(self.teacher.encoder, weights)
