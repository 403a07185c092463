"""The supervised segmentation network of chapter 5 (paper, section 2.2).

A siamese U-Net looks at the image and at what the diffusion model failed to reconstruct: the signed
residual. One shared encoder reads both, their features are concatenated at each scale, and one
decoder turns them into a map of anomaly logits.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sadm_utils.cddpm.normalization import GroupNorm


def middle_divisor(channels: int) -> int:
    """Choose the number of norm groups: the middle one of the sorted divisors of `channels`.

    64 → 8, 128 → 16, 256 → 16, 512 → 32; the upper middle if their number is even.
    """
    divisors = [d for d in range(1, channels + 1) if channels % d == 0]
    return divisors[len(divisors) // 2]


class StandardizedConv2d(nn.Conv2d):
    """Convolution 3×3 with reflected borders, each filter of which has mean 0 and deviation 1.

    Weight standardization (Qiao et al. 2019): w ← (w − mean) / (std + 1e-5) over the inputs of a
    filter, with the unbiased deviation.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H, W); H and W at least 2."""
        std, mean = torch.std_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        weight = (self.weight - mean) / (std + 1e-5)
        with torch.autocast(x.device.type, enabled=False):  # a CPU would pad in float32
            padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
        return F.conv2d(padded, weight, self.bias)


class ConvBlock(nn.Module):
    """Twice: convolution, SiLU, group norm."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        groups = middle_divisor(out_channels)
        self.conv1 = StandardizedConv2d(in_channels, out_channels)
        self.norm1 = GroupNorm(groups, out_channels)
        self.conv2 = StandardizedConv2d(out_channels, out_channels)
        self.norm2 = GroupNorm(groups, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H, W)."""
        x = self.norm1(F.silu(self.conv1(x), inplace=not torch.is_grad_enabled()))
        return self.norm2(F.silu(self.conv2(x), inplace=not torch.is_grad_enabled()))


class UpBlock(nn.Module):
    """Double the resolution, concatenate the features of the way down, convolve."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
        self.block = ConvBlock(out_channels + skip_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map (B, in, H/2, W/2) and the skip (B, skip, H, W) to (B, out, H, W)."""
        return self.block(torch.cat([self.up(x), skip], dim=1))


class SegmentationUNet(nn.Module):
    """Segment anomalies from an image and its reconstruction.

    With the defaults, the network of the rows Unet_res and SADM_res in the paper's Table 1, with
    16,736,705 parameters.

    Parameters
    ----------
    width : int
        Channels of the first scale; they double at each further one.
    depth : int
        Number of scales. The paper's text says 3; its released code and this book use 4.
    residual : bool
        False for the rows Unet and SADM: the encoder reads the image only. The decoder keeps its
        widths, and only the inputs of its convolutions shrink, since there are half as many
        features to join: 14,139,841 parameters.
    """

    def __init__(self, width: int = 64, depth: int = 4, residual: bool = True) -> None:
        super().__init__()
        self.residual, self.depth = residual, depth
        channels = [width * 2**i for i in range(depth)]
        branches = 2 if residual else 1
        self.down = nn.ModuleList(
            ConvBlock(cin, cout) for cin, cout in zip([1, *channels], channels, strict=False)
        )
        self.up = nn.ModuleList()
        current = branches * channels[-1]
        for wide in reversed(channels[:-1]):
            self.up.append(UpBlock(current, branches * wide, 2 * wide))
            current = 2 * wide
        self.head = nn.Conv2d(current, 1, 1)

    def encode(self, x: Tensor) -> list[Tensor]:
        """Encode images (B, 1, H, W) into features of each scale, (B, width·2^i, H/2^i, W/2^i)."""
        features, x = [], self._fill_up(x)
        for i, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2) if i > 0 else x)
            features.append(x)
        return features

    def forward(
        self, reconstruction: Tensor | None, image: Tensor, known: list[Tensor] | None = None
    ) -> Tensor:
        """Predict anomaly logits; their sigmoid is the supervised map ŷ.

        Parameters
        ----------
        reconstruction : Tensor or None
            Reconstruction x̂ on the [0, 1] scale, (B, 1, H, W); unused if `residual` is False.
        image : Tensor
            Image x in [0, 1], (B, 1, H, W); sides that cannot be halved `depth` − 1 times are
            filled up with background on the way in.
        known : list of Tensor, optional
            Features of the image from `encode`, which are the same for all its reconstructions.

        Returns
        -------
        Tensor
            Logits, (B, 1, H, W).
        """
        if not self.residual:
            features = self.encode(image)
        elif reconstruction is None:
            raise ValueError("A network with residual=True needs a reconstruction.")
        elif known is not None:
            own = self.encode(image - reconstruction)
            features = [torch.cat(pair, dim=1) for pair in zip(own, known, strict=True)]
        else:  # both branches in one batch: no operation of the encoder mixes images
            both = self.encode(torch.cat([image - reconstruction, image]))
            features = [torch.cat(f.chunk(2), dim=1) for f in both]
        x = features.pop()
        for block in self.up:
            x = block(x, features.pop())
        return self.head(x)[..., : image.shape[-2], : image.shape[-1]]

    def _fill_up(self, x: Tensor) -> Tensor:
        """Add zeros at the right and at the bottom, up to a multiple of the coarsest pixel."""
        stride = 2 ** (self.depth - 1)
        return F.pad(x, (0, -x.shape[-1] % stride, 0, -x.shape[-2] % stride))
