"""From an image and its reconstruction to a map of anomaly scores.

The paper's reconstruction map is ``median_5(mask * (1 - SSIM(x, reconstruction)))``; SADM adds the
supervised probability to it (``sadm_utils.sadm.fusion``). Everything here is per *volume*
(X, Y, Z), as the similarity and the median both look along all three axes.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

MODES = ("ssim", "l1", "l2")
_CHUNK = 4096  # windows gathered at once by the median filter: 2 MB, fits a core's cache


def gaussian_kernel(sigma: float) -> torch.Tensor:
    """Normalized Gaussian taps, ``2 * int(3.5 * sigma + 0.5) + 1`` of them.

    The size rule is the reference's: 9 taps for sigma 1 and 11 for sigma 1.5 (voxels).
    """
    if sigma <= 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
    radius = int(3.5 * sigma + 0.5)
    position = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (position / sigma) ** 2)
    return kernel / kernel.sum()


def _smooth(fields: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Filter the last three axes with ``kernel``, reflecting at the borders (edge not repeated).

    Shifted additions are about ten times faster on a CPU than a 3-D convolution with one channel.
    """
    taps, radius = kernel.tolist(), len(kernel) // 2
    for axis in (-3, -2, -1):
        size = fields.shape[axis]
        low = fields.narrow(axis, 1, radius).flip(axis)
        high = fields.narrow(axis, size - 1 - radius, radius).flip(axis)
        padded = torch.cat((low, fields, high), dim=axis)
        fields = padded.narrow(axis, 0, size) * taps[0]
        for shift, tap in enumerate(taps[1:], start=1):
            fields.add_(padded.narrow(axis, shift, size), alpha=tap)
    return fields


def ssim_map(
    x: np.ndarray | torch.Tensor,
    y: np.ndarray | torch.Tensor,
    sigma: float = 1.0,
    data_range: float | None = None,
    k1: float = 0.01,
    k2: float = 0.03,
) -> np.ndarray | torch.Tensor:
    """Structural similarity of two volumes at every voxel.

    Parameters
    ----------
    x, y : array or tensor (..., X, Y, Z)
        Two volumes of the same shape; every axis longer than the kernel's radius (4 for sigma 1).
    sigma : float
        Width of the Gaussian window in voxels. The paper's value is 1.
    data_range : float, optional
        Range of the values; by default the larger of the two volumes' own ranges, as in the paper.
    k1, k2 : float
        The usual stabilizing constants.

    Returns
    -------
    Same type and shape as ``x``, float32, values in [-1, 1]; 1 where the volumes agree.

    Notes
    -----
    Wang et al. 2004, in three dimensions; used in section 3.3 of the paper.
    """
    as_numpy = not torch.is_tensor(x)
    if as_numpy:
        x, y = (torch.from_numpy(np.ascontiguousarray(v, dtype=np.float32)) for v in (x, y))
    x, y = x.float(), y.float()
    kernel = gaussian_kernel(sigma)
    if x.shape != y.shape or x.ndim < 3:
        raise ValueError(f"need two volumes of one shape, got {tuple(x.shape)}, {tuple(y.shape)}")
    if min(x.shape[-3:]) <= len(kernel) // 2:
        raise ValueError(f"a volume of shape {tuple(x.shape[-3:])} is too small for sigma {sigma}")
    if data_range is None:
        data_range = max(float(v.max() - v.min()) for v in (x, y))
    c1, c2 = (k1 * data_range) ** 2, (k2 * data_range) ** 2
    center = x.mean()  # variances ignore a shift, and lose fewer digits around zero
    x, y = x - center, y - center
    mean_x, mean_y, xx, yy, xy = _smooth(torch.stack((x, y, x * x, y * y, x * y)), kernel)
    covariance = 2 * (xy - mean_x * mean_y)
    variances = xx + yy - mean_x**2 - mean_y**2
    mean_x, mean_y = mean_x + center, mean_y + center
    numerator = (2 * mean_x * mean_y + c1) * (covariance + c2)
    denominator = (mean_x**2 + mean_y**2 + c1) * (variances + c2)
    # Two constant volumes have no range: 0 / 0 means "the same".
    result = torch.where(denominator == 0, 1.0, numerator / denominator)
    return result.numpy() if as_numpy else result


def median_filter(volume: np.ndarray, size: int = 5, where: np.ndarray | None = None) -> np.ndarray:
    """Median over a cube of ``size`` voxels, with the values of ``scipy.ndimage.median_filter``.

    Parameters
    ----------
    volume : array (X, Y, Z)
    size : int
        Odd edge length; 1 or 0 changes nothing inside ``where``.
    where : array (X, Y, Z), optional
        Voxels to compute (all by default). The others are 0 in the result: with a brain mask the
        filter is several times faster than scipy's, and only the brain is of interest.

    Returns
    -------
    array (X, Y, Z) of the volume's type; borders are mirrored with the edge repeated.
    """
    size = size or 1
    if size < 1 or size % 2 == 0:
        raise ValueError(f"the median's size must be odd, got {size}")
    where = np.ones(volume.shape, bool) if where is None else np.asarray(where).astype(bool)
    if where.shape != volume.shape or volume.ndim != 3:
        raise ValueError(f"need a volume and its mask, got {volume.shape} and {where.shape}")
    padded = np.pad(volume, size // 2, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size,) * 3)
    voxels, middle = np.nonzero(where), size**3 // 2
    values = np.empty(len(voxels[0]), volume.dtype)

    def fill(start: int) -> None:
        chunk = tuple(axis[start : start + _CHUNK] for axis in voxels)
        cubes = windows[chunk].reshape(-1, size**3)
        cubes.partition(middle, axis=1)
        values[start : start + _CHUNK] = cubes[:, middle]

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # NumPy lets threads run
        list(pool.map(fill, range(0, len(values), _CHUNK)))
    result = np.zeros_like(volume)
    result[voxels] = values
    return result


def reconstruction_map(
    image: np.ndarray,
    reconstruction: np.ndarray,
    mask: np.ndarray | None = None,
    mode: str = "ssim",
    median: int = 5,
    sigma: float = 1.0,
    data_range: float | None = None,
) -> np.ndarray:
    """The unsupervised anomaly map: how badly the healthy model reconstructs every voxel.

    Parameters
    ----------
    image, reconstruction : array (X, Y, Z)
        In [0, 1]; a reconstruction that leaves the range a little is taken as it is.
    mask : array (X, Y, Z), optional
        Brain mask, applied before and after the median; without it the whole volume counts.
    mode : {"ssim", "l1", "l2"}
        ``1 - SSIM`` (the paper), absolute or squared difference.
    median : int
        Edge of the median filter's cube in voxels; 1 or 0 for none.
    sigma : float
        Width of the SSIM window in voxels.
    data_range : float, optional
        See :func:`ssim_map`.

    Returns
    -------
    array (X, Y, Z) float32, 0 outside the brain. ``ssim`` lies in [0, 2], mostly below 1.
    """
    image, reconstruction = (np.asarray(v, dtype=np.float32) for v in (image, reconstruction))
    if image.shape != reconstruction.shape:
        raise ValueError(f"image {image.shape} and reconstruction {reconstruction.shape} differ")
    if mode == "ssim":
        residual = 1 - ssim_map(image, reconstruction, sigma, data_range)
    elif mode in MODES:
        residual = np.abs(image - reconstruction) ** MODES.index(mode)
    else:
        raise ValueError(f"unknown residual mode {mode!r}; choose one of {', '.join(MODES)}")
    if mask is not None:
        residual = residual * (np.asarray(mask) > 0)
    return residual if median <= 1 else median_filter(residual, median, mask)


def intensity_map(
    image: np.ndarray, mask: np.ndarray, mode: str = "dark", median: int = 1
) -> np.ndarray:
    """The plainest baseline: darkness (or brightness) inside the brain, no model at all.

    Parameters
    ----------
    image : array (X, Y, Z) in [0, 1]
    mask : array (X, Y, Z)
        Brain mask; the score is 0 outside.
    mode : {"dark", "bright", "contrast"}
        ``1 - x`` (most lesions are dark in T1), ``x``, or the distance to the brain's median
        intensity, which accepts both.
    median : int
        Edge of a median filter in voxels; pass 5 to grant the baseline the paper's smoothing.

    Returns
    -------
    array (X, Y, Z) float32 in [0, 1]
    """
    image, brain = np.clip(np.asarray(image, dtype=np.float32), 0, 1), np.asarray(mask) > 0
    if image.shape != brain.shape:
        raise ValueError(f"image {image.shape} and mask {brain.shape} differ")
    if mode == "dark":
        score = 1 - image
    elif mode == "bright":
        score = image
    elif mode == "contrast":
        score = np.abs(image - (np.median(image[brain]) if brain.any() else np.float32(0)))
    else:
        raise ValueError(f"unknown baseline {mode!r}; choose one of dark, bright, contrast")
    score = (score * brain).astype(np.float32)
    return score if median <= 1 else median_filter(score, median, brain)


def slice_scores(score: np.ndarray, mask: np.ndarray, axis: int = 2) -> np.ndarray:
    """Mean score inside the brain of every slice along ``axis``: one number to rank slices by.

    The model slices axis 2; the reference averaged along axis 0 by mistake. Slices without brain
    score 0.
    """
    brain = np.moveaxis(np.asarray(mask) > 0, axis, 0).reshape(score.shape[axis], -1)
    values = np.moveaxis(score, axis, 0).reshape(score.shape[axis], -1)
    total = np.where(brain, values, 0).sum(axis=1, dtype=np.float64)
    return total / np.maximum(brain.sum(axis=1), 1)
