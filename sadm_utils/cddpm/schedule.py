"""The cosine noise schedule of chapter 4 (Nichol & Dhariwal 2021, as in the paper)."""

import math

import torch
from torch import Tensor


def cosine_betas(timesteps: int = 1000, offset: float = 0.008, max_beta: float = 0.999) -> Tensor:
    """Noise variance β_t that each step adds.

    ᾱ(u) = cos²(((u + s) / (1 + s)) · π/2), u = t/T, and β_t = min(1 − ᾱ_{t+1} / ᾱ_t, `max_beta`).

    Parameters
    ----------
    timesteps : int
        Number of steps T.
    offset : float
        The small s that keeps the first steps from adding too little noise.
    max_beta : float
        Upper bound, which only the last step reaches.

    Returns
    -------
    Tensor
        β, float64 (T,).
    """
    if timesteps < 1:
        raise ValueError(f"timesteps must be at least 1, not {timesteps}.")
    u = torch.linspace(0, 1, timesteps + 1, dtype=torch.float64)
    alpha_bar = torch.cos((u + offset) / (1 + offset) * math.pi / 2) ** 2
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(0, max_beta)


def signal_and_noise_rates(betas: Tensor) -> tuple[Tensor, Tensor]:
    """Factors √ᾱ_t of the image and √(1 − ᾱ_t) of the noise in x_t, both float32 (T,).

    ᾱ_t = ∏_{i ≤ t} (1 − β_i), computed in the precision of `betas` (float64 is advised).
    """
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    return alpha_bar.sqrt().float(), (1 - alpha_bar).sqrt().float()
