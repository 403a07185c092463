"""From MNI space back to the scan's own voxels, long after the scan was prepared."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from sadm_utils.data.brain import load_template
from sadm_utils.data.preprocess import Grid, restore_volume
from sadm_utils.data.register import apply_matrix
from sadm_utils.errors import UserError


def read_transform(record: str | Path) -> dict[str, np.ndarray]:
    """Read ``matrix``, ``native_shape`` and ``native_affine`` of a subject's record, and the
    template's grid, ``shape`` and ``affine``.

    Raises
    ------
    UserError
        The record does not exist or is not complete.
    """
    try:
        values = json.loads(Path(record).read_text())
        found = {key: np.array(values[key]) for key in ("matrix", "native_shape", "native_affine")}
        grid = values.get("grid")
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{record} is no record of a prepared subject: run 'sadm prepare' again."
        ) from error
    if grid is None:  # written before there were other templates
        grid = {"shape": load_template().mask.shape, "affine": load_template().affine}
    return found | {key: np.array(value) for key, value in grid.items()}


def map_to_native(
    volume: np.ndarray, record: str | Path, grid: Grid | None = None, *, order: int = 1
) -> nib.Nifti1Image:
    """Bring a map to the voxels of the raw scan.

    Parameters
    ----------
    volume
        (X, Y, Z) on the 1 mm grid of a prepared scan, or on ``grid`` if that is given.
    record
        ``registration/<SET>_<subject>.json`` of the prepared data set.
    grid
        Grid of a processed volume (``Processed.grid``, or ``Volumes.grid`` of the store).
    order
        1 for linear interpolation, 0 for the nearest voxel.

    Returns
    -------
    nibabel.Nifti1Image
        float32 with the shape and the affine of the raw scan, 0 outside of the map.
    """
    transform = read_transform(record)
    if grid is not None:
        volume = restore_volume(volume, grid)
    expected = tuple(int(n) for n in transform["shape"])
    if volume.shape != expected:
        raise ValueError(f"volume has shape {volume.shape}, not {expected}")
    affine = transform["native_affine"]
    place = np.linalg.inv(transform["matrix"] @ transform["affine"]) @ affine
    shape = tuple(int(n) for n in transform["native_shape"])
    return nib.Nifti1Image(apply_matrix(volume.astype(np.float32), place, shape, order), affine)
