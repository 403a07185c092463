"""Affine registration of a scan to the template (SimpleITK), and resampling by a matrix (scipy).

Points are RAS millimeters throughout; SimpleITK only sees axis-aligned grids in these coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from sadm_utils.data.brain import Template
from sadm_utils.data.io import Scan

COARSE_MM, FINE_MM = 4.0, 2.0
SAMPLING_SEED = 1
"""Of the jitter of sampled points, which SimpleITK would take from the clock."""
LOWEST_LEVEL = 0.2
"""A voxel with less of an interpolated mask is never part of it."""


@dataclass(frozen=True)
class Resampled:
    """An array on an axis-aligned, isotropic grid, and its affine."""

    array: np.ndarray
    affine: np.ndarray

    def to_sitk(self) -> sitk.Image:
        """The same image for SimpleITK."""
        image = sitk.GetImageFromArray(np.ascontiguousarray(self.array.transpose(2, 1, 0)))
        image.SetSpacing(self.affine.diagonal()[:3].tolist())
        image.SetOrigin(self.affine[:3, 3].tolist())
        return image


def align(scan: Scan, brain: np.ndarray | None, template: Template) -> np.ndarray:
    """Find the affine transform from MNI millimeters to the scan's millimeters.

    Brains are compared by correlation, edges of the brain included. A scan with skull (``brain``
    None) is compared inside the template's brain only, by mutual information.

    Returns
    -------
    numpy.ndarray
        (4, 4).
    """
    matrix = initial_matrix(scan, brain, template)
    array = scan.array if brain is None else np.where(brain, scan.array, 0)
    for voxel_mm in (COARSE_MM, FINE_MM):
        fixed = isotropic(template.image * template.mask, template.affine, voxel_mm)
        moving = isotropic(_crop_range(array), scan.affine, voxel_mm)
        region = None
        if brain is None:
            near = ndimage.binary_dilation(template.mask, iterations=4).astype(np.float32)
            region = isotropic(near, template.affine, voxel_mm)
            fixed = isotropic(template.image, template.affine, voxel_mm, around=near)
        matrix = _optimize(fixed, moving, matrix, region)
    return matrix


def initial_matrix(scan: Scan, brain: np.ndarray | None, template: Template) -> np.ndarray:
    """Start of the optimization: identity if the brains overlap already, else centers and size."""
    if brain is None:
        return _head_matrix(scan, template)
    place = np.linalg.inv(scan.affine) @ template.affine
    overlap = apply_matrix(brain.astype(np.float32), place, template.mask.shape) > 0.5
    if dice(overlap, template.mask) > 0.9:
        return np.eye(4)
    centers = [
        (affine @ np.append(ndimage.center_of_mass(mask), 1))[:3]
        for mask, affine in ((template.mask, template.affine), (brain, scan.affine))
    ]
    volumes = [np.count_nonzero(template.mask), np.count_nonzero(brain) * np.prod(scan.zooms)]
    matrix = np.eye(4) * (volumes[1] / volumes[0]) ** (1 / 3)
    matrix[:3, 3] = centers[1] - matrix[:3, :3] @ centers[0]
    matrix[3, 3] = 1
    return matrix


def apply_matrix(
    array: np.ndarray, matrix: np.ndarray, shape: tuple[int, ...], order: int = 1
) -> np.ndarray:
    """Sample ``array`` at ``matrix @ output index``: linearly, or of ``order`` 0 the nearest voxel;
    0 outside. float32 of ``shape``."""
    return ndimage.affine_transform(
        array, matrix[:3, :3], matrix[:3, 3], output_shape=shape, order=order, output=np.float32
    )


def apply_to_label(label: np.ndarray, matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Carry a mask along with its volume; bool of ``shape``.

    The mask is interpolated linearly, and as many of the highest voxels are kept as its volume asks
    for: cut at one half, lesions of a few voxels would shrink. What falls off the grid is lost.
    """
    values = apply_matrix(label.astype(np.float32), matrix, shape)
    candidates = np.flatnonzero(values > LOWEST_LEVEL)
    count = round(np.count_nonzero(label) / abs(float(np.linalg.det(matrix[:3, :3]))))
    if 0 < count < candidates.size:
        highest = np.argpartition(values.ravel()[candidates], -count)[-count:]
        candidates = candidates[highest]
    carried = np.zeros(values.shape, dtype=bool)
    carried.ravel()[candidates] = True
    return carried


def isotropic(
    array: np.ndarray,
    affine: np.ndarray,
    voxel_mm: float,
    *,
    around: np.ndarray | None = None,
    smooth: bool = True,
) -> Resampled:
    """Resample to an axis-aligned grid of ``voxel_mm`` that holds the box of nonzero voxels of
    ``around`` (or of the array) and a rim of zeros."""
    box = ndimage.find_objects(((array if around is None else around) != 0).astype(np.uint8))[0]
    part = np.pad(array[box].astype(np.float32), 2)  # room for the edges to fall off
    start = affine @ np.append([s.start - 2 for s in box], 1.0)
    place = affine.copy()
    place[:, 3] = start
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    if smooth:
        part = ndimage.gaussian_filter(part, 0.4 * voxel_mm / zooms, truncate=2.5)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in part.shape])).reshape(3, -1)
    world = place[:3, :3] @ corners + place[:3, 3:]
    low, high = world.min(1) - 2 * voxel_mm, world.max(1) + 2 * voxel_mm
    grid = np.diag([voxel_mm] * 3 + [1.0])
    grid[:3, 3] = low
    shape = tuple(int(n) for n in np.ceil((high - low) / voxel_mm) + 1)
    return Resampled(apply_matrix(part, np.linalg.inv(place) @ grid, shape), grid)


def dice(one: np.ndarray, two: np.ndarray) -> float:
    """Dice overlap of two bool arrays."""
    both = np.count_nonzero(one & two)
    return 2 * both / max(np.count_nonzero(one) + np.count_nonzero(two), 1)


def _crop_range(array: np.ndarray) -> np.ndarray:
    """Limit bright outliers (vessels, fat) to the 99.5th percentile of the nonzero voxels."""
    return np.clip(array, 0, np.percentile(array[array > 0], 99.5))


def _head_matrix(scan: Scan, template: Template) -> np.ndarray:
    """Start for a head with skull: its crown 12 mm above the brain's top, its sides centered."""
    level = 0.2 * np.percentile(scan.array, 99)
    head = isotropic((scan.array > level).astype(np.float32), scan.affine, COARSE_MM)
    solid = ndimage.binary_opening(head.array > 0.5)
    points = np.argwhere(solid) @ head.affine[:3, :3].T + head.affine[:3, 3]
    top = np.percentile(points[:, 2], 99.9)
    upper = points[points[:, 2] > top - 100]
    brain = np.argwhere(template.mask) @ template.affine[:3, :3].T + template.affine[:3, 3]
    matrix = np.eye(4)
    for axis in range(2):
        sides = upper[:, axis].min() + upper[:, axis].max()
        matrix[axis, 3] = (sides - brain[:, axis].min() - brain[:, axis].max()) / 2
    matrix[2, 3] = top - 12 - brain[:, 2].max()
    return matrix


def _optimize(
    fixed: Resampled, moving: Resampled, start: np.ndarray, region: Resampled | None
) -> np.ndarray:
    """One resolution level of gradient descent."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetInterpolator(sitk.sitkLinear)
    if region is None:
        method.SetMetricAsCorrelation()
    else:
        method.SetMetricAsMattesMutualInformation(32)
        method.SetMetricFixedMask(sitk.Cast(region.to_sitk() > 0.5, sitk.sitkUInt8))
    voxel_mm = fixed.affine[0, 0]
    if voxel_mm < COARSE_MM:
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(0.15, SAMPLING_SEED)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=voxel_mm / 2, minStep=voxel_mm / 100, numberOfIterations=80,
        relaxationFactor=0.6, gradientMagnitudeTolerance=1e-8,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    center = fixed.affine[:3, 3] + voxel_mm * (np.array(fixed.array.shape) - 1) / 2
    images = fixed.to_sitk(), moving.to_sitk()
    matrix = start
    transform = sitk.AffineTransform(3)
    transform.SetCenter(center.tolist())
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation((matrix[:3, :3] @ center + matrix[:3, 3] - center).tolist())
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(*images)
    result = np.eye(4)
    result[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    result[:3, 3] = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    return result
