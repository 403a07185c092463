"""The U-Net against the released code's outputs, and its own promises."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sadm_utils.cddpm.unet import UNet, timestep_embedding
from tests.golden.compare import relative_error
from tests.golden.filled import filled_unet

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "unet_small.npz"))


@torch.no_grad()
def test_embeddings_match(golden, golden_error) -> None:
    t, cond = torch.from_numpy(golden["t"]), torch.from_numpy(golden["cond"])
    pairs = (timestep_embedding(t, 32), "timestep_embedding"), (filled_unet().embed(t, cond), "emb")
    for ours, name in pairs:
        golden_error("unet_small.npz", relative_error(ours, golden[name]))


@torch.no_grad()
def test_output_and_every_block_match(golden, golden_error) -> None:
    net = filled_unet()
    traces: dict[str, torch.Tensor] = {}

    def watch(module: torch.nn.Module, name: str) -> None:
        module.register_forward_hook(lambda m, i, out: traces.__setitem__(name, out))

    watch(net.stem, "in0")
    for i, block in enumerate(net.down):
        watch(block, f"in{i + 1}")
    watch(net.middle2, "mid0")
    stage = -1
    for block in net.up:
        stage += block.resample is None
        watch(block, f"out{stage}")  # the upsampling block overwrites the one before it

    y = net(*(torch.from_numpy(golden[k]) for k in ("x", "t", "cond")))
    golden_error("unet_small.npz", relative_error(y, golden["y"]))
    expected = zip(golden["trace_name"], golden["trace_mean"], golden["trace_std"], strict=True)
    for name, mean, std in expected:
        trace = traces[str(name)].double()
        golden_error("unet_small.npz", abs(trace.mean().item() - mean) / std)
        golden_error("unet_small.npz", abs(trace.std().item() - std) / std)


def test_paper_size() -> None:
    with torch.device("meta"):
        net = UNet()
    assert sum(p.numel() for p in net.parameters()) == 44_068_481
    assert len(net.down) + len(net.up) + 2 == 27
    assert net.attention.heads == 4


@pytest.mark.parametrize("width", [16, 24, 48])
def test_narrow_networks_on_rectangles(width: int) -> None:
    net = UNet(width, blocks=1)
    x = torch.randn(2, 1, 16, 24)
    y = net(x, torch.tensor([0, 999]), torch.randn(2, 4 * width))
    assert y.shape == x.shape
    assert (y == 0).all(), "the head starts at zero"


def test_each_input_counts() -> None:
    net = filled_unet()
    x, cond = torch.randn(1, 1, 16, 16), torch.randn(1, 128)
    with torch.no_grad():
        y = net(x, torch.tensor([10]), cond)
        assert not torch.allclose(y, net(x, torch.tensor([500]), cond), atol=1e-3)
        assert not torch.allclose(y, net(x, torch.tensor([10]), cond + 1), atol=1e-3)
        assert not torch.allclose(y, net(x + 1, torch.tensor([10]), cond), atol=1e-3)


@torch.no_grad()
def test_channels_last_and_bfloat16_agree_with_float32(golden) -> None:
    args = [torch.from_numpy(golden[k]) for k in ("x", "t", "cond")]
    net = filled_unet()
    y = net(*args)
    last = net.to(memory_format=torch.channels_last)
    fast = last(args[0].contiguous(memory_format=torch.channels_last), *args[1:])
    assert torch.allclose(fast, y, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        rough = last(*args)
    assert (rough.float() - y).abs().mean() < 0.02 * y.abs().mean()


def test_indivisible_size_is_refused() -> None:
    with pytest.raises(ValueError, match="not divisible by 4"):
        UNet(16, blocks=1)(torch.zeros(1, 1, 18, 16), torch.zeros(1), torch.zeros(1, 64))
