"""Perlin noise: smooth random fields with a chosen number of waves along each axis.

A coarse lattice carries random unit gradients.  Inside a lattice cell the noise is a blend of the
four corners' linear ramps (Perlin, "An image synthesizer", SIGGRAPH 1985),

    n(y, x) = Σ_corners  w(y − i) · w(x − j) · [ g_y(i, j)·(y − i) + g_x(i, j)·(x − j) ],

with w(d) = 1 − fade(|d|).  Each term is a product of a factor in y and a factor in x, so a field
is a few matrix products,  n = R_y G_y Wᵀ_x + W_y G_x Rᵀ_x,  where W holds the weights w(y − i)
and R the ramps w(y − i)·(y − i), one row for each pixel and one column for each lattice line.
A pixel lies between two lattice lines, so a row of W or R has two entries: these products are
weighted sums of two neighboring rows (:func:`mix_lines`).
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
def axis_factors(size: int) -> tuple[Tensor, Tensor]:
    """The factors W and R of one image axis, for every number of cells 1, 2, 4 … 2^K.

    Parameters
    ----------
    size : int
        Pixels along the axis.  The cells divide the next power of two 2^K, of which the first
        ``size`` pixels are kept.

    Returns
    -------
    (Tensor, Tensor)
        The lattice line before each pixel, (K + 1, size) int64, and the entries of W and of R for
        this line and the next one, (K + 1, 2, size, 2) float32.
    """
    whole = next_power_of_two(size)
    cells = 2.0 ** torch.arange(whole.bit_length(), dtype=torch.float64)
    position = torch.arange(size, dtype=torch.float64) * cells[:, None] / whole
    line = position.floor()
    distance = torch.stack([position - line, position - line - 1], dim=-1)
    weight = 1 - fade(distance.abs())
    return line.long(), torch.stack([weight, weight * distance], dim=1).float()


def mix_lines(table: Tensor, line: Tensor, factors: Tensor) -> Tensor:
    """Weighted sums of two neighboring rows, a·table[line] + b·table[line + 1] for each pixel.

    Parameters
    ----------
    table : Tensor
        (B, N, L, C): N tables of L rows for each image.
    line : Tensor
        (B, P) integers 0 … L − 2, shared by the tables of an image.
    factors : Tensor
        (B, N, P, 2) the weights a and b.

    Returns
    -------
    Tensor
        (B, N, P, C).
    """
    first = torch.arange(0, table[..., 0].numel(), table.shape[2]).view(*table.shape[:2], 1, 1)
    rows = first + line[:, None, :, None] + torch.arange(2)
    mixed = F.embedding_bag(
        rows.view(-1, 2),
        table.reshape(-1, table.shape[-1]),
        mode="sum",
        per_sample_weights=factors.reshape(-1, 2),
    )
    return mixed.view(*factors.shape[:3], -1)


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
    line_y, factors_y = (t[exponents[:, 0]] for t in axis_factors(height))
    line_x, factors_x = (t[exponents[:, 1]] for t in axis_factors(width))
    # The last lattice lines of a cropped field touch no pixel.
    angles = angles[:, : int(line_y.max()) + 2, : int(line_x.max()) + 2]
    gradients = torch.stack([angles.cos(), angles.sin()], dim=1)  # G_y, G_x
    by_rows = mix_lines(gradients, line_y, factors_y.flip(1))  # R_y G_y, W_y G_x
    by_columns = mix_lines(by_rows.mT, line_x, factors_x)  # transposed: x comes first
    return 2**0.5 * (by_columns[:, :1] + by_columns[:, 1:]).mT


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


@lru_cache(maxsize=16)
def pixel_centers(size: int) -> Tensor:
    """Coordinates of the pixels along an axis that runs from −1 to 1: (size,) float32."""
    return torch.linspace(-1, 1, size) * (size - 1) / size


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
    cos, sin = angle.cos(), angle.sin()
    x, y = pixel_centers(width), pixel_centers(height)
    # Normalized coordinates run from −1 to 1 along either side: correct for the aspect ratio.
    along_x = torch.stack([cos, sin * width / height], dim=1)[:, :, None, None] * x
    along_y = torch.stack([-sin * height / width, cos], dim=1)[:, :, None, None] * y[:, None]
    grid = (along_x + along_y).permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)
