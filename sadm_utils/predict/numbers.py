"""What a prediction says in numbers, and what its reader must be warned of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from sadm_utils.data.intensity import LIKE_T1
from sadm_utils.data.preprocess import Processed
from sadm_utils.data.scan import Registered
from sadm_utils.evaluation.scoring import VolumeMaps

SHOWN_REGIONS = 5
GOOD_OVERLAP = 0.9
"""Least overlap (Dice) of a well registered brain with the MNI152 brain."""


@dataclass(frozen=True)
class Prediction:
    """Everything computed for one scan.

    Attributes
    ----------
    registered, processed, maps
        The scan on the 1 mm MNI grid, on the models' grid, and the models' maps there.
    score
        x̃ + ŷ on the models' grid, (H, W, D) float32, 0 outside the brain.
    native
        ``anomaly_map``, ``reconstruction`` (float32) and ``brain_mask`` (uint8): what is written,
        on the scan's own grid. The mask holds the brain that the models saw; the rest of the brain
        lies outside of their field of view.
    """

    registered: Registered
    processed: Processed
    maps: VolumeMaps
    score: np.ndarray
    native: dict[str, np.ndarray]

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel of the scan in milliliters."""
        return float(abs(np.linalg.det(self.registered.native_affine[:3, :3]))) / 1000


def brain_facts(prediction: Prediction) -> dict[str, Any]:
    """Where the brain mask came from, how well the brain fits, and how much of it was examined.

    ``likeness_to_template`` is the correlation with the MNI152 T1 inside the brain.
    """
    registered = prediction.registered
    scale = abs(np.linalg.det(registered.matrix[:3, :3]))
    examined = int(np.count_nonzero(prediction.native["brain_mask"]))
    return {
        "source": registered.brain.source,
        "note": registered.brain.note,
        "overlap_with_template": round(float(registered.dice), 3),
        "likeness_to_template": round(registered.contrast, 3),
        "volume_ml": round(float(np.count_nonzero(registered.mask) * scale / 1000), 1),
        "examined_ml": round(examined * prediction.voxel_ml, 1),
        "matrix_mni_to_scan": registered.matrix.round(6).tolist(),
    }


def map_numbers(prediction: Prediction, threshold: float | None) -> dict[str, Any]:
    """Summary of the map as it is written, and its largest regions from the threshold on."""
    score, mask = prediction.native["anomaly_map"], prediction.native["brain_mask"] > 0
    inside = score[mask]
    numbers: dict[str, Any] = {
        "mean_score": round(float(inside.mean()), 4),
        "highest_score": round(float(inside.max()), 4),
        "percentile_99": round(float(np.percentile(inside, 99)), 4),
    }
    if threshold is None:
        return numbers
    marked = (score >= threshold) & mask
    regions, count = find_regions(prediction, marked)
    volume = np.count_nonzero(marked) * prediction.voxel_ml
    return numbers | {
        "marked_ml": round(volume, 2),
        "marked_share": round(float(marked.sum() / max(mask.sum(), 1)), 4),
        "regions": count,
        "largest_regions": regions,
    }


def find_regions(
    prediction: Prediction, marked: np.ndarray, count: int = SHOWN_REGIONS
) -> tuple[list[dict[str, Any]], int]:
    """Describe the ``count`` largest connected regions of ``marked`` (bool, the scan's grid).

    Returns
    -------
    The regions, largest first, and how many there are in all. ``voxel`` is the place of the highest
    score as an index into the scan's array, ``center_mm`` is in the scan's own millimeters.
    """
    score, affine = prediction.native["anomaly_map"], prediction.registered.native_affine
    labels, total = ndimage.label(marked)
    sizes = np.bincount(labels.ravel(), minlength=total + 1)[1:]
    boxes = ndimage.find_objects(labels)
    to_mni = np.linalg.inv(prediction.registered.matrix)
    regions = []
    for index in np.argsort(sizes, kind="stable")[::-1][:count]:
        box = boxes[index]
        start = [axis.start for axis in box]
        part = np.where(labels[box] == index + 1, score[box], -1.0)
        center = np.add(ndimage.center_of_mass(part >= 0), start)
        world = affine @ np.append(center, 1.0)
        peak = np.add(np.unravel_index(part.argmax(), part.shape), start)
        regions.append({
            "volume_ml": round(float(sizes[index]) * prediction.voxel_ml, 2),
            "highest_score": round(float(part.max()), 3),
            "voxel": [int(v) for v in peak],
            "center_mm": world[:3].round(1).tolist(),
            "center_mni_mm": (to_mni @ world)[:3].round(1).tolist(),
        })  # fmt: skip
    return regions, total


def warnings_of(facts: dict[str, Any], phantom: bool) -> list[str]:
    """What a reader must know before looking at a map; ``facts`` from :func:`brain_facts`."""
    sentences = []
    if phantom:
        sentences.append(
            "The networks were trained on simulated brains. On a real scan this map shows how the "
            "method works; for results that mean something train on real scans (DATA_DIR)."
        )
    if facts["source"] == "template":
        sentences.append(facts["note"])
    elif facts["overlap_with_template"] < GOOD_OVERLAP:
        sentences.append("The brain does not fit the template well: check the pictures first.")
    if facts["likeness_to_template"] < LIKE_T1:
        sentences.append(
            "The contrast does not look like T1 (correlation with the MNI152 T1 is "
            f"{facts['likeness_to_template']:.2f}): on other contrasts the map means nothing."
        )
    return sentences
