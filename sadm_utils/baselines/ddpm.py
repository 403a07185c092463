"""DDPM: the diffusion model of chapter 4 without its condition (chapter 8; Wyatt et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sadm_utils.baselines.method import ReconstructionBaseline
from sadm_utils.cddpm.diffusion import GaussianDiffusion
from sadm_utils.cddpm.noise import build_noise
from sadm_utils.cddpm.unet import UNet
from sadm_utils.config import Config

NOISE = ("noise", "noise_octaves", "noise_persistence", "noise_feature_size", "noise_shared")


class Diffusion(ReconstructionBaseline):
    """Row DDPM. Loss: mean |x̂0 − x0| at uniformly drawn steps, on the [-1, 1] scale.

    The same U-Net, noise and noise levels as the cDDPM's; only nobody tells it what the noise has
    hidden. A reconstruction is the mean over the noise levels, each in one step.
    """

    title = "DDPM"
    schedule = "diffusion_train"
    uses = tuple(f"cddpm.{key}" for key in ("width", "blocks", "groups", "timesteps", *NOISE))
    test_uses = ("cddpm.levels",)

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        cddpm = config.cddpm
        self.unet = UNet(cddpm.width, cddpm.blocks, cond_dim=0, groups=cddpm.groups)
        self.diffusion = GaussianDiffusion(cddpm.timesteps, build_noise(cddpm))

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        image = batch["image"]
        t = self.diffusion.draw_steps(len(image), generator)
        return self.diffusion.loss(self.unet, image, t, nothing(image), generator=generator)

    def reconstruct(self, image: Tensor, generator: torch.Generator) -> Tensor:
        levels = self.config.cddpm.levels
        _, mean = self.diffusion.reconstruct_ensemble(
            self.unet, image, nothing(image), levels, generator
        )
        return mean.clamp(0, 1)


def nothing(image: Tensor) -> Tensor:
    """The condition of a network that has none: (B, 0)."""
    return image.new_zeros(len(image), 0)
