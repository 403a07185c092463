"""Look into a trained diffusion model, one noise level or one condition at a time (chapter 4)."""

from __future__ import annotations

import torch

from sadm_utils import device
from sadm_utils.cddpm.model import ConditionedDiffusion


@torch.no_grad()
def conditions(
    model: ConditionedDiffusion, image: torch.Tensor, batch_size: int = 64
) -> torch.Tensor:
    """Condition vectors c of slices (N, 1, H, W) in [0, 1]: float32 (N, cond_dim), on the CPU."""
    target, parts = next(model.parameters()).device, []
    for part in image.split(batch_size):
        with device.autocast(target):
            parts.append(model.encoder(part.to(target)).float().cpu())
    return torch.cat(parts)


@torch.no_grad()
def rebuild(
    model: ConditionedDiffusion,
    image: torch.Tensor,
    level: int,
    *,
    cond: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
    draw: torch.Generator | None = None,
    batch_size: int = 64,
) -> torch.Tensor:
    """Reconstruct slices from one noise level, under any condition and any noise.

    Parameters
    ----------
    image
        Slices in [0, 1], (N, 1, H, W), on any device.
    level
        Noise level t from 1 to T; t is step index t − 1.
    cond
        Condition vectors (N, cond_dim), or one for all (1, cond_dim); by default the slices' own.
    noise
        ε, (N, 1, H, W), or one for all; by default drawn with ``draw``.

    Returns
    -------
    x̂ in [0, 1], clipped, float32 (N, 1, H, W), on the CPU.

    Raises
    ------
    ValueError
        If the level is out of range.
    """
    if not 1 <= level <= model.diffusion.timesteps:
        raise ValueError(f"The level must be in 1 … {model.diffusion.timesteps}, not {level}.")
    target, parts = next(model.parameters()).device, []
    cond = conditions(model, image) if cond is None else cond
    noise = model.diffusion.draw_noise(image, draw) if noise is None else noise
    cond = cond.expand(len(image), -1)
    noise = noise.expand(len(image), -1, -1, -1)
    for x, c, e in zip(*(v.split(batch_size) for v in (image, cond, noise)), strict=True):
        x, c, e = (v.to(target) for v in (x, c, e))
        with device.autocast(target):
            x_hat = model.diffusion.reconstruct(model.unet, x, level - 1, c, e)
        parts.append(x_hat.float().clamp(0, 1).cpu())
    return torch.cat(parts)
