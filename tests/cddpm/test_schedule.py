"""The noise schedule against the released code's buffers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sadm_utils.cddpm.schedule import cosine_betas, signal_and_noise_rates

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "schedule.npz")


def derived_buffers(betas: torch.Tensor) -> dict[str, torch.Tensor]:
    """All that the released code keeps of a schedule; we need two of them (Ho et al. 2020)."""
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    before = torch.cat([torch.ones(1), alpha_bar[:-1]])
    variance = betas * (1 - before) / (1 - alpha_bar)
    return {
        "betas": betas,
        "alphas_cumprod": alpha_bar,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": signal_and_noise_rates(betas)[0],
        "sqrt_one_minus_alphas_cumprod": signal_and_noise_rates(betas)[1],
        "log_one_minus_alphas_cumprod": (1 - alpha_bar).log(),
        "sqrt_recip_alphas_cumprod": alpha_bar.rsqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / alpha_bar - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - alpha_bar),
        "posterior_mean_coef2": (1 - before) * (1 - betas).sqrt() / (1 - alpha_bar),
        "p2_loss_weight": torch.ones_like(betas),
    }


def test_schedule_matches(golden_error) -> None:
    betas = cosine_betas(1000)
    assert betas.dtype == torch.float64
    buffers = derived_buffers(betas)
    assert set(buffers) == set(GOLDEN.files)
    for name, ours in buffers.items():
        not_zero = GOLDEN[name] != 0
        each = np.abs(ours.numpy()[not_zero] / GOLDEN[name][not_zero] - 1)
        golden_error("schedule.npz", each.max())


@pytest.mark.parametrize("timesteps", [1, 10, 400])
def test_rates_keep_the_variance(timesteps: int) -> None:
    signal, noise = signal_and_noise_rates(cosine_betas(timesteps))
    assert torch.allclose(signal**2 + noise**2, torch.ones(timesteps), atol=1e-6)
    assert (signal.diff() < 0).all()


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        cosine_betas(0)
