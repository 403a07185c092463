"""DAE: remove coarse noise from a slice, and with it what looks like it (Kascenas et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sadm_utils.baselines.method import ReconstructionBaseline
from sadm_utils.cddpm.noise import coarse_noise
from sadm_utils.config import Config
from sadm_utils.sadm.network import SegmentationUNet

DEPTH = 4


class DenoisingAutoencoder(ReconstructionBaseline):
    """Row DAE. Loss: mean (x̂ − x)², with x̂ rebuilt from x + noise inside the brain.

    The network is the plain U-Net of chapter 5, whose blocks are those of the DAE's authors. A
    reconstruction is one pass over the slice as it is: to the network, a lesion is noise.

    The loss covers the whole slice and not only the brain, as SSIM's window also looks outside.
    """

    title = "DAE"
    uses = ("baselines.width", "baselines.coarse_std")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.unet = SegmentationUNet(config.baselines.width, DEPTH, residual=False)

    def corrupt(self, image: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
        """Add coarse noise inside the brain: (B, 1, H, W), not clipped.

        The noise is rolled by a random shift, so that its grid lies elsewhere in each batch.
        """
        batch, _, height, width = image.shape
        noise = coarse_noise(batch, height, width, generator, self.config.baselines.coarse_std)
        shifts = [int(torch.randint(side, (), generator=generator)) for side in (height, width)]
        return image + noise.roll(shifts, (2, 3)).to(image) * mask

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        image = batch["image"]
        noised = self.corrupt(image, batch["mask"], generator)
        return (self.unet(None, noised).float() - image).square().mean()

    def reconstruct(self, image: Tensor, generator: torch.Generator) -> Tensor:
        return self.unet(None, image).float().clamp(0, 1)
