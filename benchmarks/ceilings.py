"""What the machine can do at most: convolutions and bytes a second, measured here and now."""

from __future__ import annotations

from functools import cache
from statistics import median
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import interleave

#: (batch, channels, side) of the 3×3 convolutions that the U-Net spends its time in.
SHAPES = ((8, 128, 96), (8, 256, 48), (16, 256, 24))
QUICK_SHAPES = ((1, 32, 24),)


@cache
def convolution_rate(bf16: bool, quick: bool = False) -> float:
    """FLOP/s of 3×3 convolutions stored channels last: the best shape's median."""
    kind = torch.bfloat16 if bf16 else torch.float32
    rates = []
    for batch, channels, side in QUICK_SHAPES if quick else SHAPES:
        x = torch.randn(batch, channels, side, side).to(kind, memory_format=torch.channels_last)
        weight = torch.randn(channels, channels, 3, 3)
        weight = weight.to(kind, memory_format=torch.channels_last)

        def work(x: torch.Tensor = x, weight: torch.Tensor = weight) -> None:
            with torch.no_grad():
                F.conv2d(x, weight, padding=1)

        seconds = median(interleave({"conv": work}, 2 if quick else 10, limit=5)["conv"].wall)
        rates.append(2 * 9 * channels**2 * side**2 * batch / seconds)
    return max(rates)


@cache
def product_rate(quick: bool = False) -> float:
    """FLOP/s of products of square matrices in float32."""
    size = 256 if quick else 2048
    a, b = torch.randn(size, size), torch.randn(size, size)
    timing = interleave({"product": lambda: a @ b}, 2 if quick else 10, limit=5)["product"]
    return 2 * size**3 / timing.seconds


@cache
def bandwidth(quick: bool = False) -> float:
    """Bytes a second that a copy reads and writes, of arrays that no cache can hold."""
    x = torch.zeros(2**18 if quick else 2**26)
    y = torch.ones_like(x)
    timing = interleave({"copy": lambda: y.copy_(x)}, 3 if quick else 10, limit=5)["copy"]
    return 2 * x.numel() * x.element_size() / timing.seconds


@torch.no_grad()
def forward_flops(network: torch.nn.Module, *inputs: Any, **named: Any) -> float:
    """Floating-point operations of one call of a network (convolutions and matrix products)."""
    training = network.training
    with FlopCounterMode(display=False) as counter:
        network.eval()(*inputs, **named)
    network.train(training)
    return float(counter.get_total_flops())


def all_ceilings(quick: bool = False) -> dict[str, float]:
    """The four ceilings, in GFLOP/s and GB/s."""
    return {
        "convolution_float32_gflops": convolution_rate(False, quick) / 1e9,
        "convolution_bfloat16_gflops": convolution_rate(True, quick) / 1e9,
        "product_float32_gflops": product_rate(quick) / 1e9,
        "bandwidth_gb_s": bandwidth(quick) / 1e9,
    }
