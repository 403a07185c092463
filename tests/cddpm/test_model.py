"""The conditioned diffusion model: what the encoder and the levels do to a reconstruction."""

from __future__ import annotations

import pytest
import torch

from sadm_utils.cddpm.model import ConditionedDiffusion, build_cddpm
from sadm_utils.config import load_config

SETTINGS = {
    "encoder.depth": 18, "encoder.width": 4, "cddpm.width": 8, "cddpm.blocks": 1,
    "cddpm.levels": [100, 400, 900],
}  # fmt: skip


@pytest.fixture(scope="module")
def model() -> ConditionedDiffusion:
    """A small model whose zero-initialized layers are not zero, as after training."""
    torch.manual_seed(0)
    model = build_cddpm(load_config("smoke", SETTINGS)).eval()
    for parameter in model.unet.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))


def draw(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_built_as_configured(model: ConditionedDiffusion) -> None:
    assert model.levels == (100, 400, 900) and model.diffusion.timesteps == 1000
    assert model.encoder(torch.rand(1, 1, 32, 32)).shape == (1, model.unet.cond_dim)


def test_noise_settings_reach_the_noise() -> None:
    fields = []
    for settings in ({}, {"cddpm.noise_octaves": 1}, {"cddpm.noise_feature_size": 8}):
        diffusion = build_cddpm(load_config("smoke", {**SETTINGS, **settings})).diffusion
        fields.append(diffusion.draw_noise(torch.zeros(2, 1, 32, 32), draw()))
    assert not torch.allclose(fields[0], fields[1]) and not torch.allclose(fields[0], fields[2])
    assert not torch.allclose(fields[0][0], fields[0][1]), "one field for the whole batch"
    shared = build_cddpm(load_config("smoke", {**SETTINGS, "cddpm.noise_shared": True})).diffusion
    one, two = shared.draw_noise(torch.zeros(2, 1, 32, 32), draw())
    assert torch.equal(one, two)


def test_reconstructions_are_images_of_each_level(model, image) -> None:
    each = model.reconstruct(image, draw())
    assert each.shape == (3, 2, 1, 32, 32) and each.dtype == torch.float32
    assert each.min() >= 0 and each.max() <= 1 and not each.requires_grad
    assert not torch.allclose(each[0], each[1]) and not torch.allclose(each[1], each[2])
    assert torch.equal(each, model.reconstruct(image, draw()))
    assert not torch.equal(each, model.reconstruct(image, draw(8)))


def test_level_t_is_step_index_t_minus_1(model, image) -> None:
    """The first level's noise is drawn first, so one draw of its step gives the same."""
    each = model.reconstruct(image, draw())
    one = model.reconstruct_at(image, torch.tensor([99, 99]), draw())
    torch.testing.assert_close(each[0], one)
    other = model.reconstruct_at(image, torch.tensor([100, 100]), draw())
    assert not torch.allclose(one, other, atol=1e-6)


def test_each_image_has_its_own_step(model, image) -> None:
    mixed = model.reconstruct_at(image, torch.tensor([10, 800]), draw())
    low = model.reconstruct_at(image, torch.tensor([10, 10]), draw())
    high = model.reconstruct_at(image, torch.tensor([800, 800]), draw())
    torch.testing.assert_close(mixed[0], low[0])
    torch.testing.assert_close(mixed[1], high[1])
    assert not torch.allclose(low[1], high[1])


def test_condition_reaches_the_reconstruction(model, image, monkeypatch) -> None:
    before = model.reconstruct_at(image, torch.tensor([900, 900]), draw())
    encoder = model.encoder.forward
    monkeypatch.setattr(model.encoder, "forward", lambda x: encoder(x) + 3.0)
    after = model.reconstruct_at(image, torch.tensor([900, 900]), draw())
    assert not torch.allclose(before, after, atol=1e-4)


def test_loss_trains_encoder_and_unet_together(model, image) -> None:
    model.zero_grad()
    loss = model.loss(image, draw())
    loss.backward()
    for part in (model.encoder, model.unet):
        gradients = [p.grad for p in part.parameters() if p.grad is not None]
        assert gradients and any(g.abs().sum() > 0 for g in gradients)
    model.zero_grad()
    again, other = model.loss(image, draw()), model.loss(image, draw(8))
    assert torch.equal(loss, again) and not torch.equal(loss, other)


def test_loss_is_the_mean_absolute_error_at_drawn_steps(model, image) -> None:
    rng = draw()
    steps = model.diffusion.draw_steps(2, rng)
    noise = model.diffusion.draw_noise(image, rng)
    x0 = 2 * image - 1
    x_t = model.diffusion.q_sample(x0, steps, noise)
    expected = (model.unet(x_t, steps, model.encoder(image)) - x0).abs().mean()
    torch.testing.assert_close(model.loss(image, draw()), expected)


def test_state_dict_is_strict(model) -> None:
    fresh = build_cddpm(load_config("smoke", SETTINGS))
    fresh.load_state_dict(model.state_dict())
    wider = build_cddpm(load_config("smoke", {**SETTINGS, "encoder.width": 8}))
    with pytest.raises(RuntimeError, match="size mismatch"):
        wider.load_state_dict(model.state_dict())
