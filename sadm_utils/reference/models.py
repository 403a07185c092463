"""The released code's models at its two sizes, made of this book's networks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sadm_utils.cddpm.diffusion import GaussianDiffusion
from sadm_utils.cddpm.unet import UNet
from sadm_utils.sadm.network import SegmentationUNet
from sadm_utils.spark.model import SparK
from sadm_utils.spark.resnet import ResNet

SCHEDULE_BUFFERS = (
    "betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod", "log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod", "posterior_variance", "posterior_log_variance_clipped",
    "posterior_mean_coef1", "posterior_mean_coef2", "p2_loss_weight",
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """What sets a size: U-Net width, depth of the encoder, slice edge in pixels."""

    width: int
    depth: int
    pixels: int

    @property
    def text(self) -> str:
        return (
            f"U-Net width {self.width}, {self.pixels}×{self.pixels} slices, ResNet-{self.depth}, "
            f"condition {4 * self.width}"
        )


SIZES = {"paper": Size(128, 50, 96), "small": Size(32, 18, 64)}


class ReleasedDiffusion(nn.Module):
    """The released ``DDPM_2D``: conditioning encoder, U-Net and schedule."""

    def __init__(self, encoder: ResNet, unet: UNet) -> None:
        super().__init__()
        self.encoder, self.unet = encoder, unet
        self.diffusion = GaussianDiffusion(1000)

    def reconstruct(self, image: Tensor, t: Tensor | int, noise: Tensor | None = None) -> Tensor:
        """Reconstruct images in one step.

        Parameters
        ----------
        image
            (B, 1, H, W) in [0, 1].
        t
            Step index 0 … 999, one for all or (B,). The paper's t = 250 is index 249.
        noise
            ε, (B, 1, H, W); by default simplex noise.

        Returns
        -------
        x̂ on the [0, 1] scale, not clipped, float32 (B, 1, H, W).
        """
        return self.diffusion.reconstruct(self.unet, image, t, self.encoder(image), noise)


class ReleasedSadm(nn.Module):
    """The released ``SADM_2D``: a diffusion model and the segmentation network on top of it."""

    def __init__(self, cddpm: ReleasedDiffusion, network: SegmentationUNet) -> None:
        super().__init__()
        self.cddpm, self.network = cddpm, network

    def reconstruct(self, image: Tensor, t: Tensor | int, noise: Tensor | None = None) -> Tensor:
        """See :meth:`ReleasedDiffusion.reconstruct`."""
        return self.cddpm.reconstruct(image, t, noise)

    def score(self, image: Tensor, reconstruction: Tensor) -> Tensor:
        """The supervised map ŷ in [0, 1] of images and their reconstructions, (B, 1, H, W)."""
        return self.network(reconstruction, image).sigmoid()


#: Each kind of model: where its networks lie in the state dict (prefix, attribute of the model).
#: The prefix of a whole Lightning module leads to the names of :mod:`sadm_utils.reference.names`.
NETWORKS: dict[str, tuple[tuple[str, str], ...]] = {
    "unet": (("", ""),),
    "encoder": (("", ""),),
    "spark": (("", ""),),
    "segunet": (("", ""),),
    "cddpm": (("encoder.", "encoder"), ("diffusion.model.", "unet")),
    "sadm": (
        ("encoder.", "cddpm.encoder"),
        ("diffusion.model.", "cddpm.unet"),
        ("SegUnet.", "network"),
    ),
}


def build(kind: str, size: str) -> nn.Module:
    """Build an untrained model of ``kind`` (a key of :data:`NETWORKS`) and ``size``."""
    scale = SIZES[size]
    if kind == "unet":
        return UNet(scale.width)
    if kind == "encoder":
        return ResNet(scale.depth, 64, 1, 4 * scale.width)
    if kind == "spark":
        return SparK(scale.depth)
    if kind == "segunet":
        return SegmentationUNet()
    if kind == "cddpm":
        return ReleasedDiffusion(build("encoder", size), build("unet", size))
    return ReleasedSadm(build("cddpm", size), build("segunet", size))


def unused_entries(kind: str, size: str) -> dict[str, tuple[int, ...]]:
    """Entries of a state dict that no network here needs, and their shapes.

    SparK's normalization of natural images is never used, and of the schedule's buffers the two
    that are needed are computed.
    """
    if kind == "spark":
        pixels = SIZES[size].pixels
        return {
            "imn_m": (1, 3, 1, 1), "imn_s": (1, 3, 1, 1), "norm_black": (1, 3, pixels, pixels),
        }  # fmt: skip
    if kind in ("cddpm", "sadm"):
        return {f"diffusion.{name}": (1000,) for name in SCHEDULE_BUFFERS}
    return {}


def on_meta(kind: str, size: str) -> nn.Module:
    """The same without memory, to look at its names and shapes."""
    with torch.device("meta"):
        return build(kind, size)
