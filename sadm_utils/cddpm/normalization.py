"""Group normalization with a fast gradient for images stored channels last (chapter 4)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

FEW_PIXELS, LANES = 2048, 16


def _normalize(
    x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """PyTorch's group norm of (B, C, H, W): its result, and mean and 1 / σ of each group (B, G).

    In half precision, PyTorch 2.13 has a slow way for small channels-last images: below 2048
    pixels, unless the channels of a group fill its 16 lanes, it takes three to six times as long as
    in float32. These images are normalized in float32, and rounded once.
    """
    batch, channels, height, width = x.shape
    pixels = height * width
    mixed = x.dtype in (torch.bfloat16, torch.float16) and weight.dtype == torch.float32
    slow = mixed and pixels < FEW_PIXELS and bool(channels // groups % LANES)
    y, mean, inverse_std = torch.native_group_norm(
        x.float() if slow else x, weight, bias, batch, channels, pixels, groups, eps
    )
    return y.to(x.dtype), mean, inverse_std


class _ChannelsLastNorm(torch.autograd.Function):
    """PyTorch's group norm, a modulation and SiLU behind it, with a gradient of our own.

    With x̂ = (x − μ) / σ per group, y = (w x̂ + b)(1 + s) + t, and g the gradient of y: y is linear
    in x̂ with the gain a = w (1 + s). Let S0 and S1 be the means over a group of a g and of a g x̂.
    Then dx = (a g − S0 − x̂ S1) / σ, which is linear in g and in x with factors that are constant
    over an image: two sums and one multiply-add over the pixels. y itself is not kept for the
    gradient: one multiply-add makes it again from x, so a block of the U-Net keeps four images of
    seven.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        scale: Tensor | None,
        shift: Tensor | None,
        groups: int,
        eps: float,
        activate: bool,
    ) -> Tensor:
        y, mean, inverse_std = _normalize(x, weight, bias, groups, eps)
        if scale is not None and shift is not None:
            torch.addcmul(shift[..., None, None], y, 1 + scale[..., None, None], out=y)
        ctx.save_for_backward(x, weight, bias, scale, shift, mean.float(), inverse_std.float())
        ctx.activate = activate
        return F.silu(y, inplace=True) if activate else y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, scale, shift, mean, inverse_std = ctx.saved_tensors
        shape = (*mean.shape, -1)  # (batch, groups, channels of a group)
        mean, inverse_std = mean[..., None], inverse_std[..., None]
        weight, bias = weight.float().view(shape[1:]), bias.float().view(shape[1:])
        factor = torch.ones(()) if scale is None else 1 + scale.float().view(shape)
        gain = (weight * factor).expand(*mean.shape[:2], -1)
        size = x[0].numel() // shape[1]

        def per_channel(value: Tensor) -> Tensor:
            return value.expand_as(gain).reshape(*x.shape[:2], 1, 1).to(x.dtype)

        if ctx.activate:
            start = bias * factor - mean * inverse_std * gain
            start = start if shift is None else start + shift.float().view(shape)
            y = torch.addcmul(per_channel(start), x, per_channel(inverse_std * gain))
            grad = torch.ops.aten.silu_backward(grad, y)
            products = torch.mul(grad, x, out=y)
        else:
            products = grad * x
        # PyTorch sums in float32 whatever the type; only the result is rounded to it.
        sum_grad = grad.sum((2, 3)).float().view(shape)
        sum_grad_x = products.sum((2, 3)).float().view(shape)
        sum_grad_normed = (sum_grad_x - mean * sum_grad) * inverse_std
        s0 = (gain * sum_grad).sum(2, keepdim=True) / size
        s1 = (gain * sum_grad_normed).sum(2, keepdim=True) / size

        of_x = -s1 * inverse_std**2
        offset = -s0 * inverse_std - of_x * mean
        grad_x = torch.addcmul(per_channel(offset), x, per_channel(of_x))
        grad_x.addcmul_(grad, per_channel(inverse_std * gain))
        of_weight = (factor * sum_grad_normed).sum(0).flatten()
        of_bias = (factor * sum_grad).sum(0).flatten()
        of_scale = of_shift = None
        if scale is not None and shift is not None:
            of_scale = (weight * sum_grad_normed + bias * sum_grad).view_as(scale).to(scale.dtype)
            of_shift = sum_grad.reshape(shift.shape).to(shift.dtype)
        return grad_x, of_weight, of_bias, of_scale, of_shift, None, None, None


class GroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm`, with the same values and parameters, but faster on a CPU.

    For channels-last images on a CPU, PyTorch 2.13's own gradient takes up to nine times as long,
    half of a training step, and small images have another way (``_normalize``). Elsewhere this is
    PyTorch's layer.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (B, C, H, W) over the pixels and the channels of each group."""
        if self._trains_channels_last(x):
            return self._fast(x, None, None, False)
        if self._is_fast_place(x):
            return _normalize(x, self.weight, self.bias, self.num_groups, self.eps)[0]
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def activated(
        self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None
    ) -> Tensor:
        """SiLU(GN(x)(1 + scale) + shift): the same values as step by step, in less memory.

        Parameters
        ----------
        x : Tensor
            Images (B, C, H, W).
        scale, shift : Tensor or None
            The modulation (FiLM), (B, C); both or none.
        """
        if self._trains_channels_last(x):
            return self._fast(x, scale, shift, True)
        y = self(x)
        if scale is not None and shift is not None:
            y = torch.addcmul(shift[..., None, None], y, 1 + scale[..., None, None])
        return F.silu(y, inplace=not torch.is_grad_enabled())

    def _trains_channels_last(self, x: Tensor) -> bool:
        return self._is_fast_place(x) and torch.is_grad_enabled()

    @staticmethod
    def _is_fast_place(x: Tensor) -> bool:
        channels_last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
        return channels_last and x.device.type == "cpu"

    def _fast(
        self, x: Tensor, scale: Tensor | None, shift: Tensor | None, activate: bool
    ) -> Tensor:
        return _ChannelsLastNorm.apply(
            x, self.weight, self.bias, scale, shift, self.num_groups, self.eps, activate
        )
