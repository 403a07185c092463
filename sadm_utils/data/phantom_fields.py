"""Voxel grids in millimeters and smooth random fields for the phantom cohort.

A field is a cubic B-spline with random coefficients on a lattice that is fixed in millimeters
(the free-form deformation of Rueckert et al., 1999). The coefficients do not depend on the voxel
size, so that a subject has the same anatomy at 1, 2 and 3 mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

# The field of view of nilearn's MNI152 maps at 1 mm, and the position of its center.
FIELD_OF_VIEW_MM = (197.0, 233.0, 189.0)
CENTER_MM = (0.0, -18.0, 22.0)
# Mean of the squared cubic B-spline weights in one dimension: the variance of a random spline.
_SPLINE_POWER = 151 / 315


@dataclass(frozen=True)
class Grid:
    """A regular grid over the MNI152 field of view, axes to the right, front and top (RAS).

    Parameters
    ----------
    voxel_mm
        Edge of a voxel in mm.
    """

    voxel_mm: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along X, Y, Z; covers the field of view."""
        x, y, z = (int(np.ceil(extent / self.voxel_mm)) for extent in FIELD_OF_VIEW_MM)
        return x, y, z

    @property
    def origin(self) -> np.ndarray:
        """Position of the first voxel's center in mm; all grids share the same center."""
        return np.array(CENTER_MM) - (np.array(self.shape) - 1) / 2 * self.voxel_mm

    @cached_property
    def affine(self) -> np.ndarray:
        """The 4×4 map from voxel indices to MNI millimeters."""
        affine = np.diag([self.voxel_mm] * 3 + [1.0])
        affine[:3, 3] = self.origin
        return affine

    def axis(self, number: int) -> np.ndarray:
        """Positions in mm of the voxel centers along one axis."""
        return self.origin[number] + self.voxel_mm * np.arange(self.shape[number])

    def points(self, inside: np.ndarray) -> np.ndarray:
        """Positions in mm (N, 3) of the voxels where ``inside`` (X, Y, Z) is true."""
        return (np.argwhere(inside) * self.voxel_mm + self.origin).astype(np.float32)


@lru_cache(maxsize=64)
def _spline_matrix(voxel_mm: float, spacing_mm: float, number: int) -> np.ndarray:
    """Weights (voxels, lattice nodes) of the cubic B-spline along one axis."""
    grid = Grid(voxel_mm)
    start = CENTER_MM[number] - FIELD_OF_VIEW_MM[number] / 2 - 3
    nodes = start + spacing_mm * np.arange(-1, lattice_shape(spacing_mm)[number] - 1)
    distance = np.abs(grid.axis(number)[:, None] - nodes[None, :]) / spacing_mm
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


def lattice_shape(spacing_mm: float) -> tuple[int, int, int]:
    """Number of B-spline nodes along each axis; they cover the field of view and a margin."""
    x, y, z = (int(np.ceil((extent + 6) / spacing_mm)) + 3 for extent in FIELD_OF_VIEW_MM)
    return x, y, z


def random_field(rng: np.random.Generator, grid: Grid, spacing_mm: float) -> np.ndarray:
    """Draw a smooth random field of mean 0 and variance 1.

    Parameters
    ----------
    rng
        Source of the coefficients; the number of draws depends on ``spacing_mm`` alone.
    grid
        Where the field is evaluated.
    spacing_mm
        Distance of the nodes in mm; the field is correlated over about 1.5 times this distance.

    Returns
    -------
    numpy.ndarray
        Float32 array of shape ``grid.shape``.
    """
    coefficients = rng.standard_normal(lattice_shape(spacing_mm), dtype=np.float32)
    x, y, z = (_spline_matrix(grid.voxel_mm, spacing_mm, number) for number in range(3))
    field = coefficients @ z.T
    field = np.matmul(y, field)
    field = (x @ field.reshape(field.shape[0], -1)).reshape(grid.shape)
    return field / np.float32(_SPLINE_POWER**1.5)


def random_vectors(
    rng: np.random.Generator, grid: Grid, spacing_mm: float, inside: np.ndarray
) -> np.ndarray:
    """Draw three independent fields at the voxels of ``inside``: (N, 3), unit variance each."""
    fields = [random_field(rng, grid, spacing_mm)[inside] for _ in range(3)]
    return np.stack(fields, axis=1)


def sigmoid(value: np.ndarray) -> np.ndarray:
    """The logistic function, without overflow."""
    return 1 / (1 + np.exp(-np.clip(value, -30, 30)))
