"""Slices worth looking at, chosen by rule and never by name.

One brain goes with the reader through all chapters: :func:`example_brain`. It comes from the
held-out part of an annotated list, so no network trains on it, and from no test set, so looking at
it while you still decide things spoils nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sadm_utils.data.phantom import PARTS, Subject, simulate_subject
from sadm_utils.data.stage import SEED_OF_COHORT
from sadm_utils.data.volumes import Store, Volumes
from sadm_utils.errors import UserError
from sadm_utils.runs import Run


@dataclass(frozen=True)
class Examples:
    """Slices of several subjects, as a model sees them.

    Attributes
    ----------
    image, mask, seg
        (N, 1, H, W) float32: intensities in [0, 1], brain {0, 1}, lesion {0, 1}.
    subjects
        N names.
    """

    image: torch.Tensor
    mask: torch.Tensor
    seg: torch.Tensor
    subjects: list[str]

    def __len__(self) -> int:
        return len(self.subjects)

    @property
    def typical(self) -> int:
        """Index of the slice whose lesion area is the median one."""
        return int(self.seg.sum((1, 2, 3)).argsort()[(len(self) - 1) // 2])

    def take(self, rows: Sequence[int] | torch.Tensor) -> Examples:
        """Some of the slices, in the order of ``rows``."""
        index = torch.as_tensor(rows)
        names = [self.subjects[i] for i in index.tolist()]
        return Examples(self.image[index], self.mask[index], self.seg[index], names)


def example_brain(run: Run, store: Store) -> Volumes:
    """The running example: of the first annotated list, the first held-out subject with a lesion.

    On the phantom cohort it is :func:`example_phantom`.

    Raises
    ------
    UserError
        If the store has no annotated set.
    """
    volumes = next(iter(sick_sets(store, "val").values()))
    count = min(max(run.config.data.holdout, 1), len(volumes))
    sick = [row for row in range(count) if np.asarray(volumes.seg[row]).any()]
    row = sick[0] if sick else 0
    return volumes.subset(slice(row, row + 1))


def example_phantom(voxel_mm: float, lesion: bool = True) -> Subject:
    """The running example as it was simulated; without its ``lesion``, its healthy twin."""
    part = PARTS["brats21_val"]
    return simulate_subject(part.kind, SEED_OF_COHORT, part.first, voxel_mm, lesion)


def sick_sets(store: Store, part: str) -> dict[str, Volumes]:
    """The annotated sets of a store: their ``val`` or ``test`` volumes, by the name of the set.

    Raises
    ------
    UserError
        If the store has none.
    """
    names = [n for n in store.splits if n.endswith(f"_{part}") and not n.startswith("IXI")]
    if not names:
        raise UserError(f"The data has no annotated set: add splits/<SET>_{part}.csv to DATA_DIR.")
    return {name.removesuffix(f"_{part}"): store[name] for name in names}


def largest_lesions(volumes: Volumes) -> Examples:
    """One slice a subject: the axial slice with the most lesion; subjects without one are left out.

    Raises
    ------
    UserError
        If no volume has a lesion.
    """
    area = np.asarray(volumes.seg).sum(axis=(2, 3))
    rows = np.flatnonzero(area.max(axis=1))
    if not rows.size:
        raise UserError("None of these volumes has a lesion: check their seg_path column.")
    return _examples(volumes, rows, area[rows].argmax(axis=1))


def central_slices(volumes: Volumes, height: float = 0.5) -> Examples:
    """One slice a subject, at a share of the volume's height (0 is the lowest slice)."""
    depth = volumes.image.shape[1]
    rows = np.arange(len(volumes))
    return _examples(volumes, rows, np.full(len(rows), min(int(height * depth), depth - 1)))


def _examples(volumes: Volumes, rows: np.ndarray, slices: np.ndarray) -> Examples:
    def pick(part: str) -> torch.Tensor:
        planes = [getattr(volumes, part)[r, k] for r, k in zip(rows, slices, strict=True)]
        return torch.from_numpy(np.stack(planes).astype(np.float32))[:, None]

    names = [volumes.subjects[r] for r in rows]
    return Examples(pick("image"), pick("mask"), pick("seg"), names)
