"""Brains made of blobs: inputs of the right size and brain share, in a moment and without files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import ndimage

from sadm_utils.data.volumes import PARTS, Volumes


def brain_volume(shape: tuple[int, int, int], seed: int = 0) -> dict[str, np.ndarray]:
    """An image, its reconstruction, a brain mask of about 45 % and a lesion, each of ``shape``."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    mask = sum((a / r) ** 2 for a, r in zip(axes, (0.75, 0.92, 1.25), strict=True)) < 1
    blobs = ndimage.gaussian_filter(rng.standard_normal(shape), 2)
    image = np.clip(0.5 + 0.2 * blobs / blobs.std(), 0, 1) * mask
    center = rng.uniform(-0.3, 0.3, 3)
    seg = sum((a - c) ** 2 for a, c in zip(axes, center, strict=True)) < 0.15**2
    image = np.where(seg & mask, 0.4 * image, image)
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), 1)
    rebuilt = np.clip(0.5 + 0.2 * blobs / blobs.std() + 0.05 * noise / noise.std(), 0, 1) * mask
    return {
        "image": image.astype(np.float32),
        "reconstruction": rebuilt.astype(np.float32),
        "mask": mask.astype(np.uint8),
        "seg": (seg & mask).astype(np.uint8),
    }


def brain_slices(count: int, size: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Axial slices and their brain masks, both float32 (count, 1, size, size)."""
    volume = brain_volume((size, size, 2 * count), seed)
    middle = slice(count // 2, count // 2 + count)
    parts = (volume[name][..., middle].transpose(2, 0, 1).copy() for name in ("image", "mask"))
    image, mask = (torch.from_numpy(part).float()[:, None] for part in parts)
    return image, mask


def slice_store(
    folder: Path, subjects: int, size: int = 96, depth: int = 50, lesions: bool = False
) -> Volumes:
    """A split on disk as the store lays it out, memory-mapped: one brain, shifted a little."""
    volume = brain_volume((size, size, depth))
    if not lesions:
        volume["seg"][:] = 0
    arrays = []
    for part, kind in PARTS.items():
        file = folder / f"{part}_{subjects}_{int(lesions)}.npy"
        one = volume[part].transpose(2, 0, 1).astype(kind)
        shape = (subjects, depth, size, size)
        array = np.lib.format.open_memmap(file, mode="w+", dtype=kind, shape=shape)
        for row in range(subjects):
            array[row] = np.roll(one, row % 5, axis=1)
        array.flush()
        arrays.append(np.load(file, mmap_mode="r"))
    names = [f"S{row:04d}" for row in range(subjects)]
    table = pd.DataFrame({"subject": names})
    return Volumes(*arrays, names, np.full(subjects, int(lesions)), table)
