"""From a registered volume to slices in [0, 1]: the steps of METHOD.md, "Geometry".

Order of the released code: curvature flow, center crop or pad, clip to percentiles inside the
brain, min-max to [0, 1], resample (image: B-spline; labels: nearest neighbor). Each step is a
function here, and equals the released code's output. Two steps are ours: the B-spline overshoots
[0, 1] by up to 0.15, so the image is clipped to [0, 1] again; and voxels outside the mask are 0.

Volumes are (X, Y, Z) in RAS order. The crop has a fixed center in MNI space when the affine places
the brain there, and the center of the array otherwise (as the released code, which drops affines).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from sadm_utils.errors import UserError

CROP_CENTER_MM = (0.0, -18.0, 18.0)
"""Center of the crop in MNI space. 100 mm around it reach from z = -32 to 68 mm: the cerebrum but
for its topmost gyri and the temporal poles; most of the cerebellum falls out."""

MNI_BRAIN_CENTER_MM = (0.0, -22.0, 10.0)
"""Center of mass of the MNI152 brain mask."""


@dataclass(frozen=True)
class Grid:
    """How a processed volume lies in its input volume (all tuples along X, Y, Z).

    Attributes
    ----------
    input_shape, input_zooms
        Voxels and voxel size (mm) of the input.
    start, crop_shape
        First input voxel and number of input voxels of the crop; ``start`` is negative where the
        crop pads.
    shape, voxel_mm
        Voxels and (isotropic) voxel size of the processed volume.
    affine
        (4, 4) of the processed volume: voxel index to the millimeters of the input's affine.
    """

    input_shape: tuple[int, ...]
    input_zooms: tuple[float, ...]
    start: tuple[int, ...]
    crop_shape: tuple[int, ...]
    shape: tuple[int, ...]
    voxel_mm: float
    affine: np.ndarray

    @property
    def scale(self) -> np.ndarray:
        """Input voxels per output voxel."""
        return self.voxel_mm / np.asarray(self.input_zooms)

    @property
    def offset(self) -> np.ndarray:
        """Position of the first output voxel, in voxels of the crop (fields of view centered)."""
        return ((np.asarray(self.crop_shape) - np.asarray(self.shape) * self.scale) / 2
                + (self.scale - 1) / 2)

    @property
    def identity(self) -> bool:
        """Whether input and output voxels are the same, so that nothing is interpolated."""
        return self.shape == self.crop_shape and bool(np.allclose(self.scale, 1, atol=1e-3))


@dataclass(frozen=True)
class Processed:
    """A processed volume (X, Y, Z): ``image`` float32 in [0, 1], ``mask`` and ``seg`` uint8 {0, 1},
    and the ``grid`` that :func:`restore_volume` needs to go back."""

    image: np.ndarray
    mask: np.ndarray
    seg: np.ndarray
    grid: Grid


def preprocess_volume(
    image: np.ndarray,
    mask: np.ndarray,
    seg: np.ndarray | None,
    zooms: tuple[float, float, float],
    *,
    affine: np.ndarray | None = None,
    crop_mm: tuple[float, ...] = (192, 192, 100),
    voxel_mm: float = 2.0,
    curvature_steps: int = 3,
    percentiles: tuple[float, ...] = (1, 99),
) -> Processed:
    """Make a registered volume ready for the models (METHOD.md, "Geometry").

    Parameters
    ----------
    image
        (X, Y, Z) finite, any units, RAS order.
    mask
        Brain mask of the same shape, nonzero inside.
    seg
        Lesion mask of the same shape, or None for none.
    zooms
        Voxel size in millimeters; 1 mm in the paper, coarser input is taken as it is.
    affine
        (4, 4) voxel to MNI millimeters, if known; see :func:`plan_grid`.
    crop_mm, voxel_mm
        Field of view and voxel size of the result: shape = round(crop_mm / voxel_mm).
    curvature_steps
        Iterations of the curvature flow; 0 leaves it out.
    percentiles
        Lower and upper intensity bounds, in percent of the voxels inside the mask.

    Raises
    ------
    UserError
        Shapes differ, the mask is empty or outside of the crop, or the image is constant.
    """
    for name, label in (("mask", mask), ("lesion mask", seg)):
        if label is not None and label.shape != image.shape:
            raise UserError(
                f"The {name} has shape {label.shape}, its image {image.shape}: "
                f"resample the {name} to the image's grid."
            )
    brain = np.asarray(mask) > 0.5
    lesion = np.zeros_like(brain) if seg is None else np.asarray(seg) > 0.5
    if not brain.any():
        raise UserError("The brain mask is empty: give a mask that is 1 inside the brain.")
    grid = plan_grid(brain, zooms, affine, crop_mm, voxel_mm)
    smooth = _flow_in_crop(np.asarray(image, dtype=np.float32), grid, curvature_steps)
    crop_brain = crop_or_pad(brain.astype(np.uint8), grid.start, grid.crop_shape)
    crop_lesion = crop_or_pad(lesion.astype(np.uint8), grid.start, grid.crop_shape)
    if not crop_brain.any():
        raise UserError("The brain lies outside of the crop: register the scan to MNI space.")
    scaled = rescale(smooth, crop_brain, percentiles)
    small_brain = resample_labels(crop_brain, grid)
    small_lesion = resample_labels(crop_lesion, grid)
    small = np.clip(resample_image(scaled, grid), 0.0, 1.0) * small_brain
    return Processed(small.astype(np.float32), small_brain, small_lesion, grid)


def plan_grid(
    brain: np.ndarray,
    zooms: tuple[float, float, float],
    affine: np.ndarray | None,
    crop_mm: tuple[float, ...],
    voxel_mm: float,
) -> Grid:
    """Place the crop and the output voxels.

    The crop is centered at :data:`CROP_CENTER_MM` (to the nearest whole voxel) if ``affine`` has
    RAS axes and puts the center of ``brain`` within 25 mm of the MNI brain's; else at the center
    of the array.
    """
    zoom, crop = np.asarray(zooms, dtype=float), np.asarray(crop_mm, dtype=float)
    crop_shape = np.maximum(np.ceil(crop / zoom - 0.05), 1).astype(int)
    shape = np.maximum(np.rint(crop / voxel_mm), 1).astype(int)
    if affine is not None and in_mni_space(brain, affine):
        center = np.linalg.solve(affine, np.append(CROP_CENTER_MM, 1.0))[:3]
        start = np.floor(center - (crop_shape - 1) / 2 + 0.5).astype(int)
    else:
        start = centered_start(brain.shape, crop_shape)
    world = np.diag([*zoom, 1.0]) if affine is None else np.asarray(affine, dtype=float)
    grid = Grid(
        tuple(brain.shape), tuple(map(float, zoom)), tuple(map(int, start)),
        tuple(map(int, crop_shape)), tuple(map(int, shape)), float(voxel_mm), np.eye(4),
    )
    place = np.diag([*grid.scale, 1.0])
    place[:3, 3] = start + grid.offset
    return replace(grid, affine=world @ place)


def in_mni_space(brain: np.ndarray, affine: np.ndarray, tolerance_mm: float = 25.0) -> bool:
    """Whether the affine has RAS axes and puts the brain where the MNI152 brain is."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.any(np.diag(directions) < 0.97):
        return False
    sums = [brain.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    index = [float((np.arange(s.size) * s).sum() / max(s.sum(), 1)) for s in sums]
    center = (affine @ np.append(index, 1.0))[:3]
    return bool(np.all(np.abs(center - MNI_BRAIN_CENTER_MM) < tolerance_mm))


def curvature_flow(array: np.ndarray, steps: int = 3, time_step: float = 0.125) -> np.ndarray:
    """Smooth along edges: ``steps`` iterations of curvature flow. (X, Y, Z) to float64."""
    if steps == 0:
        return array.astype(np.float64)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    flowed = sitk.CurvatureFlow(image, timeStep=time_step, numberOfIterations=steps)
    return sitk.GetArrayFromImage(flowed).transpose(2, 1, 0)


def centered_start(shape: tuple[int, ...], target: np.ndarray) -> np.ndarray:
    """First voxel of a centered crop (rounded up), negative where the target is larger (pads)."""
    difference = np.asarray(shape) - np.asarray(target)
    return np.where(difference >= 0, (difference + 1) // 2, -((1 - difference) // 2)).astype(int)


def crop_or_pad(
    array: np.ndarray, start: tuple[int, ...] | np.ndarray, shape: tuple[int, ...] | np.ndarray
) -> np.ndarray:
    """Cut ``shape`` voxels from index ``start``; what lies outside of the array is 0."""
    result = np.zeros(tuple(shape), dtype=array.dtype)
    source = tuple(
        slice(max(s, 0), max(min(s + n, size), 0))
        for s, n, size in zip(start, shape, array.shape, strict=True)
    )
    part = array[source]
    if part.size:
        target = tuple(
            slice(max(-s, 0), max(-s, 0) + n) for s, n in zip(start, part.shape, strict=True)
        )
        result[target] = part
    return result


def rescale(
    array: np.ndarray, mask: np.ndarray, percentiles: tuple[float, ...] = (1, 99)
) -> np.ndarray:
    """Clip to percentiles of the voxels inside ``mask``, then min-max to [0, 1], float32."""
    array = array.astype(np.float32)
    low, high = np.percentile(array[mask > 0], percentiles)
    clipped = np.clip(array, low, high)
    low, high = float(clipped.min()), float(clipped.max())
    if not high > low:
        raise UserError("The image is constant inside the brain: check that it is the T1 scan.")
    return ((clipped - low) / (high - low)).astype(np.float32)


def resample_image(array: np.ndarray, grid: Grid) -> np.ndarray:
    """Interpolate the crop to the output voxels with a cubic B-spline; may overshoot [0, 1]."""
    return _resample(array.astype(np.float32), grid, sitk.sitkBSpline)


def resample_labels(array: np.ndarray, grid: Grid) -> np.ndarray:
    """Take the nearest voxel of the crop for each output voxel."""
    return _resample(array.astype(np.uint8), grid, sitk.sitkNearestNeighbor)


def restore_volume(volume: np.ndarray, grid: Grid) -> np.ndarray:
    """Bring a map on the processed grid back to the input's grid (linear; 0 outside of the crop).

    Parameters
    ----------
    volume
        (X, Y, Z) of ``grid.shape``.
    grid
        The :class:`Grid` of the :class:`Processed` volume.

    Returns
    -------
    numpy.ndarray
        float32 of ``grid.input_shape``.
    """
    if volume.shape != grid.shape:
        raise ValueError(f"volume has shape {volume.shape}, its grid {grid.shape}")
    crop = np.asarray(volume, dtype=np.float32)
    if not grid.identity:
        crop = ndimage.affine_transform(
            crop, 1 / grid.scale, -grid.offset / grid.scale,
            output_shape=grid.crop_shape, order=1, mode="nearest",
        )
    return crop_or_pad(crop, tuple(-s for s in grid.start), grid.input_shape)


def _flow_in_crop(image: np.ndarray, grid: Grid, steps: int) -> np.ndarray:
    """Curvature flow, then the crop. Each step reaches one voxel, so a margin of steps + 1 voxels
    around the crop gives the very values of a flow over the whole volume, at less cost."""
    margin = steps + 1
    low = [max(s - margin, 0) for s in grid.start]
    high = [
        min(s + n + margin, size)
        for s, n, size in zip(grid.start, grid.crop_shape, image.shape, strict=True)
    ]
    part = image[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    if not part.size:
        return np.zeros(grid.crop_shape)
    start = tuple(s - a for s, a in zip(grid.start, low, strict=True))
    return crop_or_pad(curvature_flow(part, steps), start, grid.crop_shape)


def _resample(array: np.ndarray, grid: Grid, interpolator: int) -> np.ndarray:
    if grid.identity:
        return array
    resampler = sitk.ResampleImageFilter()
    resampler.SetInterpolator(interpolator)
    resampler.SetSize(grid.shape)
    resampler.SetOutputSpacing(grid.scale.tolist())
    resampler.SetOutputOrigin(grid.offset.tolist())
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    return np.ascontiguousarray(sitk.GetArrayFromImage(resampler.Execute(image)).transpose(2, 1, 0))
