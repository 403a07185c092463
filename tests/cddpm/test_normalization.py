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


def test_only_channels_last_images_take_the_fast_path() -> None:
    norm, x = GroupNorm(2, 4), torch.randn(2, 4, 8, 8)
    assert "NativeGroupNorm" in norm(x).grad_fn.name()
    last = x.contiguous(memory_format=torch.channels_last)
    assert "ChannelsLast" in norm(last).grad_fn.name()
    with torch.no_grad():
        assert torch.allclose(norm(last), norm(x), atol=1e-6)
