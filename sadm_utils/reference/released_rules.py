"""The released code's evaluation rules, stated once more: only to be compared with ours.

Nothing in the book is evaluated by these. They give the released code's own numbers, defects
included (``tests/reference/test_released_rules.py``), so that the size of each defect can be
measured on any map (:mod:`sadm_utils.reference.defects`).
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from sadm_utils.evaluation.anomaly_map import median_filter, slice_scores
from sadm_utils.evaluation.metrics import (
    Confusion,
    auroc,
    average_precision,
    confusion_at,
    reconstruction_error,
)
from sadm_utils.evaluation.surfaces import hausdorff
from sadm_utils.evaluation.thresholds import halving_threshold

SLICE_AXIS = 0
"""The released code takes slices along this axis; its model sees slices along axis 2."""


def ssim_map(x: np.ndarray, y: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    """SSIM of two volumes (X, Y, Z) in single precision, variances as differences of large numbers.

    Ours subtracts the mean first, see :func:`sadm_utils.evaluation.anomaly_map.ssim_map`.
    """
    radius = int(3.5 * sigma + 0.5)
    taps = torch.exp(-((torch.arange(-radius, radius + 1.0) / sigma) ** 2) / 2)
    taps = taps / taps.sum()
    kernel = (taps[:, None] @ taps[None])[:, :, None] * taps
    x, y = (torch.from_numpy(np.ascontiguousarray(v, np.float32)) for v in (x, y))
    data_range = max(float(v.max() - v.min()) for v in (x, y))
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    fields = torch.stack([x, y, x * x, y * y, x * y])[:, None]
    fields = F.pad(fields, (radius,) * 6, mode="reflect")
    mean_x, mean_y, xx, yy, xy = F.conv3d(fields, kernel[None, None])[:, 0]
    mean_xx, mean_yy, mean_xy = mean_x**2, mean_y**2, mean_x * mean_y
    top = (2 * mean_xy + c1) * (2 * (xy - mean_xy) + c2)
    bottom = (mean_xx + mean_yy + c1) * ((xx - mean_xx) + (yy - mean_yy) + c2)
    return (top / bottom).numpy()


def score_map(
    image: np.ndarray, reconstruction: np.ndarray, mask: np.ndarray, supervised: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Residual map behind the median filter, and the score; arrays (X, Y, Z).

    Raises
    ------
    TypeError
        Without a supervised map: the released code cannot evaluate the diffusion model alone.
    """
    residual = median_filter((1 - ssim_map(reconstruction, image)) * mask, 5)
    return residual, residual * mask + supervised * mask


def stored_confusion(counts: Confusion) -> dict[str, float]:
    """Counts and rates under the names that the released code gives them.

    It reads (TN, FN, FP, TP) as (TP, FP, TN, FN), takes the specificity from that, and calls the
    false-discovery rate "FPR".
    """
    tp, fp, tn, fn = counts.tn, counts.fn, counts.fp, counts.tp
    return {
        "TPPerVol": tp,
        "FPPerVol": fp,
        "TNPerVol": tn,
        "FNPerVol": fn,
        "SpecificityPerVol": tn / (tn + fp) if tn + fp else 0.0,
        "FPRPerVol": counts.false_discovery_rate,
        "TPRPerVol": counts.recall,
        "PrecisionPerVol": counts.precision,
        "RecallPerVol": counts.recall,
        "AccuracyPerVol": counts.accuracy,
        "DiceScorePerVol": counts.dice,
    }


def slice_values(
    score: np.ndarray, truth: np.ndarray, threshold: float, axis: int = SLICE_AXIS
) -> dict[str, np.ndarray]:
    """Dice, precision, recall and lesion size of each slice with a lesion, along ``axis``."""
    pairs = zip(np.moveaxis(score, axis, 0), np.moveaxis(truth, axis, 0), strict=True)
    counts = [confusion_at(s, t, threshold) for s, t in pairs if t.any()]
    return {
        "DiceScorePerSlice": np.array([c.dice for c in counts]),
        "PrecisionPerSlice": np.nan_to_num([c.precision for c in counts]),
        "RecallPerSlice": np.array([c.recall for c in counts]),
        "lesionSizePerSlice": np.array([c.tp + c.fn for c in counts], float),
    }


def evaluate_volume(
    image: np.ndarray, reconstruction: np.ndarray, truth: np.ndarray, mask: np.ndarray,
    score: np.ndarray,
) -> dict[str, np.ndarray | float]:
    """All that the released code stores of one volume, from the score map (X, Y, Z)."""
    truth, mask = truth > 0, mask > 0
    dice, threshold = halving_threshold(score, truth)
    per_slice = slice_scores(score, mask, SLICE_AXIS)
    labels = np.moveaxis(truth, SLICE_AXIS, 0).any(axis=(1, 2))
    values: dict[str, np.ndarray | float] = {
        **stored_confusion(confusion_at(score, truth, threshold)),
        **slice_values(score, truth, threshold),
        "BestDicePerVol": dice,
        "BestThresholdPerVol": threshold,
        "AUCPerVol": auroc(score, truth),
        "AUPRCPerVol": average_precision(score, truth),
        "HausPerVol": hausdorff(score >= threshold, truth),
        "lesionSizePerVol": float(truth.sum()),
        "labelPerVol": float(truth.any()),
        "labelPerSlice": labels.astype(float),
        "AnomalyScoreRecoPerSlice": per_slice,
        "AUCAnomalyRecoPerSlice": auroc(per_slice, labels),
        "AUPRCAnomalyRecoPerSlice": average_precision(per_slice, labels),
    }
    for name in ("Reco", "Comb", "Combi", "CombPrior", "CombiPrior"):  # five names, one number
        values[f"AnomalyScore{name}PerVol"] = float(score[mask].mean(dtype=np.float64))
    for power in (1, 2):
        for name, where in (("All", None), ("Healthy", ~truth), ("Unhealthy", truth)):
            error = reconstruction_error(image, reconstruction, where, power)
            values[f"l{power}recoError{name}"] = error
    return values
