"""From a volume to the anomaly scores of every method (paper, section 2.3).

The rows of the paper's Table 1 differ in two choices: what the segmentation network sees (the image
alone, or also the residual), and whether its map is used alone or together with the reconstruction
map.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from sadm_utils.cddpm.model import ConditionedDiffusion
from sadm_utils.cddpm.training import reconstruct_slices
from sadm_utils.config import EvaluationConfig
from sadm_utils.data.store import Volumes
from sadm_utils.evaluation.anomaly_map import intensity_map, reconstruction_map
from sadm_utils.sadm.fusion import fuse
from sadm_utils.sadm.network import SegmentationUNet
from sadm_utils.sadm.training import supervised_map

#: Rows of the table: (name, inputs of the network, whether the reconstruction map is added).
NETWORK_METHODS = (
    ("Unet", "input", False),
    ("Unet_res", "residual", False),
    ("SADM", "input", True),
    ("SADM_res", "residual", True),
)
Networks = Mapping[tuple[str, str], SegmentationUNet]
"""Segmentation networks by (annotations, inputs)."""


@dataclass(frozen=True)
class VolumeMaps:
    """Everything computed for one volume; arrays are (H, W, D) float32, 0 outside the brain.

    Attributes
    ----------
    image, mask, seg
        The scan in [0, 1], its brain mask, and its lesion mask (all zero if healthy).
    reconstruction
        x̂ in [0, 1], the mean over the noise levels.
    residual
        x̃, the reconstruction map.
    supervised
        ŷ of each network, by (annotations, inputs).
    """

    subject: str
    image: np.ndarray
    mask: np.ndarray
    seg: np.ndarray
    reconstruction: np.ndarray
    residual: np.ndarray
    supervised: dict[tuple[str, str], np.ndarray]

    @property
    def reconstruction_map(self) -> np.ndarray:
        """x̃ under its name in the book; ``residual`` is its name in files of kept maps."""
        return self.residual


def compute_maps(
    image: np.ndarray,
    mask: np.ndarray,
    model: ConditionedDiffusion,
    networks: Networks,
    settings: EvaluationConfig,
    seed: int,
    seg: np.ndarray | None = None,
    subject: str = "",
) -> VolumeMaps:
    """Reconstruct one volume and compute its reconstruction map and supervised maps.

    Parameters
    ----------
    image, mask
        Scan in [0, 1] and brain mask, (H, W, D).
    seed
        The noise is a pure function of it.
    """
    brain = mask > 0
    slices = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[:, None].float()
    each = reconstruct_slices(model, slices, seed, settings.batch_size)
    reconstruction = _volume(each.mean(0))
    residual = reconstruction_map(
        image,
        reconstruction,
        brain,
        settings.residual,
        settings.median,
        settings.ssim_sigma,
        settings.ssim_range or None,
    )
    supervised = {
        name: _volume(supervised_map(network, slices, each)) * brain
        for name, network in networks.items()
    }
    seg = np.zeros(image.shape, np.uint8) if seg is None else seg
    return VolumeMaps(
        subject, image, mask, seg, reconstruction, residual.astype(np.float32), supervised
    )


def maps_of_split(
    volumes: Volumes,
    model: ConditionedDiffusion,
    networks: Networks,
    settings: EvaluationConfig,
    seed: int,
) -> Iterator[VolumeMaps]:
    """Compute the maps of each volume of a split, one at a time."""
    for row, subject in enumerate(volumes.subjects):
        image, mask, seg = (volumes.volume(row, part) for part in ("image", "mask", "seg"))
        yield compute_maps(image, mask, model, networks, settings, seed + row, seg, subject)


def scores(maps: VolumeMaps, median: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield (method, annotations, score) for each row of the table; scores are (H, W, D).

    Rows: the plain intensity threshold, the same behind the median filter of x̃, cDDPM (x̃ alone),
    and for each source of annotations the four of :data:`NETWORK_METHODS`.
    """
    yield "Intensity", "", intensity_map(maps.image, maps.mask, "dark")
    yield "Intensity_med", "", intensity_map(maps.image, maps.mask, "dark", median)
    yield "cDDPM", "", maps.residual
    for annotations in dict.fromkeys(source for source, _ in maps.supervised):
        for method, inputs, fused in NETWORK_METHODS:
            if (annotations, inputs) in maps.supervised:
                supervised = maps.supervised[annotations, inputs]
                score = fuse(maps.residual, supervised) if fused else supervised
                yield method, annotations, score


def _volume(slices: torch.Tensor) -> np.ndarray:
    """Slices (D, 1, H, W) as a volume (H, W, D)."""
    return np.ascontiguousarray(slices[:, 0].permute(1, 2, 0).numpy())
