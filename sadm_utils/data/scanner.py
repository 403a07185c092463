"""A phantom as a scanner would give it: a tilted head, thick slices, axes of the scanner."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from sadm_utils.data.io import save_nifti
from sadm_utils.data.phantom_subject import Subject
from sadm_utils.data.register import apply_matrix

FIELD_MM = (204, 240, 204)


def scan_again(
    subject: Subject,
    folder: str | Path,
    *,
    degrees: tuple[float, float] = (12.0, -9.0),
    shift_mm: tuple[float, float, float] = (10.0, -15.0, 12.0),
    zooms: tuple[float, float, float] = (1.0, 1.0, 3.0),
) -> dict[str, Path]:
    """Write a phantom as NIfTI files in a scanner's space, skull-stripped.

    Parameters
    ----------
    subject
        From :func:`sadm_utils.data.phantom.simulate_subject`.
    folder
        Where ``image.nii.gz``, ``mask.nii.gz`` and ``seg.nii.gz`` are written.
    degrees
        How far the head nods and turns.
    shift_mm
        Where the head is, relative to MNI space.
    zooms
        Voxel size in mm; the signal is averaged over it.

    Returns
    -------
    dict
        The files by ``image``, ``mask`` and ``seg``. Their axes point to the left, the back and
        the top (LPS), as in most scanners.
    """
    nod, turn = (np.deg2rad(angle) for angle in degrees)
    world = np.eye(4)
    world[:3, :3] = _rotation(nod, 1, 2) @ _rotation(turn, 0, 1)
    world[:3, 3] = shift_mm
    shape = tuple(round(mm / zoom) for mm, zoom in zip(FIELD_MM, zooms, strict=True))
    affine = np.diag([-zooms[0], -zooms[1], zooms[2], 1.0])
    center = world @ subject.affine @ [*(np.array(subject.mask.shape) / 2), 1.0]
    affine[:3, 3] = center[:3] - affine[:3, :3] @ (np.array(shape) / 2)
    place = np.linalg.inv(world @ subject.affine) @ affine
    size = np.maximum(np.rint(np.array(zooms) / np.abs(np.diag(subject.affine)[:3])), 1)
    parts = {}
    for name in ("image", "mask", "seg"):
        thick = ndimage.uniform_filter(getattr(subject, name).astype(np.float32), size.astype(int))
        parts[name] = apply_matrix(thick, place, shape)
    brain = parts["mask"] > 0.5
    arrays = {"image": parts["image"] * brain, "mask": brain, "seg": parts["seg"] > 0.5}
    return {
        name: save_nifti(Path(folder) / f"{name}.nii.gz", array, affine)
        for name, array in arrays.items()
    }


def _rotation(angle: float, a: int, b: int) -> np.ndarray:
    """Rotation in the plane of two axes, 3 x 3."""
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
    return matrix
