"""The fast gradient of the group norm equals PyTorch's."""

import pytest
import torch
import torch.nn.functional as F

from sadm_utils.cddpm.normalization import GroupNorm


@pytest.mark.parametrize("groups", [1, 4, 12])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.03)])
def test_values_and_gradients_equal(groups: int, dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(groups)
    x = 0.5 + torch.randn(3, 12, 10, 6)
    upstream, target = torch.randn(2, 3, 12, 10, 6)
    norm = GroupNorm(groups, 12)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)

    def gradients(image: torch.Tensor, fast: bool) -> list[torch.Tensor]:
        image = image.requires_grad_()
        y = norm(image) if fast else F.group_norm(image, groups, norm.weight, norm.bias, norm.eps)
        loss = (y.float() * upstream + y.float().square() * target).sum()
        return [y, *torch.autograd.grad(loss, [image, norm.weight, norm.bias])]

    last = x.to(dtype, memory_format=torch.channels_last)
    for ours, expected in zip(gradients(last, True), gradients(x, False), strict=True):
        scale = expected.abs().max()
        assert ((ours.float() - expected).abs().max() / scale) < tolerance


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("groups", [1, 4, 12])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.03)])
def test_the_activated_norm_equals_its_steps(
    groups: int, dtype: torch.dtype, tolerance: float, modulated: bool
) -> None:
    torch.manual_seed(groups)
    x, upstream = 0.5 + torch.randn(3, 12, 10, 6), torch.randn(3, 12, 10, 6)
    film = [torch.randn(3, 12).to(dtype).requires_grad_() for _ in range(2 * modulated)]
    norm = GroupNorm(groups, 12)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)

    def gradients(image: torch.Tensor, fast: bool) -> list[torch.Tensor]:
        image = image.requires_grad_()
        if fast:
            y = norm.activated(image, *film)
        else:
            y = F.group_norm(image, groups, norm.weight, norm.bias, norm.eps)
            if modulated:
                scale, shift = (part.float()[..., None, None] for part in film)
                y = y * (1 + scale) + shift
            y = F.silu(y)
        loss = (y.float() * upstream).sum()
        return [y, *torch.autograd.grad(loss, [image, norm.weight, norm.bias, *film])]

    last = x.to(dtype, memory_format=torch.channels_last)
    exact = gradients(last.detach().float().contiguous(), False)
    for ours, expected in zip(gradients(last, True), exact, strict=True):
        expected = expected.float()
        assert ((ours.float() - expected).abs().max() / expected.abs().max()) < tolerance
    before = last.detach().clone()
    with torch.no_grad():
        tested = norm.activated(last, *film).float()
    assert ((tested - exact[0]).abs().max() / exact[0].abs().max()) < tolerance
    assert torch.equal(last, before), "the input was overwritten"
    slow = norm.activated(x, *(part.float() for part in film))
    assert (slow - exact[0]).abs().max() < (1e-4 if dtype == torch.float32 else 0.1)


def test_the_activated_norm_keeps_its_input_only() -> None:
    """For the gradient: the image that came in, and what is small."""
    norm = GroupNorm(2, 4)
    x = torch.randn(2, 4, 8, 8).to(memory_format=torch.channels_last).requires_grad_()
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        norm.activated(x, torch.zeros(2, 4), torch.zeros(2, 4))
    assert [t.data_ptr() == x.data_ptr() for t in kept if t.numel() == x.numel()] == [True]


@pytest.mark.parametrize("shape", [(2, 8, 24, 24), (2, 16, 24, 24), (2, 8, 64, 64)])
def test_half_precision_is_as_exact_as_rounding(shape: tuple[int, ...]) -> None:
    """Whether the image is normalized in float32, or by PyTorch's kernel for half precision."""
    x = torch.randn(shape).to(torch.bfloat16, memory_format=torch.channels_last)
    norm = GroupNorm(1, shape[1])
    with torch.no_grad():
        exact = F.group_norm(x.float(), 1, norm.weight, norm.bias, norm.eps)
        assert norm(x).dtype == torch.bfloat16
        torch.testing.assert_close(norm(x).float(), exact, rtol=2**-7, atol=2**-9)


def test_only_channels_last_images_take_the_fast_path() -> None:
    norm, x = GroupNorm(2, 4), torch.randn(2, 4, 8, 8)
    assert "NativeGroupNorm" in norm(x).grad_fn.name()
    last = x.contiguous(memory_format=torch.channels_last)
    assert "ChannelsLast" in norm(last).grad_fn.name()
    with torch.no_grad():
        assert torch.allclose(norm(last), norm(x), atol=1e-6)
