"""DRAEM-Net: its losses by hand, joint training, and its map."""

import math

import pytest
import torch
from torch.nn import functional as F

from sadm_utils.baselines.draem_net import DraemNet, focal_loss, reconstruction_loss
from tests.baselines.brains import brains, check_map, losses, seeded, tiny_config


@pytest.fixture
def method():
    torch.manual_seed(0)
    return DraemNet(tiny_config(baselines__width=4, sadm__depth=3))


def test_focal_loss_by_hand():
    """Unsure, p = ½: a quarter of log 2. Sure and right: almost nothing; γ = 0: cross-entropy."""
    target = torch.tensor([1.0, 0.0])
    assert focal_loss(torch.zeros(2), target).item() == pytest.approx(math.log(2) / 4)
    assert focal_loss(torch.tensor([9.0, -9.0]), target) < 1e-10
    logits = torch.randn(50, generator=seeded(0))
    plain = F.binary_cross_entropy_with_logits(logits, (logits > 1).float())
    assert torch.allclose(focal_loss(logits, (logits > 1).float(), gamma=0), plain)


def test_reconstruction_loss_is_zero_for_the_image_itself():
    image = brains(2)["image"]
    assert reconstruction_loss(image, image).abs() < 1e-5
    assert reconstruction_loss(image.flip(-1), image) > 0.05


def test_segmentation_trains_the_reconstruction_too(method):
    _, logits = method(brains(2)["image"])
    focal_loss(logits, torch.ones_like(logits)).backward()
    assert method.reconstructor.head.weight.grad.abs().sum() > 0


def test_loss_depends_on_the_generator_only_and_falls(method):
    batch = brains()
    first, second, other = (method.loss(batch, seeded(s)).item() for s in (1, 1, 2))
    assert first == second != other
    values = losses(method, 25, 5e-3)
    assert values[-1] < 0.6 * values[0]


def test_map(method):
    assert check_map(method).max() <= 1
