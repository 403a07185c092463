"""Sparse layers: their formula, statistics and equality with the plain layers."""

import pytest
import torch
from torch import nn

from sadm_utils.spark.sparse import SparseBatchNorm2d, SparseConv2d, SparseMaxPool2d, Visible

ACTIVE = torch.tensor([[[[True, False], [False, False]]], [[[False, True], [True, False]]]])


def test_pattern_is_enlarged_patch_by_patch():
    visible = Visible(ACTIVE)
    large = visible.at(4, 6)
    assert large.shape == (2, 1, 4, 6)
    assert large[0, 0].int().tolist() == [[1, 1, 1, 0, 0, 0]] * 2 + [[0] * 6] * 2
    assert torch.equal(visible.keep(torch.ones(2, 3, 4, 6)), large.expand(2, 3, 4, 6).float())
    with pytest.raises(ValueError, match="2×2 patches"):
        visible.at(5, 4)


@pytest.mark.parametrize(
    ("layer", "stride"),
    [
        (SparseConv2d(3, 5, 3, padding=1), 1),
        (SparseConv2d(3, 5, 7, stride=2, padding=3), 2),
        (SparseMaxPool2d(3, stride=2, padding=1), 2),
    ],
)
def test_layer_is_the_dense_one_times_the_pattern(layer, stride):
    x, visible = torch.rand(2, 3, 8, 8), Visible(ACTIVE)
    dense, size = layer(x), 8 // stride
    sparse = layer(x, visible)
    assert torch.equal(sparse, dense * visible.at(size, size))
    assert (dense != 0)[~visible.at(size, size).expand_as(dense)].all()  # it would have leaked


def test_batch_norm_counts_visible_positions_only():
    x = torch.rand(2, 4, 8, 8) + 3
    visible = Visible(ACTIVE)
    where = visible.at(8, 8)[:, 0]
    norm = SparseBatchNorm2d(4)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    out = norm(x, visible)
    seen = x.permute(0, 2, 3, 1)[where]
    standard = (seen - seen.mean(0)) / (seen.var(0, unbiased=False) + norm.eps).sqrt()
    by_hand = standard * norm.weight + norm.bias
    assert torch.allclose(out.permute(0, 2, 3, 1)[where], by_hand, atol=1e-4)
    assert (out.permute(0, 2, 3, 1)[~where] == 0).all()
    assert torch.allclose(norm.running_mean, 0.1 * seen.mean(0))
    assert torch.allclose(norm.running_var, 0.9 + 0.1 * seen.var(0))
    frozen = norm.eval().running_mean.clone()
    norm(x, visible)
    assert torch.equal(norm.running_mean, frozen)


def test_all_visible_equals_the_plain_layer():
    everything = Visible(torch.ones(2, 1, 2, 2, dtype=torch.bool))
    sparse, plain = SparseBatchNorm2d(4), nn.BatchNorm2d(4)
    x = torch.rand(2, 4, 8, 8)
    assert torch.allclose(sparse(x, everything), plain(x), atol=1e-5)
    assert torch.allclose(sparse(x), plain(x), atol=1e-5)
