"""From the score of slices to the anomaly map of a volume."""

from __future__ import annotations

import numpy as np
from torch import nn

from sadm_utils.baselines.method import SliceFunction, map_slices, to_slices, to_volume
from sadm_utils.config import EvaluationConfig
from sadm_utils.evaluation.anomaly_map import median_filter


def score_volume(
    module: nn.Module,
    function: SliceFunction,
    image: np.ndarray,
    mask: np.ndarray,
    settings: EvaluationConfig,
    seed: int,
    filtered: bool = False,
) -> np.ndarray:
    """Score a volume slice by slice.

    Parameters
    ----------
    function
        Maps slices (B, 1, H, W) and a generator to scores (B, 1, H, W).
    image, mask
        Scan in [0, 1] and brain mask, (H, W, D).
    filtered
        Smooth by the median filter of the reconstruction maps. The maps of segmentation networks
        are not filtered (paper, section 2.3).

    Returns
    -------
    float32 (H, W, D), 0 outside the brain.
    """
    brain = mask > 0
    scores = map_slices(module, to_slices(image), function, seed, settings.batch_size)
    volume = (to_volume(scores) * brain).astype(np.float32)
    if filtered and settings.median > 1:
        volume = median_filter(volume, settings.median, brain)
    return volume
