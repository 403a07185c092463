"""The noise of the diffusion by name."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sadm_utils.cddpm.model import build_cddpm
from sadm_utils.cddpm.noise import (
    COARSE_SIDE,
    STANDARD_DEVIATION,
    build_noise,
    coarse_noise,
    gaussian_noise,
)
from sadm_utils.cddpm.simplex import simplex_noise
from sadm_utils.config import CddpmConfig, load_config


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def correlation(noise: torch.Tensor, shift: int) -> float:
    """Correlation of pixels ``shift`` columns apart."""
    a, b = noise[..., :-shift].flatten(), noise[..., shift:].flatten()
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


def test_all_kinds_are_about_as_strong_and_differ_in_grain() -> None:
    kinds = {
        name: build_noise(CddpmConfig(noise=name))(200, 64, 96, draw())
        for name in ("simplex", "gaussian", "coarse")
    }
    assert all(noise.shape == (200, 1, 64, 96) for noise in kinds.values())
    assert float(kinds["simplex"].std()) == pytest.approx(STANDARD_DEVIATION, abs=0.04)
    assert float(kinds["gaussian"].std()) == pytest.approx(STANDARD_DEVIATION, abs=0.01)
    assert 0.6 < float(kinds["coarse"].std()) / STANDARD_DEVIATION < 0.9
    assert abs(correlation(kinds["gaussian"], 1)) < 0.01
    assert correlation(kinds["coarse"], 1) > 0.9  # grid values are 6 pixels apart
    assert abs(correlation(kinds["coarse"], 2 * 96 // COARSE_SIDE)) < 0.03


def test_coarse_noise_keeps_the_grid_where_it_is_not_enlarged() -> None:
    plain = gaussian_noise(3, COARSE_SIDE, COARSE_SIDE, draw(), 0.2)
    assert torch.equal(coarse_noise(3, COARSE_SIDE, COARSE_SIDE, draw(), 0.2), plain)


@pytest.mark.parametrize("name", ["simplex", "gaussian", "coarse"])
def test_shared_noise_is_one_field_for_the_batch(name: str) -> None:
    config = CddpmConfig(noise=name)
    own = build_noise(config)(3, 16, 16, draw())
    shared = build_noise(replace(config, noise_shared=True))(3, 16, 16, draw())
    assert not torch.equal(own[0], own[1])
    assert torch.equal(shared[0], shared[1]) and torch.equal(shared[1], shared[2])


def test_simplex_settings_reach_the_noise_and_names_reach_the_model() -> None:
    config = CddpmConfig(noise_octaves=2, noise_persistence=0.5, noise_feature_size=16)
    expected = simplex_noise(2, 32, 32, draw(), 2, 0.5, 16)
    assert torch.equal(build_noise(config)(2, 32, 32, draw()), expected)
    model = build_cddpm(load_config("smoke", {"cddpm.noise": "gaussian"}))
    image = torch.rand(2, 1, 32, 32)
    assert torch.equal(model.diffusion.draw_noise(image, draw()), gaussian_noise(2, 32, 32, draw()))
