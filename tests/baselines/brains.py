"""Slices that look a little like brains, tiny networks, and what holds for every method's map."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sadm_utils.baselines.method import Baseline
from sadm_utils.config import Config, load_config


def tiny_config(**overrides: Any) -> Config:
    """Networks that take a few milliseconds a step."""
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    return load_config("smoke", {"baselines.width": 8, "encoder.width": 8} | keys)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def brains(count: int = 8, size: int = 64, seed: int = 0) -> dict[str, torch.Tensor]:
    """A batch of ellipses with a bright rim, a dark center and smooth waves."""
    shape, center, phase = torch.rand(3, count, 2, 1, 1, generator=seeded(seed)).unbind(0)
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")
    place = torch.stack((y, x)) - 0.2 * (center - 0.5)
    radius = (place / (0.7 + 0.2 * shape)).square().sum(1).sqrt()
    waves = torch.sin(9 * place + 6 * phase).prod(1)
    image = (0.25 + 0.5 * radius**2 + 0.1 * waves).clamp(0, 1)
    mask = (radius < 1).float()
    return {"image": (image * mask)[:, None], "mask": mask[:, None]}


def losses(method: Baseline, steps: int, rate: float = 1e-3) -> list[float]:
    """Train on one batch, with the same random draws in each step."""
    batch = brains()
    weights = [p for p in method.parameters() if p.requires_grad]
    optimizer, values = torch.optim.Adam(weights, rate), []
    for _ in range(steps):
        loss = method.train().loss(batch, seeded(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    return values


def check_map(method: Baseline) -> np.ndarray:
    """Shape, type, zero outside of the brain and nowhere else, and equal for equal seeds."""
    batch = brains(count=6, seed=3)
    image, mask = (batch[part][:, 0].permute(1, 2, 0).numpy() for part in ("image", "mask"))
    settings = method.config.evaluation
    score, again = (method.anomaly_map(image, mask, settings, seed=5) for _ in range(2))
    assert score.shape == image.shape and score.dtype == np.float32
    assert np.isfinite(score).all() and (score >= 0).all()
    assert (score[mask == 0] == 0).all() and (score[mask > 0] > 0).mean() > 0.9
    assert np.array_equal(score, again)
    return score
