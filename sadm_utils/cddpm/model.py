"""The conditioned diffusion model: an encoder that looks at the image, a U-Net that rebuilds it."""

from __future__ import annotations

import torch
from torch import nn

from sadm_utils.cddpm.diffusion import GaussianDiffusion
from sadm_utils.cddpm.noise import build_noise
from sadm_utils.cddpm.unet import UNet
from sadm_utils.config import Config
from sadm_utils.spark.resnet import ResNet


class ConditionedDiffusion(nn.Module):
    """cDDPM (arXiv 2312.04215): reconstruct an image from a noised copy and a summary of itself.

    The condition c is a short vector that an encoder computes from the clean image. It tells the
    U-Net what the noise has hidden (contrast, position), yet is too short to carry a lesion.
    """

    def __init__(
        self, encoder: ResNet, unet: UNet, diffusion: GaussianDiffusion, levels: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.encoder, self.unet, self.diffusion, self.levels = encoder, unet, diffusion, levels

    def loss(
        self, image: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Training loss of images (B, 1, H, W) in [0, 1] at random steps and noise."""
        t = self.diffusion.draw_steps(len(image), generator)
        cond = self.encoder(image)
        return self.diffusion.loss(self.unet, image, t, cond, generator=generator)

    @torch.no_grad()
    def reconstruct(
        self, image: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Reconstruct images (B, 1, H, W) in [0, 1] from each noise level: (L, B, 1, H, W).

        The encoder runs once for all levels. Clipped to [0, 1], the range of every image here.
        """
        cond = self.encoder(image)
        each, _ = self.diffusion.reconstruct_ensemble(
            self.unet, image, cond, self.levels, generator
        )
        return each.clamp(0, 1)

    @torch.no_grad()
    def reconstruct_at(
        self,
        image: torch.Tensor,
        t: torch.Tensor,
        generator: torch.Generator | None = None,
        noise: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Reconstruct images (B, 1, H, W), each from its own step index t (B,); clipped.

        The noise, of the shape of the images, is drawn from the generator if it is not given.
        """
        cond = self.encoder(image)
        rebuilt = self.diffusion.reconstruct(self.unet, image, t, cond, noise, generator)
        return rebuilt.clamp(0, 1)


def build_cddpm(config: Config) -> ConditionedDiffusion:
    """Build the untrained model of a configuration."""
    cddpm, encoder = config.cddpm, config.encoder
    unet = UNet(cddpm.width, cddpm.blocks, groups=cddpm.groups)
    model = ConditionedDiffusion(
        ResNet(encoder.depth, encoder.width, 1, unet.cond_dim, encoder.drop_path),
        unet,
        GaussianDiffusion(cddpm.timesteps, build_noise(cddpm)),
        tuple(cddpm.levels),
    )
    return model.to(memory_format=torch.channels_last)
