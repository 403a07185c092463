"""AE: squeeze a slice through a short vector and rebuild it (chapter 8; Baur et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor, nn

from sadm_utils.baselines.method import ReconstructionBaseline
from sadm_utils.cddpm.unet import group_norm
from sadm_utils.config import Config
from sadm_utils.spark.model import fill_patches

HALVINGS = 4
"""How often a slice is halved on its way to the vector; it is filled up so that it can be."""


class Encoder(nn.Module):
    """Strided convolutions and one dense layer: slices (B, 1, H, W) to vectors (B, features).

    Parameters
    ----------
    width
        Channels of the first convolution; they double at each further one.
    shape
        Height and width of a slice.
    features
        Length of the vector.
    """

    def __init__(self, width: int, shape: tuple[int, int], features: int) -> None:
        super().__init__()
        channels = [1, *(width * 2**i for i in range(HALVINGS))]
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Conv2d(cin, cout, 4, 2, 1), group_norm(cout), nn.SiLU())
            for cin, cout in zip(channels, channels[1:], strict=False)
        )
        self.shape = (channels[-1], *(-(-side // 2**HALVINGS) for side in shape))
        self.dense = nn.Linear(prod(self.shape), features)

    def forward(self, image: Tensor) -> Tensor:
        x = fill_patches(image, 2**HALVINGS)
        for step in self.steps:
            x = step(x)
        return self.dense(x.flatten(1))


class Decoder(nn.Module):
    """The way back: vectors (B, latent) to slices (B, 1, H, W), not clipped.

    Parameters
    ----------
    width
        As of the encoder.
    shape
        Channels, height and width of the smallest feature map.
    latent
        Length of the vector.
    size
        Height and width of a slice.
    """

    def __init__(
        self, width: int, shape: tuple[int, ...], latent: int, size: tuple[int, int]
    ) -> None:
        super().__init__()
        self.shape, self.size = shape, size
        self.dense = nn.Linear(latent, prod(shape))
        channels = [*(width * 2**i for i in reversed(range(HALVINGS))), width]
        self.steps = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(cin, cout, 4, 2, 1), group_norm(cout), nn.SiLU())
            for cin, cout in zip(channels, channels[1:], strict=False)
        )
        self.head = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.dense(z).unflatten(1, self.shape)
        for step in self.steps:
            x = step(x)
        return self.head(x)[..., : self.size[0], : self.size[1]].float()


class Autoencoder(ReconstructionBaseline):
    """Row AE. Loss: mean |x̂ − x|; the vector is too short to carry what is not healthy."""

    title = "AE"
    uses = ("baselines.width", "baselines.latent")
    features_of_latent = 1
    """Numbers that the encoder gives for each of the vector's."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        width, latent = config.baselines.width, config.baselines.latent
        self.encode = Encoder(width, config.slice_shape, self.features_of_latent * latent)
        self.decode = Decoder(width, self.encode.shape, latent, config.slice_shape)

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        image = batch["image"]
        return (self.decode(self.encode(image)) - image).abs().mean()

    def reconstruct(self, image: Tensor, generator: torch.Generator) -> Tensor:
        return self.decode(self.encode(image)).clamp(0, 1)
