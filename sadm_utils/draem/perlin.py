"""Perlin noise: smooth random fields with a chosen number of waves along each axis.

A coarse lattice carries random unit gradients.  Inside a lattice cell the noise is a blend of the
four corners' linear ramps (Perlin, "An image synthesizer", SIGGRAPH 1985),

    n(y, x) = Σ_corners  w(y − i) · w(x − j) · [ g_y(i, j)·(y − i) + g_x(i, j)·(x − j) ],

with w(d) = 1 − fade(|d|).  Each term is a product of a factor in y and a factor in x, so a field
is a few matrix products,  n = R_y G_y Wᵀ_x + W_y G_x Rᵀ_x,  where W holds the weights w(y − i)
and R the ramps w(y − i)·(y − i), one row for each pixel and one column for each lattice line.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F


def fade(t: Tensor) -> Tensor:
    """Perlin's blending curve 6t⁵ − 15t⁴ + 10t³, flat at t = 0 and t = 1."""
    return t**3 * (t * (t * 6 - 15) + 10)


def next_power_of_two(n: int) -> int:
    """The smallest power of two that is not below n."""
    return 1 << (n - 1).bit_length()


@lru_cache(maxsize=16)
def axis_factors(size: int, max_exponent: int, lattice: int) -> tuple[Tensor, Tensor]:
    """The factors W and R of one image axis, for every number of cells 1, 2, 4 … 2^max_exponent.

    Parameters
    ----------
    size : int
        Pixels along the axis.  The cells divide the next power of two, of which the first ``size``
        pixels are kept.
    max_exponent : int
        Largest exponent; 2^max_exponent cells must not exceed the next power of two.
    lattice : int
        Columns of the result, at least 2^max_exponent + 1; unused ones are zero.

    Returns
    -------
    (Tensor, Tensor)
        Weights W and ramps R, each (max_exponent + 1, size, lattice) float32.
    """
    cells = 2.0 ** torch.arange(max_exponent + 1, dtype=torch.float64)
    position = torch.arange(size, dtype=torch.float64) * cells[:, None] / next_power_of_two(size)
    distance = position[:, :, None] - torch.arange(lattice, dtype=torch.float64)
    weight = torch.where(distance.abs() < 1, 1 - fade(distance.abs()), 0.0)
    return weight.float(), (weight * distance).float()


def perlin_from_angles(angles: Tensor, exponents: Tensor, height: int, width: int) -> Tensor:
    """Perlin noise of given gradients.

    Parameters
    ----------
    angles : Tensor
        (B, L, L) directions of the lattice gradients, in radians; an image with 2^a × 2^b cells
        uses the first (2^a + 1) × (2^b + 1).
    exponents : Tensor
        (B, 2) integers a, b: log2 of the number of cells along rows and columns.
    height, width : int
        Size of the result.  Cells divide the next powers of two, then the field is cropped.

    Returns
    -------
    Tensor
        (B, 1, height, width) float32, within about ±1.
    """
    lattice, largest = angles.shape[1], int(exponents.max())
    weight_y, ramp_y = (t[exponents[:, 0]] for t in axis_factors(height, largest, lattice))
    weight_x, ramp_x = (t[exponents[:, 1]] for t in axis_factors(width, largest, lattice))
    gradient_y, gradient_x = angles.cos(), angles.sin()
    field = ramp_y @ gradient_y @ weight_x.mT + weight_y @ gradient_x @ ramp_x.mT
    return 2**0.5 * field[:, None]


def perlin_noise(
    batch: int,
    height: int,
    width: int,
    generator: torch.Generator | None = None,
    max_scale_exponent: int = 6,
) -> Tensor:
    """Independent Perlin fields, each with its own random number of cells along each axis.

    Parameters
    ----------
    batch, height, width : int
        Size of the result.
    generator : torch.Generator, optional
        Source of randomness, on the CPU.
    max_scale_exponent : int
        The number of cells is 2^k along each axis, k uniform in 0 … this number.  Cells have at
        least 2 pixels, as the finest ones have at 96×96 in the paper; smaller images use a smaller
        exponent, since with one pixel a cell every pixel sits on a lattice line, where noise is 0.

    Returns
    -------
    Tensor
        (batch, 1, height, width) float32 on the CPU, within about ±1.
    """
    finest = next_power_of_two(min(height, width)).bit_length() - 2
    largest = max(min(max_scale_exponent, finest), 0)
    exponents = torch.randint(0, largest + 1, (batch, 2), generator=generator)
    lattice = 2 ** int(exponents.max()) + 1
    angles = 2 * torch.pi * torch.rand(batch, lattice, lattice, generator=generator)
    return perlin_from_angles(angles, exponents, height, width)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn each image about its center; linear interpolation, zeros come in from outside.

    Parameters
    ----------
    images : Tensor
        (B, 1, H, W) float.
    degrees : Tensor
        (B,) angles, counterclockwise as displayed with the origin at the top left.
    """
    height, width = images.shape[-2:]
    angle = torch.deg2rad(degrees)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # Normalized coordinates run from −1 to 1 along either side: correct for the aspect ratio.
    rows = [cos, -sin * height / width, zero], [sin * width / height, cos, zero]
    theta = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)
