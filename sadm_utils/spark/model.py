"""SparK: masked-image pretraining of a convolutional encoder.

Hide 65 % of the patches, encode what is left with sparse layers, fill the holes of the four feature
maps with learned tokens (*densify*), and let a light decoder paint the hidden patches.  The loss
looks at hidden patches only.  The decoder is thrown away; the encoder goes on to condition the
diffusion model.  (SADM paper, section 2; Tian et al., "Designing BERT for convolutional networks:
sparse and hierarchical masked modeling", ICLR 2023.)
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sadm_utils.errors import UserError
from sadm_utils.processes import rows
from sadm_utils.spark.resnet import ResNet
from sadm_utils.spark.sparse import SparseBatchNorm2d, Visible

#: Each decoder stage doubles the resolution: 2⁵ = 32, the stride of the encoder.
STAGES = 5


def random_mask(
    batch: int,
    grid: tuple[int, int],
    ratio: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Choose the visible patches of each image at random, the same number in every image.

    Parameters
    ----------
    batch : int
        Number of images.
    grid : (int, int)
        Patch rows and columns.
    ratio : float
        Share of patches to hide, in (0, 1).  At least one patch stays visible, at least one hidden:
        0.65 shows 3 of 9 patches, 1 of 4.
    generator : torch.Generator, optional
        Source of randomness, on the CPU.

    Returns
    -------
    Tensor
        (batch, 1, rows, columns) bool, True = visible.
    """
    patches = grid[0] * grid[1]
    count = min(max(round(patches * (1 - ratio)), 1), patches - 1)
    draw = rows(lambda n: torch.rand(n, patches, generator=generator), batch)
    rank = draw.argsort(dim=1).argsort(dim=1)
    return (rank < count).view(batch, 1, *grid)


def fill_patches(image: Tensor, patch: int = 32) -> Tensor:
    """Add background at the right and at the bottom, so that patches tile (B, C, H, W)."""
    height, width = image.shape[-2:]
    return F.pad(image, (0, -width % patch, 0, -height % patch))


class Densify(nn.Module):
    """Turn a sparse feature map into a dense one for the decoder.

    Sparse norm, a learned token at every hidden position, then a convolution to the decoder's
    channels (1×1 for the deepest map, or none where the channels agree; 3×3 for the others).
    """

    def __init__(self, in_channels: int, out_channels: int, deepest: bool) -> None:
        super().__init__()
        self.norm = SparseBatchNorm2d(in_channels)
        self.token = nn.Parameter(torch.zeros(1, in_channels, 1, 1))
        nn.init.trunc_normal_(self.token, std=0.02)
        if deepest and in_channels == out_channels:
            self.project: nn.Module = nn.Identity()
        else:
            size = 1 if deepest else 3
            self.project = nn.Conv2d(in_channels, out_channels, size, padding=size // 2)

    def forward(self, features: Tensor, visible: Visible) -> Tensor:
        normalized = self.norm(features, visible)
        where = visible.at(*features.shape[-2:])
        return self.project(torch.where(where, normalized, self.token.to(normalized.dtype)))


class DecoderStage(nn.Module):
    """Double the resolution and halve the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.bn1(self.conv1(self.up(x))))
        return self.bn2(self.conv2(x))


class Decoder(nn.Module):
    """A light U-Net decoder: each dense map, from deep to shallow, joins before its stage."""

    def __init__(self, width: int, out_channels: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(DecoderStage(width // 2**i) for i in range(STAGES))
        self.head = nn.Conv2d(width // 2**STAGES, out_channels, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        x = torch.zeros_like(maps[0])
        for i, stage in enumerate(self.stages):
            x = stage(x + maps[i] if i < len(maps) else x)
        return self.head(x)


class SparK(nn.Module):
    """Masked autoencoder with a sparse ResNet.

    Parameters
    ----------
    depth, width, in_channels, drop_path
        Of the encoder, see :class:`~sadm_utils.spark.resnet.ResNet`.  Paper: depth 50, width 64,
        37,964,305 parameters in all.
    decoder_width : int
        Channels of the decoder's first stage, a multiple of 32; the five stages have
        1, 1/2, 1/4, 1/8 and 1/16 of it and the last one ends with 1/32.  Paper: 512.
    patch : int
        Side of a patch in pixels, a multiple of the encoder's stride, 32.
    mask_ratio : float
        Share of hidden patches, in (0, 1).
    """

    def __init__(
        self,
        depth: int = 18,
        width: int = 64,
        in_channels: int = 1,
        decoder_width: int = 512,
        patch: int = 32,
        mask_ratio: float = 0.65,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if decoder_width % 2**STAGES:
            raise ValueError(f"decoder_width must be a multiple of 32, not {decoder_width}")
        if patch % ResNet.stride:
            raise ValueError(f"patch must be a multiple of {ResNet.stride}, not {patch}")
        if not 0 < mask_ratio < 1:
            raise ValueError(f"mask_ratio must lie between 0 and 1, not {mask_ratio}")
        self.patch, self.mask_ratio = patch, mask_ratio
        self.encoder = ResNet(depth, width, in_channels, drop_path=drop_path)
        self.densify = nn.ModuleList(
            Densify(channels, decoder_width // 2**i, deepest=i == 0)
            for i, channels in enumerate(reversed(self.encoder.channels))
        )
        self.decoder = Decoder(decoder_width, in_channels)

    def grid(self, image: Tensor) -> tuple[int, int]:
        """Patch rows and columns of an image (B, C, H, W).

        Raises
        ------
        UserError
            If the sides are not multiples of the patch, or hold fewer than two patches.
        """
        height, width = image.shape[-2:]
        if height % self.patch or width % self.patch or min(height, width) < 2 * self.patch:
            raise UserError(
                f"SparK cuts slices into patches of {self.patch}×{self.patch} pixels and needs at "
                f"least 2×2 of them, but these slices have {height}×{width} pixels: fill them up "
                "with fill_patches, or choose smaller voxels."
            )
        return height // self.patch, width // self.patch

    def reconstruct(self, image: Tensor, active: Tensor) -> Tensor:
        """Paint the whole image from its visible patches; hidden pixels are never read.

        Parameters
        ----------
        image : Tensor
            (B, C, H, W) in [0, 1].
        active : Tensor
            (B, 1, H/patch, W/patch) bool, True = visible.

        Returns
        -------
        Tensor
            (B, C, H, W), not clipped.  Only hidden patches are trained.
        """
        visible = Visible(active)
        maps = self.encoder.features(visible.keep(image), visible)
        dense = [
            densify(features, visible)
            for densify, features in zip(self.densify, reversed(maps), strict=True)
        ]
        return self.decoder(dense)

    def forward(
        self,
        image: Tensor,
        active: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Hide, reconstruct, compare.

        Parameters
        ----------
        image : Tensor
            (B, C, H, W) in [0, 1].
        active : Tensor, optional
            Visible patches (B, 1, H/patch, W/patch); None draws them with :func:`random_mask`.
        generator : torch.Generator, optional
            For that draw, on the CPU.

        Returns
        -------
        (Tensor, Tensor)
            The mean squared error over hidden patches (scalar, float32), and the reconstruction
            (B, C, H, W).

        Raises
        ------
        UserError
            See :meth:`grid`.
        """
        grid = self.grid(image)
        if active is None:
            active = random_mask(image.shape[0], grid, self.mask_ratio, generator)
        active = active.to(image.device)
        reconstruction = self.reconstruct(image, active)
        hidden = ~Visible(active).at(*image.shape[-2:])
        error = (reconstruction - image) ** 2
        return (error * hidden).sum() / (hidden.sum() * image.shape[1]), reconstruction


def encoder_state(spark_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's part of a :class:`SparK` state dict, under the names of a dense ``ResNet``.

    It holds everything but ``fc.weight`` and ``fc.bias``, which pretraining does not have.
    """
    prefix = "encoder."
    return {k.removeprefix(prefix): v for k, v in spark_state.items() if k.startswith(prefix)}


def load_pretrained(encoder: ResNet, spark_state: Mapping[str, Tensor]) -> None:
    """Initialize a dense encoder from SparK in place; its last linear layer stays as it is.

    Raises
    ------
    UserError
        If names or shapes differ, that is if the two encoders have other depths or widths.
    """
    own = encoder.state_dict()
    given = encoder_state(spark_state)
    expected = {name: tensor.shape for name, tensor in own.items() if not name.startswith("fc.")}
    if expected != {name: tensor.shape for name, tensor in given.items()}:
        raise UserError(
            "The SparK weights belong to an encoder of another depth or width: pretrain again "
            "(notebook 03) with the encoder settings of this run, or run without pretraining."
        )
    encoder.load_state_dict({**own, **given})
