"""FAE: features at one size, a perfect reconstruction, the frozen teacher, training and map."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sadm_utils.baselines.fae import FeatureAutoencoder
from tests.baselines.brains import brains, check_map, losses, tiny_config


@pytest.fixture
def method():
    torch.manual_seed(0)
    return FeatureAutoencoder(tiny_config())


def test_features_are_the_first_maps_side_by_side(method):
    image = brains(2)["image"]
    features, maps = method.features(image), method.teacher(image)
    assert features.shape == (2, 8 + 16 + 32, 16, 16)
    assert torch.equal(features[:, :8], maps[0])
    assert torch.allclose(F.avg_pool2d(features[:, 8:24], 16), maps[1].mean((2, 3), True), atol=0.1)


def test_perfect_reconstruction_has_no_dissimilarity(method):
    method.autoencoder = nn.Identity()
    assert method.dissimilarity(brains(2)["image"]).abs().max() < 1e-3


def test_training_leaves_the_teacher_as_it_is(method):
    before = copy.deepcopy(method.state_dict())
    losses(method, 2)
    assert method.training and not any(m.training for m in method.teacher.modules())
    after = method.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name, p in method.named_parameters() if p.requires_grad}
    assert all(name.startswith("autoencoder.") for name in changed)


def test_loss_falls(method):
    values = losses(method, 30, 1e-2)
    assert values[-1] < 0.9 * values[0]


def test_map(method):
    assert check_map(method).max() <= 2
