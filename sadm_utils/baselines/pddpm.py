"""pDDPM: noise in one patch at a time, the rest stays visible (chapter 8; Behrendt et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil

import torch
from torch import Tensor

from sadm_utils.baselines.ddpm import Diffusion, nothing
from sadm_utils.cddpm.diffusion import to_signed, to_unit

Box = tuple[slice, slice]


def patch_grid(height: int, width: int, share: float) -> list[Box]:
    """Boxes that cover a slice, evenly spaced, as few as can be; they overlap if they must."""

    def places(side: int) -> list[slice]:
        patch = max(1, round(share * side))
        starts = torch.linspace(0, side - patch, ceil(side / patch)).round().int().tolist()
        return [slice(start, start + patch) for start in starts]

    return [(rows, columns) for rows in places(height) for columns in places(width)]


def box_mask(boxes: Sequence[Box], height: int, width: int) -> Tensor:
    """One inside of each box, bool (boxes, 1, height, width)."""
    mask = torch.zeros(len(boxes), 1, height, width, dtype=torch.bool)
    for picture, (rows, columns) in zip(mask, boxes, strict=True):
        picture[:, rows, columns] = True
    return mask


def stitch(image: Tensor, boxes: Sequence[Box], rebuild: Callable[[Tensor], Tensor]) -> Tensor:
    """Rebuild slices patch by patch.

    Parameters
    ----------
    image
        Slices (B, 1, H, W).
    boxes
        Patches that cover a slice.
    rebuild
        Maps the inside of a patch, bool (1, 1, H, W), to rebuilt slices (B, 1, H, W), of which the
        inside is used.

    Returns
    -------
    The rebuilt patches in their places, the mean where they overlap: (B, 1, H, W).
    """
    total, count = torch.zeros_like(image), torch.zeros_like(image[:1])
    for inside in box_mask(boxes, *image.shape[2:]).to(image.device):
        total += rebuild(inside[None]) * inside
        count += inside
    return total / count


class PatchedDiffusion(Diffusion):
    """Row pDDPM. Loss: mean |x̂0 − x0| inside a patch, which alone is noised.

    A test tiles the slice with patches and rebuilds one after the other; training draws one of
    them. The patch has half the side of a slice (``baselines.patch``), so that four tile it: the 48
    of 96 pixels of the authors' code. The price is four times the work of the DDPM.
    """

    title = "pDDPM"
    uses = (*Diffusion.uses, "baselines.patch")

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        x0 = to_signed(batch["image"])
        t = self.diffusion.draw_steps(len(x0), generator)
        noise = self.diffusion.draw_noise(x0, generator)
        inside = self.random_patches(x0, generator)
        error = (self.predict(x0, t, noise, inside) - x0).abs()
        return (error * inside).sum() / inside.sum()

    def random_patches(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """The inside of one of the test's patches for each slice: bool, shaped as ``image``."""
        inside = box_mask(self.boxes(image), *image.shape[2:])
        chosen = torch.randint(len(inside), (len(image),), generator=generator)
        return inside[chosen].to(image.device)

    def boxes(self, image: Tensor) -> list[Box]:
        """The patches that tile slices (B, 1, H, W)."""
        return patch_grid(*image.shape[2:], self.config.baselines.patch)

    def predict(self, x0: Tensor, t: Tensor, noise: Tensor, inside: Tensor) -> Tensor:
        """Predict x0 from slices that are noised to step t (B,) inside a patch; all [-1, 1]."""
        noised = torch.where(inside, self.diffusion.q_sample(x0, t, noise), x0)
        return self.unet(noised, t, nothing(x0)).float()

    def reconstruct(self, image: Tensor, generator: torch.Generator) -> Tensor:
        x0, levels = to_signed(image), self.config.cddpm.levels
        boxes = self.boxes(image)
        total = torch.zeros_like(x0)
        for level in levels:
            t = torch.full((len(x0),), level - 1, device=x0.device)
            noise = self.diffusion.draw_noise(x0, generator)
            total += stitch(x0, boxes, lambda i, t=t, n=noise: self.predict(x0, t, n, i))
        return to_unit(total / len(levels)).clamp(0, 1)
