"""The noise schedule against the released code's buffers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sadm_utils.cddpm.schedule import cosine_betas, signal_and_noise_rates

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "schedule.npz")


def test_schedule_matches() -> None:
    betas = cosine_betas(1000)
    assert betas.dtype == torch.float64
    signal, noise = signal_and_noise_rates(betas)
    np.testing.assert_allclose(betas.float().numpy(), GOLDEN["betas"], rtol=1e-6)
    np.testing.assert_allclose(signal.numpy(), GOLDEN["sqrt_alphas_cumprod"], rtol=1e-6)
    np.testing.assert_allclose(noise.numpy(), GOLDEN["sqrt_one_minus_alphas_cumprod"], rtol=1e-6)


@pytest.mark.parametrize("timesteps", [1, 10, 400])
def test_rates_keep_the_variance(timesteps: int) -> None:
    signal, noise = signal_and_noise_rates(cosine_betas(timesteps))
    assert torch.allclose(signal**2 + noise**2, torch.ones(timesteps), atol=1e-6)
    assert (signal.diff() < 0).all()


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        cosine_betas(0)
