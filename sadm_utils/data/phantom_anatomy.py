"""Healthy anatomy of the phantom cohort: the MNI152 template, bent into one subject's brain.

The T1 template is read as an axis of tissue (dark fluid, gray matter, bright white matter). A
subject bends the template in space, shifts that axis a little (wider or narrower sulci), and
translates it into its own scanner contrast.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from sadm_utils.data.phantom_fields import Grid, random_field, random_vectors

# Template intensity of pure tissue (medians of nilearn's MNI152 T1 where a map exceeds 0.9).
TEMPLATE_CSF, TEMPLATE_GRAY, TEMPLATE_WHITE = 0.28, 0.65, 0.87
_COARSE_MM = 2


@dataclass(frozen=True)
class AnatomyRanges:
    """How much healthy subjects differ. Pairs are (low, high) of a uniform draw."""

    scale: float = 0.02  # relative size, per axis, ± this
    rotation_deg: float = 1.0  # standard deviation, per axis
    translation_mm: float = 0.6  # standard deviation, per axis
    global_bend_mm: tuple[float, float] = (1.0, 2.2)  # rms of the deformation over ~40 mm
    gyral_bend_mm: tuple[float, float] = (0.4, 0.9)  # rms of the deformation over ~10 mm
    ventricle_mm: tuple[float, float] = (-0.8, 4.0)  # growth of the ventricle wall, age 20 to 85
    sulcus_shift: tuple[float, float] = (-0.03, 0.06)  # on the tissue axis, age 20 to 85
    sulcus_spread: float = 0.020  # rms of its regional variation
    csf: tuple[float, float] = (0.24, 0.36)  # contrast relative to white matter
    gray: tuple[float, float] = (0.68, 0.79)
    gray_regional: float = 0.015  # rms of the regional variation of gray and white matter


HEALTHY = AnatomyRanges()


@dataclass(frozen=True)
class Template:
    """MNI152 maps as arrays, with the position of their first voxel and their voxel size."""

    t1: np.ndarray  # 1 mm, 0 to 1
    white: np.ndarray  # 1 mm, 0 to 1
    depth: np.ndarray  # 2 mm: distance in mm to the brain's surface, negative outside
    ventricle: np.ndarray  # 2 mm: distance in mm to the ventricles, negative inside
    ventricle_normal: np.ndarray  # (3, …) 2 mm: outward normal, fading away from the ventricles
    origin: np.ndarray

    def sample(self, name: str, points: np.ndarray) -> np.ndarray:
        """Read one map at positions in mm (N, 3), linearly interpolated: (N,)."""
        array = getattr(self, name)
        step = 1 if name in ("t1", "white") else _COARSE_MM
        indices = ((points - self.origin) / step).T
        if array.ndim == 3:
            return ndimage.map_coordinates(array, indices, order=1, mode="nearest")
        parts = [ndimage.map_coordinates(part, indices, order=1, mode="nearest") for part in array]
        return np.stack(parts, axis=1)


def _signed_distance(inside: np.ndarray) -> np.ndarray:
    outward = ndimage.distance_transform_edt(~inside)
    inward = ndimage.distance_transform_edt(inside)
    return ((outward - inward) * _COARSE_MM).astype(np.float32)


def _ventricles(t1: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """The largest body of fluid deep inside the brain."""
    labels, _ = ndimage.label((t1 < 0.48) & (depth > 14))
    return labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1


@lru_cache(maxsize=1)
def load_template() -> Template:
    """Load the MNI152 T1 and white-matter maps from nilearn's wheel (no network), once.

    Returns
    -------
    Template
        The maps at 1 mm and distances derived from them at 2 mm.
    """
    from nilearn import datasets  # slow to import: only where a phantom is simulated

    t1_image = datasets.load_mni152_template(resolution=1)
    t1 = t1_image.get_fdata(dtype=np.float32)
    white = datasets.load_mni152_wm_template(resolution=1).get_fdata(dtype=np.float32)
    coarse = t1[::_COARSE_MM, ::_COARSE_MM, ::_COARSE_MM]
    depth = -_signed_distance(ndimage.binary_fill_holes(coarse > 0.05))
    ventricle = _signed_distance(_ventricles(coarse, depth))
    smooth = ndimage.gaussian_filter(ventricle, 1.5)
    normal = np.stack(np.gradient(smooth, _COARSE_MM)).astype(np.float32)
    normal *= np.exp(-np.abs(ventricle) / 12)
    origin = t1_image.affine[:3, 3].astype(np.float32)
    return Template(t1, white, depth, ventricle, normal, origin)


@lru_cache(maxsize=4)
def region_of_interest(voxel_mm: float) -> np.ndarray:
    """Voxels that any subject's brain may reach: the template's brain and a margin of 9 mm."""
    grid = Grid(voxel_mm)
    everywhere = grid.points(np.ones(grid.shape, dtype=bool))
    return (load_template().sample("depth", everywhere) > -9).reshape(grid.shape)


@dataclass(frozen=True)
class Head:
    """What is drawn for one subject before anything is computed on a grid."""

    age: float
    matrix: np.ndarray  # 3×3, template to subject, around CENTER_MM
    shift: np.ndarray  # mm
    global_bend_mm: float
    gyral_bend_mm: float
    ventricle_mm: float
    sulcus_shift: float
    csf: float
    gray: float

    def to_subject(self, points: np.ndarray) -> np.ndarray:
        """Affine part of the map from template to subject, positions in mm (…, 3)."""
        return points @ self.matrix.T + self.shift

    def to_template(self, points: np.ndarray) -> np.ndarray:
        """Inverse of ``to_subject``."""
        return ((points - self.shift) @ np.linalg.inv(self.matrix).T).astype(np.float32)


def _rotation(angles: np.ndarray) -> np.ndarray:
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        first, second = [other for other in range(3) if other != axis]
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def draw_head(
    rng: np.random.Generator, age: float, ranges: AnatomyRanges = HEALTHY
) -> Head:
    """Draw the numbers that describe one healthy head.

    Parameters
    ----------
    rng
        Source of randomness.
    age
        Age in years; ventricles and sulci widen with it.
    ranges
        How much subjects differ.
    """
    years = np.clip((age - 20) / 65, 0, 1)

    def with_age(low_high: tuple[float, float], spread: float) -> float:
        low, high = low_high
        return float(low + (high - low) * np.clip(years + spread * rng.standard_normal(), 0, 1.2))

    scale = (1 + rng.uniform(-1, 1) * ranges.scale) * (
        1 + rng.uniform(-0.5, 0.5, size=3) * ranges.scale
    )
    turn = _rotation(np.deg2rad(ranges.rotation_deg) * rng.standard_normal(3))
    return Head(
        age=age,
        matrix=turn @ np.diag(scale),
        shift=ranges.translation_mm * rng.standard_normal(3),
        global_bend_mm=rng.uniform(*ranges.global_bend_mm),
        gyral_bend_mm=rng.uniform(*ranges.gyral_bend_mm),
        ventricle_mm=with_age(ranges.ventricle_mm, 0.2),
        sulcus_shift=with_age(ranges.sulcus_shift, 0.15),
        csf=rng.uniform(*ranges.csf),
        gray=rng.uniform(*ranges.gray),
    )


@dataclass
class Tissue:
    """One subject's tissue at N voxels of a grid."""

    points: np.ndarray  # (N, 3) positions in mm
    value: np.ndarray  # (N,) signal relative to white matter = 1
    white: np.ndarray  # (N,) share of white matter
    fluid: np.ndarray  # (N,) share of cerebrospinal fluid
    depth: np.ndarray  # (N,) distance in mm to the brain's surface, negative outside
    ventricle: np.ndarray  # (N,) distance in mm to the ventricles, negative inside


def build_tissue(
    rng: np.random.Generator,
    head: Head,
    grid: Grid,
    inside: np.ndarray,
    displacement: np.ndarray,
    ranges: AnatomyRanges = HEALTHY,
) -> Tissue:
    """Bend the template into a subject and translate it into the subject's contrast.

    Parameters
    ----------
    rng
        Source of the deformation.
    head
        The subject's numbers.
    grid, inside
        The N voxels (X, Y, Z, boolean) to compute.
    displacement
        (N, 3) in mm: where a lesion has moved the tissue that is now at each voxel, as the
        vector from its place before to its place now. Zeros for a healthy subject.

    Returns
    -------
    Tissue
        Maps at the N voxels.
    """
    template = load_template()
    points = grid.points(inside)
    bend = head.global_bend_mm / np.sqrt(3) * random_vectors(rng, grid, 40, inside)
    bend += head.gyral_bend_mm / np.sqrt(3) * random_vectors(rng, grid, 11, inside)
    growth = head.ventricle_mm * (1 + 0.25 * random_field(rng, grid, 50)[inside])
    source = head.to_template(points - displacement) + bend
    source -= growth[:, None] * template.sample("ventricle_normal", source)
    source = source.astype(np.float32)
    t1 = template.sample("t1", source)
    white = template.sample("white", source)
    shift = head.sulcus_shift + ranges.sulcus_spread * random_field(rng, grid, 13)[inside]
    level = t1 - shift * np.clip((0.80 - t1) / 0.15, 0, 1)
    fluid = np.clip((0.58 - level) / (0.58 - 0.40), 0, 1)
    value = _contrast(level, head.csf, head.gray)
    value *= 1 + ranges.gray_regional * random_field(rng, grid, 22)[inside]
    depth = template.sample("depth", source)
    return Tissue(points, value, white, fluid, depth, template.sample("ventricle", source))


def _contrast(level: np.ndarray, csf: float, gray: float) -> np.ndarray:
    """Translate the template's tissue axis into signal relative to white matter = 1."""
    knots = [0.0, 0.20, 0.40, 0.58, TEMPLATE_GRAY, 0.71, 0.80, TEMPLATE_WHITE, 1.0]
    low, high = gray * 0.98, gray + 0.22 * (1 - gray)
    signal = [csf, csf, csf * 1.05, low, gray, high, 0.97 - 0.1 * (1 - gray), 1.0, 1.05]
    return np.interp(level, knots, signal).astype(np.float32)
