"""What a scan's numbers tell before and after registration: background, contrast, lesions."""

from __future__ import annotations

import numpy as np

from sadm_utils.data.brain import Template
from sadm_utils.errors import UserError

UNDERSHOOT = 0.05
"""Up to this share of the foreground, negative values come from interpolation and become 0."""

LIKE_T1 = 0.2
"""Least correlation with the MNI152 T1 inside the brain; 14 real T1 scans have 0.42 to 0.57."""

MOST_OUTSIDE = 0.5
NOTED_OUTSIDE = 0.1


def shift_negative(array: np.ndarray) -> tuple[np.ndarray, str]:
    """Make a scan with a negative foreground (as after z-scoring) positive, its background 0.

    Parameters
    ----------
    array
        (X, Y, Z) float32, finite.

    Returns
    -------
    array, note
        The array itself and an empty note if there is nothing to do, which includes the small
        negative values that interpolation leaves.
    """
    lowest = float(array.min())
    if lowest >= 0:
        return array, ""
    faces = [np.take(array, end, axis) for axis in range(3) for end in (0, -1)]
    border = np.concatenate([face.ravel() for face in faces])
    background = float(np.median(border))
    flat = np.mean(border == background) > 0.5
    inside = array != background if flat else np.ones(array.shape, dtype=bool)
    if np.count_nonzero(array[inside] < 0) <= UNDERSHOOT * np.count_nonzero(inside):
        return array, ""
    low = float(array[inside].min())
    step = 1e-3 * (float(array[inside].max()) - low)
    shifted = np.where(inside, array - low + step, 0).astype(np.float32)
    return shifted, f"Intensities started at {lowest:.3g} and were shifted to start at 0."


def contrast(image: np.ndarray, inside: np.ndarray, template: Template) -> float:
    """Correlation of a registered image with the T1 template inside the brain, -1 to 1."""
    where = inside & template.mask
    if np.count_nonzero(where) < 2 or np.ptp(image[where]) == 0:
        return 0.0
    return float(np.corrcoef(image[where], template.image[where])[0, 1])


def check_contrast(score: float, path: object) -> None:
    """Refuse a scan whose contrast is opposite to a T1 scan's: fluid bright, white matter dark.

    Raises
    ------
    UserError
        If the correlation with the template is negative.
    """
    if score < 0:
        raise UserError(
            f"{path} looks like a T2-weighted scan (fluid is bright; correlation with the T1 "
            f"template {score:.2f}): give the T1 scan."
        )


def check_lesion(lesion: np.ndarray, inside: np.ndarray, native_ml: float, path: object) -> str:
    """Check a registered lesion mask against the brain.

    Parameters
    ----------
    lesion, inside
        (X, Y, Z) bool: lesion and brain on the 1 mm grid.
    native_ml
        Volume of the lesion in the scan's own voxels.
    path
        The lesion mask's file, for messages.

    Returns
    -------
    str
        A note, or an empty string.

    Raises
    ------
    UserError
        No lesion is left on the 1 mm grid, or most of it lies outside of the brain.
    """
    voxels = np.count_nonzero(lesion)
    if not voxels:
        raise UserError(
            f"The lesion mask {path} ({native_ml:.2f} ml) shows nothing in MNI space: check that "
            "it belongs to this scan."
        )
    outside = np.count_nonzero(lesion & ~inside) / voxels
    if outside > MOST_OUTSIDE:
        raise UserError(
            f"{100 * outside:.0f} % of the lesion mask {path} lies outside of the brain: check "
            "that it belongs to this scan."
        )
    if outside > NOTED_OUTSIDE:
        return f"{100 * outside:.0f} % of the lesion lies outside of the brain mask."
    return ""
