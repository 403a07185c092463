"""Synthetic anomalies in the manner of DRAEM: a Perlin-shaped mask filled with a Perlin texture.

The image inside the mask M is mixed with a texture A at an opacity β (Zavrtanik et al., "DRAEM",
ICCV 2021; SADM paper, section 2),

    x' = (1 − M)⊙x + β·M⊙A + (1 − β)·M⊙x.
"""

import torch
from torch import Tensor

from sadm_utils.draem.perlin import perlin_noise, rotate
from sadm_utils.draem.textures import OPERATIONS, random_texture


def to_bytes(noise: Tensor) -> Tensor:
    """Noise·255 as an 8-bit value: whole numbers 0 … 255, where negative values wrap around.

    −0.1 becomes 256 − 25 = 231, as in a cast to unsigned bytes.  Such pixels lie outside the mask
    (noise > threshold > 0), but they take part in equalization and auto-contrast.
    """
    return (255 * noise).int().to(torch.uint8).float()


def blend(image: Tensor, texture: Tensor, mask: Tensor, opacity: Tensor) -> Tensor:
    """Mix a texture into an image inside a mask: x' = (1 − M)x + βMA + (1 − β)Mx.

    Parameters
    ----------
    image, texture : Tensor
        (B, 1, H, W) in [0, 1]: x and A.
    mask : Tensor
        (B, 1, H, W) in {0, 1}: M.
    opacity : Tensor
        (B, 1, 1, 1) in [0, 1]: β.  At 1 the texture replaces the image.
    """
    return image + mask * opacity * (texture - image)


class DraemSynthesizer:
    """Make healthy slices anomalous.

    Parameters
    ----------
    threshold : float or (float, float)
        The mask is noise > threshold.  A pair draws the threshold uniformly for each image, as the
        paper says; the released code uses 0.5.  Not below 0.
    opacity : (float, float)
        β is uniform in this range.
    max_scale_exponent : int
        The noise has 2^k cells along each axis, k uniform in 0 … this number.
    probability : float
        Share of images that become anomalous; the others come back as they are, with empty masks.
    brain_only : bool
        Restrict anomalies to the brain mask.  The released code does not: most of its anomalous
        pixels lie in the background.
    redraws : int
        With ``brain_only``: how often the anomaly of a slice is drawn again while it misses the
        brain.  Without, 6 % of the masks are empty at 96×96 pixels.
    operations : sequence of str
        Texture operations to draw three from, see :mod:`sadm_utils.draem.textures`.

    Raises
    ------
    ValueError
        For values out of range.
    """

    def __init__(
        self,
        threshold: float | tuple[float, float] = 0.5,
        opacity: tuple[float, float] = (0.2, 1.0),
        max_scale_exponent: int = 6,
        probability: float = 1.0,
        brain_only: bool = True,
        redraws: int = 3,
        operations: tuple[str, ...] = OPERATIONS,
    ) -> None:
        low, high = threshold if isinstance(threshold, (tuple, list)) else (threshold, threshold)
        if not 0 <= low <= high < 1:
            raise ValueError(f"threshold must lie in [0, 1), not {threshold}")
        if not 0 <= opacity[0] <= opacity[1] <= 1:
            raise ValueError(f"opacity must be a range within [0, 1], not {opacity}")
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must lie in [0, 1], not {probability}")
        self.threshold, self.opacity = (low, high), tuple(opacity)
        self.max_scale_exponent, self.probability = max_scale_exponent, probability
        self.brain_only, self.redraws, self.operations = brain_only, redraws, tuple(operations)

    def draw_noise(
        self, batch: int, height: int, width: int, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Rotated Perlin noise and the mask where it exceeds its threshold, both (B, 1, H, W)."""
        noise = perlin_noise(batch, height, width, generator, self.max_scale_exponent)
        noise = rotate(noise, 180 * torch.rand(batch, generator=generator) - 90)
        low, high = self.threshold
        threshold = low + (high - low) * torch.rand(batch, 1, 1, 1, generator=generator)
        return noise, (noise > threshold).float()

    def draw_anomalies(
        self, brain: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Noise and anomaly mask for brains (B, 1, H, W) in {0, 1}, drawn again where it misses."""
        noise, mask = self.draw_noise(len(brain), *brain.shape[-2:], generator)
        if not self.brain_only:
            return noise, mask
        mask *= brain
        possible = brain.amax((1, 2, 3)) > 0
        for _ in range(self.redraws):
            missed = (possible & (mask.amax((1, 2, 3)) == 0)).nonzero()[:, 0]
            if not len(missed):
                break
            noise[missed], again = self.draw_noise(len(missed), *brain.shape[-2:], generator)
            mask[missed] = again * brain[missed]
        return noise, mask

    def __call__(
        self, image: Tensor, mask: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Add one random anomaly pattern to each image.

        Parameters
        ----------
        image : Tensor
            (B, 1, H, W) float in [0, 1], on any device.
        mask : Tensor
            (B, 1, H, W) brain mask in {0, 1}, any dtype.
        generator : torch.Generator, optional
            Source of all randomness, on the CPU: results do not depend on the device.

        Returns
        -------
        anomalous : Tensor
            Like ``image``; differs from it only where the anomaly mask is 1.
        anomaly : Tensor
            (B, 1, H, W) float32 in {0, 1}.
        details : dict of Tensor
            ``noise`` (B, 1, H, W), the field behind mask and texture; ``texture`` (B, 1, H, W) in
            [0, 1], before masking; ``opacity`` (B, 1, 1, 1); ``operations`` (B, 3), indices into
            the synthesizer's ``operations``.
        """
        batch = len(image)
        noise, anomaly = self.draw_anomalies(mask.cpu().float(), generator)
        chosen = torch.rand(batch, 1, 1, 1, generator=generator) < self.probability
        anomaly = anomaly * chosen
        texture, order = random_texture(to_bytes(noise), generator, self.operations)
        low, high = self.opacity
        opacity = low + (high - low) * torch.rand(batch, 1, 1, 1, generator=generator)
        details = {"noise": noise, "texture": texture / 255, "opacity": opacity}
        details = {name: value.to(image.device) for name, value in details.items()}
        anomaly = anomaly.to(image.device)
        anomalous = blend(image, details["texture"], anomaly, details["opacity"])
        return anomalous.to(image.dtype), anomaly, {**details, "operations": order}
