"""An autoencoder without skip connections: what it rebuilds has gone through its bottleneck."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from sadm_utils.sadm.network import ConvBlock
from sadm_utils.spark.model import fill_patches


def grow(in_channels: int, out_channels: int) -> nn.Sequential:
    """Double the resolution and convolve: (B, in, H, W) to (B, out, 2H, 2W)."""
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2),
        ConvBlock(out_channels, out_channels),
    )


class ConvAutoencoder(nn.Module):
    """Rebuild images or feature maps from a small map of many channels.

    Parameters
    ----------
    channels
        Of the input and of the output.
    width
        Channels of the first scale; they double at each further one.
    depth
        Number of scales: the bottleneck has 1/2^(depth − 1) of the input's sides.
    """

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(depth)]
        self.down = nn.ModuleList(
            ConvBlock(cin, cout) for cin, cout in zip([channels, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            grow(wide, narrow) for narrow, wide in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.head = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Rebuild (B, channels, H, W), not clipped; odd sizes are filled up on the way."""
        height, width = x.shape[-2:]
        x = fill_patches(x, 2 ** (len(self.down) - 1))
        for i, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2) if i > 0 else x)
        for block in self.up:
            x = block(x)
        return self.head(x)[..., :height, :width]
