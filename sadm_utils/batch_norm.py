"""Batch normalization over the whole batch, also where several processes share it.

PyTorch's ``SyncBatchNorm`` does this on GPUs only and knows no sparse tables; this one runs
anywhere and can be tested on two cores.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from sadm_utils import processes


class _SharedBatchNorm(torch.autograd.Function):
    """Normalize by mean and variance over all processes; they need not have as many rows each.

    With x̂ = (x − μ) / σ, y = w x̂ + b and the gradient g of y, dx = w / σ (g − ḡ − x̂ · mean(g x̂)),
    where the means are over all processes as well.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        axes = [0, *range(2, x.dim())]
        values = x.float()
        number = torch.full((1,), values.numel() / values.shape[1], device=x.device)
        first = torch.cat([values.sum(axes), number])
        dist.all_reduce(first)
        mean, number = first[:-1] / first[-1], first[-1]
        # A second pass: the difference of two large sums would lose digits.
        squares = (values - mean.view(_along(x))).square().sum(axes)
        dist.all_reduce(squares)
        variance = squares / number
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt(), number)
        ctx.mark_non_differentiable(mean, variance, number)
        y = F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)
        return y, mean, variance, number

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse_std, number = ctx.saved_tensors
        axes, along = [0, *range(2, x.dim())], _along(x)
        normed = (x.float() - mean.view(along)) * inverse_std.view(along)
        of_bias, of_weight = grad.float().sum(axes), (grad.float() * normed).sum(axes)
        means = torch.stack([of_bias, of_weight])
        dist.all_reduce(means)
        means /= number
        centered = grad.float() - means[0].view(along) - normed * means[1].view(along)
        of_x = centered * (weight.float() * inverse_std).view(along)
        return of_x.to(x.dtype), of_weight, of_bias, None


class BatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d`; in a shared training step its statistics are those of all rows."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept tables (n, C) beside images (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (B, C, …) over all axes but the second."""
        if not (self.training and processes.in_step()):
            return super().forward(x)
        y, mean, variance, number = _SharedBatchNorm.apply(x, self.weight, self.bias, self.eps)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * number / (number - 1), self.momentum)
        return y


def share_statistics(module: nn.Module) -> None:
    """Turn PyTorch's plain batch norms inside ``module`` into the ones of this file, in place."""
    for layer in module.modules():
        if type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            layer.__class__ = BatchNorm2d


def _along(x: Tensor) -> list[int]:
    """Shape that lays a value for each channel along the second axis of ``x``."""
    return [1, -1] + [1] * (x.dim() - 2)
