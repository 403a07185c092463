"""The methods that rebuild a slice: they learn, keep the range, and repeat by the seed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sadm_utils.baselines.dae import DenoisingAutoencoder
from sadm_utils.baselines.ddpm import Diffusion
from sadm_utils.baselines.pddpm import PatchedDiffusion, box_mask, patch_grid, stitch
from sadm_utils.baselines.registry import METHODS, method_class
from sadm_utils.baselines.training import build_baseline
from sadm_utils.baselines.vae import VariationalAutoencoder, kl_divergence
from sadm_utils.config import load_config
from sadm_utils.device import generator, seeded
from tests.baselines.conftest import SIDE, SMALL

NAMES = ("ae", "vae", "dae", "ddpm", "pddpm")
RANDOM = ("ddpm", "pddpm")


def build(name, config):
    with seeded(1):
        return method_class(name)(config)


def shaken(name, config):
    """A method whose network depends on its input: a diffusion network's head starts at 0."""
    method = build(name, config)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator(3)))
    return method


def mean_loss(method, batch):
    """The loss over some fixed draws."""
    with torch.no_grad():
        draws = [method.loss(batch, generator(9, i)) for i in range(8)]
    return float(torch.stack(draws).mean())


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_lower_the_loss(name, config, batch):
    method = build(name, config)
    before = mean_loss(method, batch)
    optimizer = torch.optim.Adam(method.parameters(), 5e-3)
    for step in range(30):
        optimizer.zero_grad()
        method.loss(batch, generator(2, step)).backward()
        optimizer.step()
    assert mean_loss(method, batch) < 0.7 * before


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_a_function_of_its_generator(name, config, batch):
    method = shaken(name, config)
    with torch.no_grad():
        first, again, other = (float(method.loss(batch, generator(s))) for s in (1, 1, 2))
    assert first == again
    assert (first != other) == (name != "ae")


@pytest.mark.parametrize("name", NAMES)
def test_a_reconstruction_is_a_slice_and_repeats(name, config, batch):
    method = shaken(name, config).eval()
    with torch.no_grad():
        first, again, other = (method.reconstruct(batch["image"], generator(s)) for s in (4, 4, 5))
    assert first.shape == batch["image"].shape and first.dtype == torch.float32
    assert first.min() >= 0 and first.max() <= 1 and first.std() > 0
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name not in RANDOM)


@pytest.mark.parametrize("name", NAMES)
def test_the_anomaly_map_is_zero_outside_the_brain(name, config, batch):
    method = shaken(name, config).eval()
    image, mask = (
        np.repeat(batch[part][:, 0].permute(1, 2, 0).numpy(), 2, axis=2)
        for part in ("image", "mask")
    )
    score = method.anomaly_map(image, mask, config.evaluation, seed=3)
    assert score.shape == image.shape and score.dtype == np.float32
    assert not score[mask == 0].any() and score[mask > 0].max() > 0
    assert np.array_equal(score, method.anomaly_map(image, mask, config.evaluation, seed=3))


def test_kl_divergence_of_two_numbers_by_hand():
    mean, log_variance = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [0, 0]])
    expected = [0.5 * (1 + 1 - 0 - 1) + 0.5 * (0 + math.e - 1 - 1), 0.0]
    assert torch.allclose(kl_divergence(mean, log_variance), torch.tensor(expected))


def test_kl_enters_the_loss_per_pixel(config, batch):
    losses = []
    for weight in (0.0, 3.0):
        method = build("vae", load_config("smoke", {**SMALL, "baselines.kl_weight": weight}))
        losses.append(float(method.loss(batch, generator(1)).detach()))
    assert isinstance(method, VariationalAutoencoder)
    with torch.no_grad():
        kl = float(kl_divergence(*method.posterior(batch["image"])).mean()) / SIDE**2
    assert kl > 0 and losses[1] - losses[0] == pytest.approx(3 * kl, rel=1e-2, abs=1e-7)


def test_coarse_noise_has_its_strength_and_stays_in_the_brain(config):
    method = DenoisingAutoencoder(config)
    mask = torch.zeros(500, 1, 64, 64)
    mask[:, :, :, :40] = 1
    noised = method.corrupt(torch.full_like(mask, 0.5), mask, generator(7))
    noise = noised - 0.5
    assert not noise[mask == 0].any()
    # Bilinear weights of 4 pixels a grid value: 21/32 of the variance along an axis, 1 at the ends.
    expected = 0.2 * (60 * 21 / 32 + 4) / 64
    assert float(noise[mask > 0].std()) == pytest.approx(expected, rel=0.03)
    assert abs(float(noise[mask > 0].mean())) < 0.005
    neighbors = (noise[..., 1:40] - noise[..., :39]).std()
    assert neighbors < 0.5 * noise[mask > 0].std(), "coarse: neighbors are alike"


def test_ddpm_has_no_condition(config, batch):
    unet = Diffusion(config).unet
    assert unet.cond_mlp is None and not any("cond" in name for name in unet.state_dict())
    embedding = unet.embed(torch.tensor([3]), torch.zeros(1, 0))
    assert embedding.shape == (1, 4 * config.cddpm.width)


@pytest.mark.parametrize(("share", "count"), [(0.5, 4), (0.6, 4), (0.3, 16), (1.0, 1)])
def test_patches_cover_a_slice_and_stitch_to_it(share, count, batch):
    boxes = patch_grid(SIDE, SIDE, share)
    assert len(boxes) == count and box_mask(boxes, SIDE, SIDE).any(0).all()
    image = batch["image"]
    assert torch.allclose(stitch(image, boxes, lambda inside: image), image, atol=1e-7)
    marked = stitch(image, boxes, lambda inside: inside.float().expand(len(image), -1, -1, -1))
    assert torch.equal(marked, torch.ones_like(marked)), "only the inside of a patch is used"


def test_pddpm_with_an_identity_network_returns_the_image(config, batch, monkeypatch):
    method = PatchedDiffusion(config)
    monkeypatch.setattr(method, "predict", lambda x0, t, noise, inside: x0)
    rebuilt = method.reconstruct(batch["image"], generator(1))
    assert torch.allclose(rebuilt, batch["image"], atol=1e-6)


def test_pddpm_shows_the_network_all_but_the_patch(config, batch, monkeypatch):
    method, seen = PatchedDiffusion(config), []
    monkeypatch.setattr(
        type(method.unet), "forward", lambda self, x, t, cond: seen.append((x, t)) or x
    )
    x0, levels = 2 * batch["image"] - 1, config.cddpm.levels
    method.reconstruct(batch["image"], generator(1))
    boxes = patch_grid(SIDE, SIDE, config.baselines.patch)
    assert len(seen) == len(boxes) * len(levels)
    for number, (x, t) in enumerate(seen):
        inside = box_mask([boxes[number % len(boxes)]], SIDE, SIDE).expand_as(x)
        assert torch.equal(x[~inside], x0[~inside])
        assert (x[inside] != x0[inside]).float().mean() > 0.99
        assert t.tolist() == [levels[number // len(boxes)] - 1] * len(x)


def test_training_draws_all_of_the_tests_patches(config):
    method = PatchedDiffusion(config)
    inside = method.random_patches(torch.zeros(400, 1, SIDE, SIDE), generator(6))
    assert (inside.sum((1, 2, 3)) == (SIDE // 2) ** 2).all()
    counts = inside.float().sum(0)
    assert counts.min() > 60 and counts.max() < 140, "each quarter about a hundred times"


def test_the_loss_of_pddpm_looks_at_the_patch_only(config, batch, monkeypatch):
    method = PatchedDiffusion(config)
    monkeypatch.setattr(
        method, "predict", lambda x0, t, noise, inside: torch.where(inside, x0 + 0.25, x0 + 9)
    )
    assert float(method.loss(batch, generator(1))) == pytest.approx(0.25, rel=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_slices_that_cannot_be_halved_often_keep_their_size(name: str) -> None:
    method, image = build_baseline(load_config("smoke"), name), torch.rand(2, 1, 52, 64)
    brain = torch.ones_like(image)
    loss = method.loss({"image": image, "mask": brain}, generator(0))
    assert torch.isfinite(loss)
    volume = image[:, 0].permute(1, 2, 0).repeat(1, 1, 3).numpy()
    settings = load_config("smoke").evaluation
    score = method.eval().anomaly_map(volume, np.ones_like(volume), settings, 0)
    assert score.shape == volume.shape and np.isfinite(score).all()
