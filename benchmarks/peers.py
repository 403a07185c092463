"""The same formulas once more: one image at a time, with NumPy, SciPy, Pillow and scikit-learn.

This is how one would write them first, and how the released code does it. They are here to be
compared with, in time and in results; nothing else imports them.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from torchmetrics.functional.image import structural_similarity_index_measure

from sadm_utils.cddpm.simplex import DIRECTIONS, NORMALIZER, SQUISH, STRETCH
from sadm_utils.data import augment


def perlin(rng: np.random.Generator, size: int) -> np.ndarray:
    """One Perlin field: at each pixel, the ramps of four corners, blended."""
    whole = 1 << (size - 1).bit_length()
    cells = 2 ** rng.integers(0, 7, 2)
    angle = rng.uniform(0, 2 * np.pi, cells + 1)
    y, x = (np.arange(size) * n / whole for n in cells)
    row, column = y.astype(int), x.astype(int)
    y, x = (y - row)[:, None], (x - column)[None]
    corners = []
    for down in (0, 1):
        for right in (0, 1):
            a = angle[np.ix_(row + down, column + right)]
            corners.append(np.sin(a) * (y - down) + np.cos(a) * (x - right))
    fade_y, fade_x = (t**3 * (t * (t * 6 - 15) + 10) for t in (y, x))
    top = corners[0] + fade_x * (corners[1] - corners[0])
    bottom = corners[2] + fade_x * (corners[3] - corners[2])
    return np.sqrt(2) * (top + fade_y * (bottom - top))


def texture(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
    """Three of the ten operations on 8-bit noise, by Pillow; result in [0, 1]."""
    image = Image.fromarray((255 * noise).astype(np.int64).astype(np.uint8))
    for k in rng.choice(10, 3, replace=False):
        image = _operation(int(k), image, rng)
    return np.asarray(image, np.float32) / 255


def _operation(k: int, image: Image.Image, rng: np.random.Generator) -> Image.Image:
    if k == 0:
        gamma = rng.uniform(0.5, 2)
        return image.point([round(255 * (v / 255) ** gamma) for v in range(256)])
    if k == 1:
        factor, shift = rng.uniform(0.8, 1.2), rng.uniform(-30, 30)
        return image.point([int(np.clip(round(v * factor + shift), 0, 255)) for v in range(256)])
    if k == 2:
        factor = 1 - max(rng.uniform(-50, 50), 0) / 255 * rng.uniform(0, 0.2)
        return image.point([round(v * factor) for v in range(256)])
    if k == 3:
        threshold = int(rng.uniform(32, 128))
        return ImageOps.solarize(image, threshold) if rng.random() < 0.5 else image
    if k == 4:
        return ImageOps.posterize(image, int(rng.integers(1, 9)))
    if k == 5:
        return ImageOps.invert(image)
    if k == 6:
        return ImageOps.autocontrast(image, int(rng.integers(0, 21)))
    if k == 7:
        return ImageOps.equalize(image)
    if k == 8:
        return ImageEnhance.Sharpness(image).enhance(rng.uniform(0, 2))
    return image.rotate(rng.uniform(-45, 45), Image.Resampling.BILINEAR)


def draem(
    rng: np.random.Generator, image: np.ndarray, brain: np.ndarray, redraws: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """One anomalous slice (H, W) and its mask; ``redraws`` 0 does not ask for the brain."""
    for _ in range(redraws + 1):
        noise = perlin(rng, len(image))
        angle = rng.uniform(-90, 90)
        noise = ndimage.rotate(noise, angle, reshape=False, order=1, mode="constant")
        mask = (noise > 0.5) * brain
        if mask.any():
            break
    opacity = rng.uniform(0.2, 1)
    return image + mask * opacity * (texture(rng, noise) - image), mask


def simplex(
    permutation: np.ndarray, size: int, octaves: int = 6, persistence: float = 0.8
) -> np.ndarray:
    """One simplex field (size, size) of a permutation of 0 … 255, octave by octave."""
    rows, columns = np.mgrid[:size, :size]
    field = np.zeros((size, size))
    for octave in range(octaves):
        scale = 64 / 2**octave
        x, y = columns / scale, rows / scale
        stretch = STRETCH * (x + y)
        column, row = np.floor(x + stretch), np.floor(y + stretch)
        for i in range(-1, 3):
            for j in range(-1, 3):
                squish = SQUISH * (column + i + row + j)
                dx, dy = x - (column + i + squish), y - (row + j + squish)
                kernel = np.maximum(2 - dx**2 - dy**2, 0) ** 4
                a = (column.astype(int) + i) % 256
                b = (row.astype(int) + j) % 256
                code = permutation[(permutation[a] + b) % 256] // 2 % 8
                gx, gy = np.array(DIRECTIONS)[code].transpose(2, 0, 1)
                field += persistence**octave * kernel * (gx * dx + gy * dy) / NORMALIZER
    return field


def augment_volume(volume: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What the released code does for one slice: all effects on the whole volume (H, W, D)."""
    gamma, bias, blur, ghosting = rng.random(4) < (0.5, 0.25, 0.25, 0.5)
    if gamma:
        volume = augment.change_gamma(volume, float(np.exp(rng.uniform(-0.3, 0.3))))
    if bias:
        volume = volume * augment.bias_field(volume.shape, rng.uniform(-0.5, 0.5, 20))
    if blur:
        volume = augment.blur(volume, rng.uniform(0, 2, 3), (2.0, 2.0, 2.0))
    if ghosting:
        ghosts, axis = int(rng.integers(4, 11)), int(rng.integers(3))
        volume = augment.ghost(volume, ghosts, axis, rng.uniform(0.5, 1))
    return volume


def residual_map(image: np.ndarray, rebuilt: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """median₅(mask · (1 − SSIM)) with torchmetrics and SciPy."""
    x, y = (torch.from_numpy(v)[None, None] for v in (image, rebuilt))
    span = max(np.ptp(image), np.ptp(rebuilt))
    _, similarity = structural_similarity_index_measure(
        y, x, sigma=1.0, kernel_size=9, data_range=float(span), return_full_image=True
    )
    return ndimage.median_filter((1 - similarity[0, 0].numpy()) * mask, 5)


def metrics(score: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Best Dice, AUPRC and AUROC with scikit-learn, each by its own function."""
    score, truth = score.ravel(), truth.ravel() > 0
    precision, recall, _ = precision_recall_curve(truth, score)
    dice = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return {
        "best_dice": float(dice.max()),
        "auprc": float(average_precision_score(truth, score)),
        "auroc": float(roc_auc_score(truth, score)),
    }
