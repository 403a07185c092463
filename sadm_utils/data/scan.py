"""A scan in any native space to MNI space and back.

The scan is brought to the 1 mm grid of nilearn's MNI152 template (the phantom's grid) by an affine
registration, and its bias field is divided out: METHOD.md's "raw T1 -> 1 mm, registered,
skull-stripped, bias-field corrected". Everything is one 4x4 matrix, so a map comes back to the
scan's own voxels exactly, whatever its orientation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from sadm_utils.data.brain import BrainMask, Template, cut_hanging, find_brain, load_template
from sadm_utils.data.intensity import check_lesion, contrast, shift_negative
from sadm_utils.data.io import load_label, load_nifti
from sadm_utils.data.preprocess import Grid, Processed, preprocess_volume, restore_volume
from sadm_utils.data.register import align, apply_matrix, apply_to_label, dice, isotropic
from sadm_utils.errors import UserError

LOWEST_DICE = 0.80
N4_MM = 6.0


@dataclass(frozen=True)
class Registered:
    """A scan on the 1 mm grid of the template.

    Attributes
    ----------
    image, mask, seg
        (197, 233, 189) for MNI152: float32 >= 0 and 0 outside the brain; uint8 {0, 1}; the same, or
        None.
    affine
        (4, 4) voxel index to MNI (or other template) millimeters.
    matrix
        (4, 4) MNI millimeters to the scan's own millimeters.
    native_shape, native_affine
        The scan's own grid.
    brain
        Where the brain mask came from, and what to know about it.
    dice
        Overlap of the registered brain mask with the template's; 1 for a perfect fit. For a mask
        taken from the template it says nothing.
    contrast
        Correlation with the template's intensities inside the brain; negative for a T2 scan.
    lesion_ml
        Volume of the lesion in the scan's own voxels; 0 for none.
    notes
        What was changed or is unusual, a sentence each.
    template
        What the scan was registered to; None for MNI152.
    """

    image: np.ndarray
    mask: np.ndarray
    seg: np.ndarray | None
    affine: np.ndarray
    matrix: np.ndarray
    native_shape: tuple[int, ...]
    native_affine: np.ndarray
    brain: BrainMask
    dice: float
    contrast: float = 1.0
    lesion_ml: float = 0.0
    notes: tuple[str, ...] = ()
    template: Template | None = None


def register_scan(
    path: str | Path,
    mask: str | Path | None = None,
    seg: str | Path | None = None,
    *,
    bias_correction: bool = True,
    brain: str = "auto",
    lesion_values: tuple[int, ...] = (),
    template: Template | None = None,
) -> Registered:
    """Register a T1 scan to MNI152, or to another template (12 parameters).

    Parameters
    ----------
    path
        The scan: NIfTI, any orientation and voxel size; with or without skull.
    mask
        Brain mask on the scan's grid. Without one, a scan whose background is 0 and whose head is
        no larger than a brain counts as skull-stripped; else HD-BET, if it is installed, or the
        template's mask is used.
    seg
        Lesion mask on the scan's grid.
    bias_correction
        Divide by a smooth bias field (N4 at 6 mm).
    brain
        Where the brain mask comes from: one of ``brain.BRAIN_CHOICES``.
    lesion_values
        Values of the lesion mask that are lesion; by default all but 0.
    template
        From :func:`sadm_utils.data.template.read_template`; None for MNI152.

    Raises
    ------
    UserError
        A file is unfit, the scan cannot be registered, or its lesion is nowhere in the brain.
    """
    scan = load_nifti(path)
    array, shifted = shift_negative(scan.array)
    scan = replace(scan, array=array)
    labels = {
        name: load_label(file, name, path, scan, values) if file else None
        for name, file, values in (("brain mask", mask, ()), ("lesion mask", seg, lesion_values))
    }
    target = template or load_template()
    found = find_brain(scan, labels["brain mask"], path, brain)
    matrix = align(scan, found.array, target)
    place = np.linalg.inv(scan.affine) @ matrix @ target.affine
    shape = target.mask.shape
    if found.array is None:
        inside = target.mask & (apply_matrix(np.ones_like(scan.array), place, shape) > 0.5)
    else:
        inside = apply_matrix(found.array.astype(np.float32), place, shape) > 0.5
    trimmed = ""
    if found.source == "stripped":
        inside, trimmed = cut_hanging(inside, target)
    overlap = dice(inside, target.mask)
    if overlap < LOWEST_DICE:
        raise UserError(
            f"{path} could not be registered to {target.name} (overlap of the brains "
            f"{overlap:.2f}): check the orientation in its header, or give a brain mask."
        )
    image = np.maximum(apply_matrix(scan.array, place, shape), 0)
    lesion, volume, note = labels["lesion mask"], 0.0, ""
    if lesion is not None:
        volume = float(np.count_nonzero(lesion) * np.prod(scan.zooms) / 1000)
        lesion = apply_to_label(lesion, place, shape)
        note = check_lesion(lesion, inside, volume, seg)
        lesion = lesion.astype(np.uint8)
    if bias_correction:
        image = _divide_bias(image, inside, target.affine)
    likeness = contrast(image, inside, target)
    return Registered(
        (image * inside).astype(np.float32), inside.astype(np.uint8), lesion, target.affine,
        matrix, scan.array.shape, scan.affine, found, overlap, likeness, volume,
        tuple(sentence for sentence in (shifted, trimmed, note) if sentence),
        template,
    )


def process_scan(registered: Registered, **settings: object) -> Processed:
    """Preprocess a registered scan; ``settings`` as in ``preprocess.preprocess_volume``."""
    return preprocess_volume(
        registered.image, registered.mask, registered.seg, (1.0, 1.0, 1.0),
        affine=registered.affine, **settings,
    )


def to_native(
    volume: np.ndarray, registered: Registered, grid: Grid | None = None
) -> nib.Nifti1Image:
    """Bring a map back to the scan's own voxels (linear interpolation, 0 outside of the map).

    Parameters
    ----------
    volume
        (X, Y, Z) on the registered grid, or on ``grid`` if that is given.
    registered
        What :func:`register_scan` returned for the scan.
    grid
        Grid of a processed volume (``Processed.grid``).

    Returns
    -------
    nibabel.Nifti1Image
        float32 with the scan's own shape and affine.
    """
    if grid is not None:
        volume = restore_volume(volume, grid)
    if volume.shape != registered.image.shape:
        raise ValueError(f"volume has shape {volume.shape}, not {registered.image.shape}")
    place = np.linalg.inv(registered.matrix @ registered.affine) @ registered.native_affine
    native = apply_matrix(volume.astype(np.float32), place, registered.native_shape)
    return nib.Nifti1Image(native, registered.native_affine)


def _divide_bias(image: np.ndarray, inside: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """N4 bias-field correction: the field is fitted at 6 mm and interpolated."""
    coarse = [
        isotropic(array, affine, N4_MM, around=inside, smooth=False)
        for array in (image, inside.astype(np.float32))
    ]
    volume, brain = (sitk.GetImageFromArray(np.maximum(c.array, 0)) for c in coarse)
    brain = sitk.Cast(brain > 0.5, sitk.sitkUInt8)
    correct = sitk.N4BiasFieldCorrectionImageFilter()
    correct.SetMaximumNumberOfIterations([15, 15, 15])
    correct.SetNumberOfThreads(1)
    correct.Execute(volume + 1.0, brain)
    field = sitk.GetArrayFromImage(correct.GetLogBiasFieldAsImage(volume))
    place = np.linalg.inv(coarse[0].affine) @ affine
    zoom = place.diagonal()[:3]
    field = ndimage.affine_transform(
        field, zoom, place[:3, 3], output_shape=image.shape, order=1, mode="nearest"
    )
    return image / np.exp(field - np.median(field[inside]))
