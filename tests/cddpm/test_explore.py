"""One noise level, one condition at a time: the same numbers as the model's own reconstruction."""

from __future__ import annotations

import pytest
import torch

from sadm_utils import device
from sadm_utils.cddpm.explore import conditions, rebuild
from sadm_utils.cddpm.model import build_cddpm
from sadm_utils.config import load_config


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = build_cddpm(load_config("smoke")).eval()
    torch.nn.init.normal_(model.unet.head.weight, std=0.1)  # it starts at zero and shows nothing
    return model


def test_rebuild_is_the_reconstruction_of_one_level(model) -> None:
    image = torch.rand(3, 1, 32, 32)
    noise = torch.randn(3, 1, 32, 32)
    with torch.no_grad(), device.autocast(torch.device("cpu")):
        whole = model.diffusion.reconstruct(model.unet, image, 249, model.encoder(image), noise)
    found = rebuild(model, image, 250, noise=noise, batch_size=2)
    assert torch.allclose(found, whole.clamp(0, 1), atol=2e-2)
    assert not torch.allclose(found, rebuild(model, image, 750, noise=noise), atol=2e-2)


def test_one_condition_and_one_noise_serve_all_slices(model) -> None:
    image = torch.rand(3, 1, 32, 32)
    cond = conditions(model, image[:1])
    assert cond.shape == (1, model.unet.cond_dim)
    noise = torch.randn(1, 1, 32, 32)
    all_of_them = rebuild(model, image, 500, cond=cond, noise=noise)
    alone = rebuild(model, image[2:], 500, cond=cond, noise=noise)
    assert torch.allclose(all_of_them[2:], alone, atol=2e-2)


@pytest.mark.parametrize("level", [0, 1001])
def test_levels_out_of_range_are_refused(model, level: int) -> None:
    with pytest.raises(ValueError, match="1 … 1000"):
        rebuild(model, torch.rand(1, 1, 32, 32), level)
