"""Fusion of the reconstruction map and the supervised map into one anomaly score (chapter 5)."""

from typing import TypeVar

import numpy as np
from torch import Tensor

Map = TypeVar("Map", Tensor, np.ndarray)


def fuse(reconstruction_map: Map, supervised_map: Map, beta: float | None = None) -> Map:
    """Add the two anomaly maps (paper, section 2.3 and appendix D).

    Parameters
    ----------
    reconstruction_map : Tensor or ndarray
        x̃, what the diffusion model could not reconstruct; about 0 (normal) to 1.
    supervised_map : Tensor or ndarray
        ŷ, the sigmoid of the segmentation network, 0 to 1; the same shape.
    beta : float or None
        None: x̃ + ŷ, the paper's score. Otherwise β x̃ + (1 − β) ŷ, with β from 0 (only ŷ: the rows
        Unet of Table 1) to 1 (only x̃: the row cDDPM). β = 0.5 is half the sum, so it ranks voxels
        alike.

    Returns
    -------
    Tensor or ndarray
        The score, larger where an anomaly is more likely; the same shape.
    """
    if reconstruction_map.shape != supervised_map.shape:
        raise ValueError(
            f"The maps have different shapes: {tuple(reconstruction_map.shape)} and "
            f"{tuple(supervised_map.shape)}."
        )
    if beta is None:
        return reconstruction_map + supervised_map
    if not 0 <= beta <= 1:
        raise ValueError(f"beta must be in [0, 1], not {beta}.")
    return beta * reconstruction_map + (1 - beta) * supervised_map
