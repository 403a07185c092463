"""Muon: what it does to a matrix, to a network, and how it is saved and loaded."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sadm_utils.optim import Muon, is_matrix, orthogonalize


def test_is_matrix() -> None:
    """Filters of a single input or output channel, biases and norms are left to Adam."""
    weights = {
        "linear": nn.Linear(3, 4).weight,
        "conv": nn.Conv2d(2, 4, 3).weight,
        "stem": nn.Conv2d(1, 4, 3).weight,
        "head": nn.Conv2d(4, 1, 1).weight,
        "bias": nn.Linear(3, 4).bias,
        "norm": nn.GroupNorm(1, 4).weight,
    }
    assert [name for name, weight in weights.items() if is_matrix(weight)] == ["linear", "conv"]


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
def test_orthogonalize(shape: tuple[int, int]) -> None:
    """The singular vectors stay, the singular values come near 1, whatever they were."""
    draw = torch.Generator().manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape, generator=draw), full_matrices=False)
    matrix = u @ torch.diag(torch.linspace(0.05, 1, len(v))) @ v
    many = torch.stack([scale * matrix for scale in (1e-3, 1.0, 1e3)])
    for result in u.T @ orthogonalize(many) @ v.T:
        values = result.diagonal()
        assert values.min() > 0.6 and values.max() < 1.3
        assert (result - torch.diag(values)).abs().max() < 0.05


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 8, 3), nn.SiLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(16, 2)
    return nn.Sequential(*layers)


def build(net: nn.Module, lr: float = 0.02, **options: float) -> Muon:
    weights = list(net.parameters())
    matrices = [w for w in weights if is_matrix(w)]
    return Muon(matrices, [w for w in weights if not is_matrix(w)], lr, **options)


def loss_of(net: nn.Module) -> torch.Tensor:
    x = torch.randn(16, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    target = torch.stack([x[:, 0].mean((1, 2)), x[:, 1].amax((1, 2))], dim=1)
    return (net(x) - target).square().mean()


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(net)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_learns() -> None:
    net = network()
    losses = train(net, build(net), 60)
    assert losses[-1] < 0.05 * losses[0]


def test_update_has_the_size_of_an_adam_step() -> None:
    """Root mean square 0.2 × learning rate, for tall and wide matrices alike."""
    net, lr = network(), 0.01
    before = copy.deepcopy(net)
    train(net, build(net, lr), 1)
    for new, old in zip(net.parameters(), before.parameters(), strict=True):
        size = (new - old).square().mean().sqrt().item() / lr
        assert size == (pytest.approx(0.2, rel=0.3) if is_matrix(new) else pytest.approx(1.0, 1e-3))


def test_weight_decay_shrinks_what_has_no_gradient_direction() -> None:
    """Decoupled: the decay alone takes lr × decay of a weight, whatever its gradient."""
    one, two = network(), network()
    train(one, build(one, 0.01), 1)
    train(two, build(two, 0.01, weight_decay=0.5), 1)
    start = network()
    for a, b, w in zip(one.parameters(), two.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(a - b, 0.005 * w, rtol=1e-3, atol=1e-6)


def test_memory_format_makes_no_difference() -> None:
    one, two = network(), network().to(memory_format=torch.channels_last)
    train(one, build(one), 5)
    train(two, build(two), 5)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_saved_and_loaded_it_goes_on_the_same() -> None:
    """Momentum and Adam's averages are part of the state, and schedules reach both kinds."""
    net = network()
    optimizer = build(net)
    train(net, optimizer, 3)
    other, state = copy.deepcopy(net), copy.deepcopy(optimizer.state_dict())
    resumed = build(other, lr=1.0)
    resumed.load_state_dict(state)
    assert train(net, optimizer, 3) == train(other, resumed, 3)
    for group in resumed.param_groups:
        group["lr"] = 0.0
    still = copy.deepcopy(other.state_dict())
    train(other, resumed, 1)
    assert all(torch.equal(still[name], value) for name, value in other.state_dict().items())


def test_weights_without_a_gradient_stay() -> None:
    net = network()
    optimizer = build(net)
    before = copy.deepcopy(net.state_dict())
    optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert optimizer.step(lambda: 3.0) == 3.0
