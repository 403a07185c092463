"""How many lesions are found, and how many findings are lesions: counting pieces, not voxels.

Conventions, the same in every function:

* A *lesion* is a piece of the truth, a *finding* a piece of the prediction. Pieces are connected
  by faces, edges or corners (26 neighbors), so that touching voxels are never two lesions.
* A finding is *right* when at least ``SHARE`` of its voxels lie in lesions: one that covers half of
  the brain leads nobody anywhere, whatever it touches.
* A lesion is *hit* when a right finding shares at least ``OVERLAP`` voxels with it. One is the
  mildest rule: it asks whether a reader would have been led to the place.
* Nothing is cleaned up: a single stray voxel is a finding.
* Lesions are sorted by their volume into the classes of `SIZES`. A right finding belongs to the
  class of the largest lesion that it touches, a wrong one to that of its own volume.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

NAN = float("nan")
OVERLAP = 1
SHARE = 0.1
SIZES = {"small": (0.0, 1.0), "medium": (1.0, 10.0), "large": (10.0, np.inf)}
"""Volumes of each class in ml, the upper end not included; 1 and 10 ml are balls of 12 and 27 mm.
"""


@dataclass(frozen=True)
class Pieces:
    """The connected pieces of a mask.

    Attributes
    ----------
    labels : array (X, Y, Z)
        0 outside, otherwise the number of the piece, from 1.
    volumes : array (N,)
        Volume of each piece in ml.
    """

    labels: np.ndarray
    volumes: np.ndarray


@dataclass(frozen=True)
class LesionCounts:
    """Lesions, those that are hit, findings, and those that are right."""

    lesions: int
    hit: int
    findings: int
    right: int

    @property
    def sensitivity(self) -> float:
        """Share of the lesions that are hit; ``nan`` without a lesion."""
        return self.hit / self.lesions if self.lesions else NAN

    @property
    def precision(self) -> float:
        """Share of the findings that are right; ``nan`` without a finding."""
        return self.right / self.findings if self.findings else NAN

    @property
    def f1(self) -> float:
        """2 hit / (2 hit + missed lesions + wrong findings); ``nan`` without a lesion.

        It is 0 if none is hit. One finding may hit many lesions, so this is not always the
        harmonic mean of the other two.
        """
        errors = self.lesions - self.hit + self.findings - self.right
        return 2 * self.hit / (2 * self.hit + errors) if self.lesions else NAN


def find_pieces(mask: np.ndarray, voxel_ml: float) -> Pieces:
    """Number the connected pieces of a mask (X, Y, Z), > 0 inside."""
    mask = np.asarray(mask) > 0
    labels = np.zeros(mask.shape, np.int32)
    box = ndimage.find_objects(mask.view(np.uint8))
    if not box:
        return Pieces(labels, np.zeros(0))
    count = ndimage.label(mask[box[0]], np.ones((3,) * mask.ndim), output=labels[box[0]])
    voxels = np.bincount(labels[box[0]].ravel(), minlength=count + 1)[1:]
    return Pieces(labels, voxels * voxel_ml)


def count_lesions(
    prediction: Pieces, truth: Pieces, overlap: int = OVERLAP, share: float = SHARE
) -> dict[str, LesionCounts]:
    """Match findings with lesions: the counts of ``all`` sizes and of each class of `SIZES`."""
    both = (prediction.labels > 0) & (truth.labels > 0)
    pairs = np.stack([prediction.labels[both], truth.labels[both]])
    voxels = np.bincount(prediction.labels.ravel(), minlength=prediction.volumes.size + 1)
    inside = np.bincount(pairs[0], minlength=voxels.size)
    apt = inside >= share * voxels
    pairs, shared = np.unique(pairs, axis=1, return_counts=True)
    findings, lesions = pairs[:, (shared >= overlap) & apt[pairs[0]]] - 1
    hit = np.zeros(truth.volumes.size, bool)
    hit[lesions] = True
    touched = np.zeros(prediction.volumes.size)
    np.maximum.at(touched, findings, truth.volumes[lesions])
    right = touched > 0
    volumes = np.where(right, touched, prediction.volumes)
    counts = {"all": LesionCounts(hit.size, int(hit.sum()), right.size, int(right.sum()))}
    for name, (low, high) in SIZES.items():
        mine = (truth.volumes >= low) & (truth.volumes < high)
        found = (volumes >= low) & (volumes < high)
        numbers = (mine.sum(), hit[mine].sum(), found.sum(), right[found].sum())
        counts[name] = LesionCounts(*map(int, numbers))
    return counts


def lesion_metrics(prediction: Pieces, truth: Pieces) -> dict[str, float]:
    """``lesion_sensitivity``, ``lesion_precision`` and ``lesion_f1``, and each by class of size.

    The names of the classes follow: ``lesion_f1_small`` and so on.
    """
    result = {}
    for name, counts in count_lesions(prediction, truth).items():
        end = "" if name == "all" else f"_{name}"
        for rate in ("sensitivity", "precision", "f1"):
            result[f"lesion_{rate}{end}"] = getattr(counts, rate)
    return result
