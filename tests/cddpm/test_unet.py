"""The U-Net against the released code's outputs, and its own promises."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sadm_utils.cddpm.unet import UNet, timestep_embedding
from tests.cddpm.reference_names import filled_unet, reference_names

GOLDEN = Path(__file__).parents[1] / "golden"


def _reference_shape(name: str, tensor: torch.Tensor) -> tuple[int, ...]:
    """The reference writes the linear maps of the attention as convolutions of length 1."""
    shape = tuple(tensor.shape)
    return (*shape, 1) if name in ("attention.qkv.weight", "attention.out.weight") else shape


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "unet_small.npz"))


def relative_error(ours: torch.Tensor, reference: np.ndarray) -> float:
    reference = torch.from_numpy(reference)
    return ((ours - reference).abs().max() / reference.abs().max()).item()


def test_names_and_shapes_cover_the_reference() -> None:
    inventory = json.loads((GOLDEN / "state_dict_DDPM_2D_small.json").read_text())
    prefix = "diffusion.model."
    theirs = {k[len(prefix) :]: tuple(s) for k, s in inventory.items() if k.startswith(prefix)}
    net = UNet(32)
    names = reference_names(net)
    ours = {names[k]: _reference_shape(k, t) for k, t in net.state_dict().items()}
    assert ours == theirs


@torch.no_grad()
def test_embeddings_match(golden) -> None:
    t, cond = torch.from_numpy(golden["t"]), torch.from_numpy(golden["cond"])
    assert relative_error(timestep_embedding(t, 32), golden["timestep_embedding"]) < 1e-5
    assert relative_error(filled_unet().embed(t, cond), golden["emb"]) < 1e-5


@torch.no_grad()
def test_output_and_every_block_match(golden) -> None:
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
    assert relative_error(y, golden["y"]) < 1e-4
    expected = zip(golden["trace_name"], golden["trace_mean"], golden["trace_std"], strict=True)
    for name, mean, std in expected:
        trace = traces[str(name)].double()
        assert trace.mean().item() == pytest.approx(mean, rel=1e-4, abs=1e-4), name
        assert trace.std().item() == pytest.approx(std, rel=1e-4), name


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
