"""Random training slices of a split, each a pure function of (seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.utils.data import Dataset

from sadm_utils.data.volumes import Volumes
from sadm_utils.errors import UserError

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class SliceDataset(Dataset):
    """Axial slices of a split, drawn at random.

    Item ``index`` shows a slice of volume ``index // slices_per_volume``; slice and augmentation
    come from ``np.random.default_rng([seed, epoch, index])``, whatever worker asks and in whatever
    order. It is a dict of float32 tensors (1, H, W): ``image`` (in [0, 1] without augmentation),
    ``mask``, ``seg``; and the ints ``volume`` and ``slice``.

    Parameters
    ----------
    volumes
        A split of the store.
    seed
        Seed of the run.
    slices_per_volume
        Slices that an epoch draws of each volume.
    augment
        ``augment(image, rng)`` on (H, W) float32, e.g. :class:`sadm_utils.data.augment.Augmenter`.
    min_brain
        Smallest share of brain pixels that a slice may have; 0 draws from all slices.
    epoch
        First epoch; :meth:`set_epoch` moves on.
    """

    def __init__(
        self,
        volumes: Volumes,
        *,
        seed: int,
        slices_per_volume: int = 1,
        augment: Augment | None = None,
        min_brain: float = 0.05,
        epoch: int = 0,
    ) -> None:
        self.volumes, self.seed, self.epoch = volumes, seed, epoch
        self.slices_per_volume, self.augment = slices_per_volume, augment
        area = volumes.mask.shape[2] * volumes.mask.shape[3]
        brain = [np.count_nonzero(mask, axis=(1, 2)) / area for mask in volumes.mask]
        self.candidates = [np.flatnonzero(share >= min_brain) for share in brain]
        for subject, slices in zip(volumes.subjects, self.candidates, strict=True):
            if not slices.size:
                raise UserError(
                    f"No slice of {subject} has {min_brain:.0%} brain: check its mask file."
                )

    def set_epoch(self, epoch: int) -> None:
        """Draw the slices of another epoch from now on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.volumes) * self.slices_per_volume

    def __getitem__(self, index: int) -> dict[str, torch.Tensor | int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, self.epoch, index])
        volume = index // self.slices_per_volume
        k = int(rng.choice(self.candidates[volume]))
        image = np.asarray(self.volumes.image[volume, k], dtype=np.float32)
        if self.augment is not None:
            image = self.augment(image, rng)
        item: dict[str, torch.Tensor | int] = {"image": torch.from_numpy(image)[None]}
        for part in ("mask", "seg"):
            label = np.asarray(getattr(self.volumes, part)[volume, k], dtype=np.float32)
            item[part] = torch.from_numpy(label)[None]
        return {**item, "volume": volume, "slice": k}
