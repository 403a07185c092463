"""Structural similarity of slices as a loss: in two dimensions, and differentiable."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from sadm_utils.evaluation.anomaly_map import gaussian_kernel


@cache
def _window(size: int, sigma: float) -> Tensor:
    """Matrix (size, size) that filters a line with a Gaussian, reflected at its ends."""
    kernel = gaussian_kernel(sigma).numpy()
    radius = len(kernel) // 2
    source = np.pad(np.arange(size), radius, mode="reflect")
    matrix = np.zeros((size, size))
    for shift, tap in enumerate(kernel):
        np.add.at(matrix, (np.arange(size), source[shift : shift + size]), tap)
    return torch.from_numpy(matrix).float()


def ssim(x: Tensor, y: Tensor, sigma: float = 1.5, data_range: float = 1.0) -> Tensor:
    """Structural similarity of two stacks of images at every pixel of every channel.

    The Gaussian filter is a product with a band matrix from either side: exact, differentiable,
    and quick for the small images of this book.

    Parameters
    ----------
    x, y
        (B, C, H, W), H and W at least 2.
    sigma
        Width of the Gaussian window in pixels; 1.5 gives 11 taps, 1 gives 9, 0.7 gives 5.
    data_range
        Range of the values, which scales the constants k₁ = 0.01 and k₂ = 0.03.

    Returns
    -------
    (B, C, H, W) float32 in [−1, 1]; 1 where the images agree.

    Notes
    -----
    Wang et al. 2004. ``evaluation.anomaly_map.ssim_map`` is the same in three dimensions.
    """
    with torch.autocast(x.device.type, enabled=False):  # variances are differences of near numbers
        x, y = x.float(), y.float()
        rows, columns = (_window(size, sigma).to(x.device) for size in x.shape[-2:])
        fields = torch.stack((x, y, x * x, y * y, x * y))
        mean_x, mean_y, xx, yy, xy = rows @ fields @ columns.mT
        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        covariance = xy - mean_x * mean_y
        variances = xx + yy - mean_x**2 - mean_y**2
        luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        return luminance * (2 * covariance + c2) / (variances + c2)
