"""The noise of the diffusion, by name: simplex, or what the paper's comparison methods use."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from sadm_utils.cddpm.diffusion import NoiseFunction
from sadm_utils.cddpm.simplex import simplex_noise
from sadm_utils.config import CddpmConfig
from sadm_utils.processes import rows

STANDARD_DEVIATION = 0.59
"""Of simplex noise with the paper's settings over many fields; Gaussian noise is as strong, and so
are the grid values of coarse noise."""
COARSE_SIDE = 16
"""Side of the grid on which coarse noise is drawn (Kascenas et al. 2022)."""


def gaussian_noise(
    batch: int,
    height: int,
    width: int,
    generator: torch.Generator | None = None,
    std: float = STANDARD_DEVIATION,
    shared: bool = False,
) -> Tensor:
    """Draw Gaussian noise, independent in every pixel: float32 (batch, 1, height, width)."""
    device = generator.device if generator is not None else "cpu"

    def draw(fields: int) -> Tensor:
        return torch.randn((fields, 1, height, width), generator=generator, device=device)

    noise = draw(1) if shared else rows(draw, batch)
    return std * noise.expand(batch, -1, -1, -1)


def coarse_noise(
    batch: int,
    height: int,
    width: int,
    generator: torch.Generator | None = None,
    std: float = STANDARD_DEVIATION,
    side: int = COARSE_SIDE,
    shared: bool = False,
) -> Tensor:
    """Draw Gaussian noise on a coarse grid and enlarge it bilinearly (Kascenas et al. 2022).

    Parameters
    ----------
    std
        Standard deviation of the grid's values. Between them it is weaker: over a field of 96 × 96,
        it is two thirds of this.
    side
        Values of the grid along each axis.

    Returns
    -------
    Tensor
        Noise, float32 (batch, 1, height, width).
    """
    grid = gaussian_noise(batch, side, side, generator, std, shared)
    return F.interpolate(grid, (height, width), mode="bilinear", align_corners=False)


def build_noise(config: CddpmConfig) -> NoiseFunction:
    """The noise of a configuration, as a function of (batch, height, width, generator)."""
    if config.noise == "gaussian":
        return partial(gaussian_noise, shared=config.noise_shared)
    if config.noise == "coarse":
        return partial(coarse_noise, shared=config.noise_shared)
    return partial(
        simplex_noise,
        octaves=config.noise_octaves,
        persistence=config.noise_persistence,
        feature_size=config.noise_feature_size,
        shared=config.noise_shared,
    )
