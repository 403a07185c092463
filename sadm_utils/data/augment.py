"""Intensity augmentation of training slices: gamma, bias field, blur and ghosting.

The released code augments a whole volume and uses one slice of it; here the slice alone is
augmented, with the same distributions (METHOD.md, "Geometry"), in under a millisecond. The four
operations work on arrays of any dimension, and on volumes they equal the released code's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

LOG_GAMMA = 0.3
BIAS_ORDER = 3
BIAS_COEFFICIENT = 0.5
BLUR_STD_MM = 2.0
GHOSTS = (4, 10)
GHOST_INTENSITY = (0.5, 1.0)


@dataclass(frozen=True)
class Augmenter:
    """Random intensity changes of one axial slice.

    Attributes
    ----------
    gamma, bias_field, blur, ghosting
        Probability of each operation; applied in this order.
    voxel_mm
        Pixel size, which scales the blur.
    """

    gamma: float = 0.5
    bias_field: float = 0.25
    blur: float = 0.25
    ghosting: float = 0.5
    voxel_mm: float = 2.0

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Augment one slice.

        Parameters
        ----------
        image
            (H, W) float32 in [0, 1].
        rng
            Source of all random numbers.

        Returns
        -------
        numpy.ndarray
            (H, W) float32 in [0, 1]: a bias field that brightens beyond 1 is scaled down, what
            ghosting pushes out of the range is clipped (the released code leaves both as they are).
        """
        chosen = rng.random(4) < (self.gamma, self.bias_field, self.blur, self.ghosting)
        if chosen[0]:
            image = change_gamma(image, float(np.exp(rng.uniform(-LOG_GAMMA, LOG_GAMMA))))
        if chosen[1]:
            image = image * _slice_bias(image.shape, rng)
            image = image / max(float(image.max()), 1.0)
        if chosen[2]:
            image = blur(image, rng.uniform(0, BLUR_STD_MM, 2), (self.voxel_mm, self.voxel_mm))
        if chosen[3]:
            ghosts = int(rng.integers(GHOSTS[0], GHOSTS[1] + 1))
            axis = int(rng.integers(2))  # ghosts along the slice axis need the whole volume
            image = ghost(image, ghosts, axis, rng.uniform(*GHOST_INTENSITY))
        return np.clip(image, 0, 1, dtype=np.float32)


def change_gamma(image: np.ndarray, gamma: float) -> np.ndarray:
    """Raise the magnitude to the power ``gamma`` and keep the sign."""
    return (np.sign(image) * np.abs(image) ** gamma).astype(np.float32)


def bias_field(shape: tuple[int, ...], coefficients: np.ndarray) -> np.ndarray:
    """Smooth positive field: exp of a polynomial in the voxel coordinates, each in about [-1, 1].

    Parameters
    ----------
    shape
        Size of the volume, (X, Y, Z).
    coefficients
        One for each monomial x^i y^j z^k with i + j + k <= 3, in loop order of i, j, k (20).

    Returns
    -------
    numpy.ndarray
        float32 of ``shape``.
    """
    table = _coefficient_table(np.asarray(coefficients, dtype=float))
    x, y, z = (_powers(_coordinates(size)) for size in shape)
    return np.exp(np.einsum("ijk,xi,yj,zk->xyz", table, x, y, z, optimize=True)).astype(np.float32)


def blur(
    image: np.ndarray, std_mm: np.ndarray | tuple[float, ...], zooms: tuple[float, ...]
) -> np.ndarray:
    """Gaussian blur with a standard deviation (mm) for each axis; ``zooms`` are voxel sizes."""
    sigma = [float(std) / zoom for std, zoom in zip(std_mm, zooms, strict=True)]
    return ndimage.gaussian_filter(image, sigma).astype(np.float32)


def ghost(image: np.ndarray, ghosts: int, axis: int, intensity: float) -> np.ndarray:
    """Add ghost copies along ``axis``: damp every ``ghosts``-th plane of k-space.

    The plane at zero frequency is kept, else the whole image would darken. ``intensity`` 1 removes
    the planes, 0 leaves the image as it is.
    """
    size = image.shape[axis]
    weights = np.ones(size)
    weights[::ghosts] = 1 - intensity
    weights[size // 2] = 1
    shape = [-1 if i == axis else 1 for i in range(image.ndim)]
    spectrum = np.fft.fft(image, axis=axis) * np.fft.ifftshift(weights).reshape(shape)
    return np.fft.ifft(spectrum, axis=axis).real.astype(np.float32)


def _slice_bias(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A random axial plane of a random bias field, (H, W) float32."""
    count = (BIAS_ORDER + 1) * (BIAS_ORDER + 2) * (BIAS_ORDER + 3) // 6
    table = _coefficient_table(rng.uniform(-BIAS_COEFFICIENT, BIAS_COEFFICIENT, count))
    plane = table @ _powers(rng.uniform(-1, 1, 1))[0]
    x, y = (_powers(_coordinates(size)) for size in shape)
    return np.exp((x @ plane @ y.T).astype(np.float32))


def _coefficient_table(coefficients: np.ndarray) -> np.ndarray:
    """Coefficients in loop order as a (4, 4, 4) table of powers of x, y, z."""
    i, j, k = np.indices((BIAS_ORDER + 1,) * 3)
    table = np.zeros((BIAS_ORDER + 1,) * 3)
    table[i + j + k <= BIAS_ORDER] = coefficients
    return table


def _coordinates(size: int) -> np.ndarray:
    """Voxel centers around the middle of an axis; the last one is 1."""
    centers = np.arange(size) + 0.5 - size / 2
    return centers / max(centers[-1], 0.5)


def _powers(values: np.ndarray) -> np.ndarray:
    """(N, 4): powers 0 to 3 of each value."""
    return np.vander(values, BIAS_ORDER + 1, increasing=True)
