"""The conditional denoising U-Net of chapter 4 (paper, section 2.1; base model arXiv 2312.04215).

One network serves all noise levels: the time step and the condition vector are embedded once, and
every residual block scales and shifts its features by a linear function of that embedding (FiLM).
The resolution halves between levels; features of the way down are concatenated on the way up.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sadm_utils.cddpm.normalization import GroupNorm

Resample = Literal["down", "up"]


def timestep_embedding(t: Tensor, width: int, max_period: float = 10_000.0) -> Tensor:
    """Encode time steps as cosines and sines of geometrically spaced frequencies.

    Parameters
    ----------
    t : Tensor
        Step indices, shape (B,), from 0.
    width : int
        Number of features, even.
    max_period : float
        Longest period divided by 2π, in steps.

    Returns
    -------
    Tensor
        [cos(t f_k) | sin(t f_k)], f_k = exp(-ln(max_period) k / (width / 2)); float32 (B, width).
    """
    k = torch.arange(width // 2, dtype=torch.float32, device=t.device)
    frequency = torch.exp(-math.log(max_period) * k / (width // 2))
    angle = t[:, None].float() * frequency[None]
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def group_norm(channels: int, groups: int = 32) -> GroupNorm:
    """Group normalization that fits any width: gcd(`groups`, `channels`) groups.

    This equals `groups` whenever it divides the channels (as in the paper: 32 groups of 128, 256,
    384 or 512 channels). Narrow networks get fewer groups, e.g. 16 groups for 16 or 48 channels.
    """
    return GroupNorm(math.gcd(groups, channels), channels, eps=1e-5)


def conv3x3(in_channels: int, out_channels: int, zero: bool = False) -> nn.Conv2d:
    """Convolution 3×3 that keeps the size; `zero` starts it at 0, so that its branch is silent."""
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    if zero:
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)
    return conv


class ResidualBlock(nn.Module):
    """Two convolutions with a FiLM modulation between them, added to the input.

    h = conv1(resample(SiLU(GN(x))))
    h = GN(h)·(1 + s) + b
    out = skip(resample(x)) + conv2(SiLU(h))

    where [s | b] is linear in the embedding. `resample` halves ("down", 2×2 mean) or doubles ("up",
    nearest) the resolution in both branches; None keeps it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding_dim: int,
        groups: int = 32,
        resample: Resample | None = None,
    ) -> None:
        super().__init__()
        self.resample = resample
        self.norm1 = group_norm(in_channels, groups)
        self.conv1 = conv3x3(in_channels, out_channels)
        self.film = nn.Linear(embedding_dim, 2 * out_channels)
        self.norm2 = group_norm(out_channels, groups)
        self.conv2 = conv3x3(out_channels, out_channels, zero=True)
        same = in_channels == out_channels
        self.skip = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def _resize(self, x: Tensor) -> Tensor:
        if self.resample == "down":
            return F.avg_pool2d(x, 2)
        if self.resample == "up":
            return F.interpolate(x, scale_factor=2.0, mode="nearest")
        return x

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map (B, in, H, W) and the activated embedding (B, E) to (B, out, H', W')."""
        h = self.conv1(self._resize(self.norm1.activated(x)))
        scale, shift = self.film(embedding).chunk(2, dim=1)
        h = self.norm2.activated(h, scale, shift)
        return self.skip(self._resize(x)) + self.conv2(h)


class SelfAttention(nn.Module):
    """Multi-head self-attention over all positions of a feature map, added to the input."""

    def __init__(self, channels: int, head_channels: int = 64, groups: int = 32) -> None:
        super().__init__()
        self.heads = max(1, channels // head_channels)
        if channels % self.heads:
            raise ValueError(f"{channels} channels do not divide into {self.heads} heads.")
        self.norm = group_norm(channels, groups)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape: softmax(q kᵀ / √d) v per head of d channels."""
        batch, channels, height, width = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        qkv = self.qkv(tokens).view(batch, height * width, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v)
        out = self.out(attended.transpose(1, 2).reshape(batch, height * width, channels))
        return x + out.transpose(1, 2).view(batch, channels, height, width)


class UNet(nn.Module):
    """Predict the clean image x0 from a noisy one, its time step, and a condition vector.

    With the defaults, the paper's network: 44,068,481 parameters, 27 residual blocks, attention
    only in the middle.

    Parameters
    ----------
    width : int
        Channels C of the first level (even; 128 in the paper).
    blocks : int
        Residual blocks per level on the way down (one more on the way up).
    multipliers : sequence of int
        Channels of each level in units of C. The paper's text says (1, 1, 2); its released code
        and this book use (1, 2, 2).
    cond_dim : int or None
        Length of the condition vector; None means 4C, and 0 a network without condition.
    head_channels : int
        Channels per attention head; a narrower middle gets a single head.
    groups : int
        Groups of the group normalization where they divide the channels, see `group_norm`.
    """

    def __init__(
        self,
        width: int = 128,
        blocks: int = 3,
        multipliers: Sequence[int] = (1, 2, 2),
        cond_dim: int | None = None,
        head_channels: int = 64,
        groups: int = 32,
    ) -> None:
        super().__init__()
        self.width, self.levels = width, len(multipliers)
        self.cond_dim = 4 * width if cond_dim is None else cond_dim
        self.time_mlp = _mlp(width, 4 * width)
        self.cond_mlp = _mlp(self.cond_dim, 4 * width) if self.cond_dim else None
        embedding = 8 * width if self.cond_dim else 4 * width

        def block(cin: int, cout: int, resample: Resample | None = None) -> ResidualBlock:
            return ResidualBlock(cin, cout, embedding, groups, resample)

        channels = [m * width for m in multipliers]
        current = channels[0]
        self.stem = conv3x3(1, current)
        self.down, skips = nn.ModuleList(), [current]
        for level, wide in enumerate(channels):
            if level > 0:
                self.down.append(block(current, current, "down"))
                skips.append(current)
            for _ in range(blocks):
                self.down.append(block(current, wide))
                current = wide
                skips.append(current)
        self.middle1 = block(current, current)
        self.attention = SelfAttention(current, head_channels, groups)
        self.middle2 = block(current, current)
        self.up = nn.ModuleList()
        for level, wide in reversed(list(enumerate(channels))):
            for _ in range(blocks + 1):
                self.up.append(block(current + skips.pop(), wide))
                current = wide
            if level > 0:
                self.up.append(block(current, current, "up"))
        self.head_norm = group_norm(current, groups)
        self.head = conv3x3(current, 1, zero=True)

    def embed(self, t: Tensor, cond: Tensor) -> Tensor:
        """Embed steps (B,) and conditions (B, cond_dim): (B, 8C); without condition (B, 4C)."""
        time = self.time_mlp(timestep_embedding(t, self.width))
        return time if self.cond_mlp is None else torch.cat([time, self.cond_mlp(cond)], dim=1)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """Predict x0.

        Parameters
        ----------
        x : Tensor
            Noisy images on the [-1, 1] scale, (B, 1, H, W); H and W divisible by 2^(levels - 1).
        t : Tensor
            Step indices, (B,).
        cond : Tensor
            Condition vectors, (B, cond_dim).

        Returns
        -------
        Tensor
            Predicted clean images on the [-1, 1] scale, (B, 1, H, W).
        """
        stride = 2 ** (self.levels - 1)
        if x.shape[-2] % stride or x.shape[-1] % stride:
            raise ValueError(f"Image size {tuple(x.shape[-2:])} is not divisible by {stride}.")
        embedding = F.silu(self.embed(t, cond))
        h = self.stem(x)
        skips = [h]
        for block in self.down:
            h = block(h, embedding)
            skips.append(h)
        h = self.middle2(self.attention(self.middle1(h, embedding)), embedding)
        for block in self.up:
            if block.resample is None:
                h = torch.cat([h, skips.pop()], dim=1)
            h = block(h, embedding)
        return self.head(self.head_norm.activated(h))


def _mlp(in_features: int, out_features: int) -> nn.Sequential:
    """Two linear layers with a SiLU between them."""
    return nn.Sequential(
        nn.Linear(in_features, out_features), nn.SiLU(), nn.Linear(out_features, out_features)
    )
