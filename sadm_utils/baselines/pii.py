"""PII: find a patch of another brain that was blended in without a seam.

Tan et al., "Detecting outliers with Poisson image interpolation", MICCAI 2021. A rectangle of a
slice gets new *gradients*: at each place the stronger of (1 − α)∇x and α∇s, where s is another
slice. The intensities that fit them best, and the rest of the slice at the rectangle's border,
solve a Poisson equation. A network predicts α.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from scipy.fft import dstn
from torch import Tensor
from torch.nn import functional as F

from sadm_utils.baselines.maps import score_volume
from sadm_utils.baselines.method import Baseline
from sadm_utils.config import Config, EvaluationConfig
from sadm_utils.errors import UserError
from sadm_utils.sadm.network import SegmentationUNet

#: Ranges of the interpolation factor and of the rectangle's sides, as shares of the slice's sides.
ALPHA, SIDES = (0.05, 0.95), (0.1, 0.4)
#: Pixels that changed by no more than this share of the intensities' range are not labeled.
VISIBLE = 0.01


def solve_poisson(load: np.ndarray) -> np.ndarray:
    """Solve 4u − (sum of the four neighbors) = load, with u = 0 around the rectangle.

    The sine transform of type I diagonalizes this operator, hence the solution is exact.

    Parameters
    ----------
    load
        (h, w), any size from 1 × 1 on.

    Returns
    -------
    u (h, w), of the same type.
    """
    first, second = (
        2 - 2 * np.cos(np.pi * np.arange(1, size + 1, dtype=load.dtype) / (size + 1))
        for size in load.shape
    )
    spectrum = dstn(load, type=1, norm="ortho") / (first[:, None] + second)
    return dstn(spectrum, type=1, norm="ortho")  # with this norm, its own inverse


def blend_patch(
    image: np.ndarray, source: np.ndarray, rows: slice, columns: slice, alpha: float
) -> np.ndarray:
    """Give a rectangle of the image the interpolated gradients of image and source.

    Parameters
    ----------
    image, source
        (H, W) floats.
    rows, columns
        The rectangle; at least one pixel of the image must surround it.
    alpha
        Share of the source's gradients in [0, 1]; 0 changes nothing.

    Returns
    -------
    (H, W); equal to the image outside the rectangle, not clipped.
    """
    around = slice(rows.start - 1, rows.stop + 1), slice(columns.start - 1, columns.stop + 1)
    inner = slice(1, -1)
    load = np.zeros_like(image[rows, columns])
    for axis, across in ((0, (slice(None), inner)), (1, (inner, slice(None)))):
        own, other = (np.diff(x[around][across], axis=axis) for x in (image, source))
        kept, taken = (1 - alpha) * own, alpha * other
        wanted = np.where(np.abs(kept) > np.abs(taken), kept, taken)
        load -= np.diff(wanted - own, axis=axis)
    blended = image.copy()
    blended[rows, columns] += solve_poisson(load)  # u: the change, zero at the border
    return blended


def draw_rectangles(
    brains: Tensor, generator: torch.Generator | None
) -> list[tuple[slice, slice]]:
    """Draw a rectangle around a random pixel of each brain (B, H, W), off the slice's border.

    Rows and columns are empty where there is no brain.
    """
    size = torch.tensor(brains.shape[1:])
    score = brains * (1 - torch.rand(brains.shape, generator=generator))  # in (0, 1]: the highest
    share = SIDES[0] + (SIDES[1] - SIDES[0]) * torch.rand(len(brains), 2, generator=generator)
    highest, center = score.flatten(1).max(dim=1)
    center = torch.stack((center // size[1], center % size[1]), dim=1)
    length = (share * size).round().long().clamp(min=1)
    start = (center - length // 2).clamp(min=1).minimum(size - 1 - length)
    stop = start + length * (highest > 0)[:, None]
    corners = torch.cat((start, stop), dim=1).tolist()
    return [(slice(top, bottom), slice(left, right)) for top, left, bottom, right in corners]


def interpolate(
    image: Tensor, mask: Tensor, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Blend into each slice a patch of another slice of the batch.

    Parameters
    ----------
    image, mask
        (B, 1, H, W): slices in [0, 1] and their brains; B at least 2.
    generator
        On the CPU: results do not depend on the device.

    Returns
    -------
    (Tensor, Tensor)
        The slices with a patch, in [0, 1], changed in the brain only; and the labels, α where a
        pixel has visibly changed and 0 elsewhere. Both float32 (B, 1, H, W).

    Raises
    ------
    UserError
        For a batch of one slice: there is no other one to take a patch of.
    """
    count = len(image)
    if count < 2:
        raise UserError(
            "PII blends patches of other slices of the batch into a slice: set "
            "baselines.train.batch_size to 2 or more."
        )
    shift = int(torch.randint(1, count, (), generator=generator))
    alphas = ALPHA[0] + (ALPHA[1] - ALPHA[0]) * torch.rand(count, generator=generator)
    brain = mask[:, 0].cpu() > 0
    slices = image[:, 0].detach().cpu().float()
    originals = slices.numpy()
    patched = originals.copy()
    for i, (rows, columns) in enumerate(draw_rectangles(brain, generator)):
        if rows.stop > rows.start:
            pair = originals[i], originals[i - shift]
            patched[i] = blend_patch(*pair, rows, columns, float(alphas[i]))
    blended = torch.where(brain, torch.from_numpy(patched).clamp(0, 1), slices)
    label = alphas[:, None, None] * ((blended - slices).abs() > VISIBLE)
    return blended[:, None].to(image.device), label[:, None].to(image.device)


class PII(Baseline):
    """A U-Net that predicts the interpolation factor of every pixel."""

    title = "PII"
    annotations = "pii"
    uses = ("baselines.width", "sadm.depth")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.network = SegmentationUNet(
            config.baselines.width, config.sadm.depth, residual=False
        )

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """Binary cross-entropy with the factor as a soft label (PII, section 2)."""
        anomalous, label = interpolate(batch["image"], batch["mask"], generator)
        logits = self.network(None, anomalous)
        return F.binary_cross_entropy_with_logits(logits.float(), label)

    def anomaly_map(
        self, image: np.ndarray, mask: np.ndarray, settings: EvaluationConfig, seed: int
    ) -> np.ndarray:
        """The predicted factor, in [0, 1]; nothing is random."""

        def factor(slices: Tensor, generator: torch.Generator) -> Tensor:
            return self.network(None, slices).sigmoid()

        return score_volume(self, factor, image, mask, settings, seed)
