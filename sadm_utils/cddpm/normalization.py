"""Group normalization with a fast gradient for images stored channels last (chapter 4)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable


class _ChannelsLastGroupNorm(torch.autograd.Function):
    """PyTorch's group norm with a gradient of our own.

    With x̂ = (x − μ) / σ per group and y = w x̂ + b, let S0 and S1 be the means over a group of the
    gradients w g and of w g x̂. Then dx = (w g − S0 − x̂ S1) / σ, which is linear in g and in x with
    factors that are constant over an image: two sums and one multiply-add over the pixels.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float
    ) -> Tensor:
        batch, channels, height, width = x.shape
        y, mean, inverse_std = torch.native_group_norm(
            x, weight, bias, batch, channels, height * width, groups, eps
        )
        ctx.save_for_backward(x, weight, mean.float(), inverse_std.float())
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse_std = ctx.saved_tensors
        shape = (*mean.shape, -1)  # (batch, groups, channels of a group)
        mean, inverse_std = mean[..., None], inverse_std[..., None]
        gain = weight.float().view(shape[1:])
        size = x[0].numel() // shape[1]

        # PyTorch sums in float32 whatever the type; only the result is rounded to it.
        sum_grad = grad.sum((2, 3)).float().view(shape)
        sum_grad_x = (grad * x).sum((2, 3)).float().view(shape)
        sum_grad_normed = (sum_grad_x - mean * sum_grad) * inverse_std
        s0 = (gain * sum_grad).sum(2, keepdim=True) / size
        s1 = (gain * sum_grad_normed).sum(2, keepdim=True) / size

        def per_channel(factor: Tensor) -> Tensor:
            return factor.expand(-1, -1, gain.shape[1]).reshape(*x.shape[:2], 1, 1).to(x.dtype)

        of_x = -s1 * inverse_std**2
        offset = -s0 * inverse_std - of_x * mean
        grad_x = torch.addcmul(per_channel(offset), x, per_channel(of_x))
        grad_x.addcmul_(grad, per_channel(inverse_std * gain))
        return grad_x, sum_grad_normed.sum(0).flatten(), sum_grad.sum(0).flatten(), None, None


class GroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm`, with the same values and parameters, but faster to train on a CPU.

    For channels-last images on a CPU, PyTorch 2.13's own gradient takes up to nine times as long,
    half of a training step. Elsewhere this is PyTorch's layer.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (B, C, H, W) over the pixels and the channels of each group."""
        channels_last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
        if channels_last and x.device.type == "cpu" and torch.is_grad_enabled():
            return _ChannelsLastGroupNorm.apply(
                x, self.weight, self.bias, self.num_groups, self.eps
            )
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
