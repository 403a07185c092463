"""SSIM in two dimensions against the one in three, and as a loss."""

import pytest
import torch

from sadm_utils.baselines.similarity import ssim
from sadm_utils.evaluation.anomaly_map import ssim_map
from tests.baselines.brains import brains, seeded


def test_is_one_for_equal_images_and_less_for_others():
    x = brains(2)["image"]
    assert torch.allclose(ssim(x, x), torch.ones_like(x), atol=1e-4)
    assert ssim(x, x.flip(-1)).mean() < 0.95


def test_value_of_constant_images_by_hand():
    """No variance: only (2ab + c₁) / (a² + b² + c₁) is left."""
    a, b = torch.full((1, 1, 8, 8), 0.2), torch.full((1, 1, 8, 8), 0.6)
    assert ssim(a, b).mean().item() == pytest.approx((0.24 + 1e-4) / (0.4 + 1e-4), abs=1e-3)


@pytest.mark.parametrize("sigma", [0.7, 1.0, 1.5])
def test_equals_the_volume_version_on_a_volume_that_is_constant_along_one_axis(sigma):
    x, y = torch.rand(2, 3, 2, 20, 31, generator=seeded(0))
    volumes = (v[..., None].expand(*v.shape, 9) for v in (x, y))
    expected = ssim_map(*volumes, sigma=sigma, data_range=1.0)[..., 4]
    assert torch.allclose(ssim(x, y, sigma), expected, atol=1e-4)


def test_its_gradient_leads_to_the_image():
    image = brains(1)["image"]
    guess = torch.full_like(image, 0.5, requires_grad=True)
    optimizer, values = torch.optim.Adam([guess], 0.02), []
    for _ in range(30):
        loss = 1 - ssim(guess, image).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.3 * values[0]
