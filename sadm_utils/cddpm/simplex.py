"""Simplex noise, many fields at once (chapter 4; 2-D OpenSimplex after K. Spencer).

The noise is made from random directions g at the corners of a triangular lattice. A pixel adds up
what the corners within √2 of it contribute, (2 − |d|²)⁴ (g · d), where d is its offset from the
corner. So a field is *linear* in the directions: the weights depend only on the size of the image,
are computed once, and one weighted sum serves all octaves of all fields of a batch.
"""

from functools import lru_cache
from math import sqrt

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sadm_utils.processes import rows

STRETCH = (1 / sqrt(3) - 1) / 2
"""From the plane to the lattice: triangles become halves of unit squares."""
SQUISH = (sqrt(3) - 1) / 2
"""From the lattice back to the plane: corners are √2 apart."""
NORMALIZER = 47.0
"""Brings one octave to about [-1, 1]."""
DIRECTIONS = ((5, 2), (2, 5), (-5, 2), (-2, 5), (5, -2), (2, -5), (-5, -2), (-2, -5))
"""The eight gradients."""


def seeded_permutation(seed: int) -> Tensor:
    """Permutation of 0 … 255 that OpenSimplex derives from an integer seed: int64 (256,).

    A 64-bit linear congruential generator drives a shuffle, so a seed gives the same field as in
    other implementations of OpenSimplex.
    """

    def advance(state: int) -> int:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return state - 2**64 if state >= 2**63 else state

    state = advance(advance(advance(seed)))
    source, permutation = list(range(256)), [0] * 256
    for i in reversed(range(256)):
        state = advance(state)
        r = (state + 31) % (i + 1)
        permutation[i], source[r] = source[r], source[i]
    return torch.tensor(permutation)


def random_permutations(batch: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw permutations of 0 … 255: int64 (batch, 256), on the generator's device."""
    device = generator.device if generator is not None else "cpu"
    return torch.rand(batch, 256, generator=generator, device=device).argsort(dim=1)


def _corner_weights(y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the four corners nearest to each of N points, and how their directions count.

    Returns corners (N, 4, 2) as integer (x, y) on the lattice and weights (N, 4, 2), so that the
    noise is the sum of weights · directions. A fifth corner is never closer than √2.
    """
    point = np.stack([x, y], axis=-1)
    base = np.floor(point + STRETCH * point.sum(-1, keepdims=True))
    steps = np.stack(np.meshgrid(np.arange(-1, 3), np.arange(-1, 3)), axis=-1).reshape(1, 16, 2)
    corners = base[:, None] + steps
    offset = point[:, None] - (corners + SQUISH * corners.sum(-1, keepdims=True))
    kernel = np.clip(2 - (offset**2).sum(-1), 0, None) ** 4
    nearest = np.argsort(-kernel, axis=1)[:, :4, None]
    weights = kernel[..., None] * offset / NORMALIZER
    return (
        np.take_along_axis(corners, nearest, 1).astype(np.int64),
        np.take_along_axis(weights, nearest, 1),
    )


@lru_cache(maxsize=16)
def _plan(
    height: int, width: int, octaves: int, persistence: float, feature_size: float, device: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Prepare an image size: corners (V, 2); for each pixel, indices and weights (HW, 8·octaves).

    Index v stands for the x component of the direction at corner v, index V + v for y.
    """
    rows, columns = (g.ravel() for g in np.mgrid[:height, :width])
    all_corners, all_weights = [], []
    for octave in range(octaves):
        size = feature_size / 2**octave
        corners, weights = _corner_weights(rows / size, columns / size)
        all_corners.append(corners % 256)
        all_weights.append(weights * persistence**octave)
    corners, weights = np.concatenate(all_corners, 1), np.concatenate(all_weights, 1)
    used, index = np.unique(corners.reshape(-1, 2), axis=0, return_inverse=True)
    index = index.reshape(height * width, -1, 1) + [0, len(used)]
    return (
        torch.from_numpy(used).to(device),
        torch.from_numpy(index.reshape(height * width, -1)).int().to(device),
        torch.from_numpy(weights.reshape(height * width, -1)).float().to(device),
    )


def simplex_from_permutations(
    permutations: Tensor,
    height: int,
    width: int,
    octaves: int = 6,
    persistence: float = 0.8,
    feature_size: float = 64.0,
) -> Tensor:
    """Compute one field for each permutation; pure function of its arguments.

    Parameters
    ----------
    permutations : Tensor
        Permutations of 0 … 255, int64 (B, 256).
    height, width : int
        Image size; any rectangle.
    octaves : int
        Number of layers. Each is half as coarse as the one before.
    persistence : float
        Factor on the amplitude from one layer to the next.
    feature_size : float
        Size of the blobs of the first layer, in pixels.

    Returns
    -------
    Tensor
        Noise, float32 (B, 1, H, W), not normalized. Pixel (0, 0) is a corner of the lattice in
        every octave, hence always 0.
    """
    device = permutations.device
    corners, index, weights = _plan(
        height, width, octaves, float(persistence), float(feature_size), str(device)
    )
    hashed = (permutations[:, corners[:, 0]] + corners[:, 1]) % 256
    directions = torch.tensor(DIRECTIONS, dtype=torch.float32, device=device).T
    # Looked up for 256 hashes first: there are many more corners than that.
    of_hash = directions[:, permutations // 2 % 8]
    table = of_hash.gather(2, hashed.expand(2, -1, -1)).mT.reshape(2 * len(corners), -1)
    field = F.embedding_bag(index, table, mode="sum", per_sample_weights=weights)
    return field.t().reshape(-1, 1, height, width)


def simplex_noise(
    batch: int,
    height: int,
    width: int,
    generator: torch.Generator | None = None,
    octaves: int = 6,
    persistence: float = 0.8,
    feature_size: float = 64.0,
    shared: bool = False,
) -> Tensor:
    """Draw simplex noise: a different field for each image.

    Over many fields of 96×96 the standard deviation is 0.59 (0.55 within a field, since a field
    has a mean of its own, ± 0.22) and the range about ± 2.4: this is neither white nor normalized.

    Parameters
    ----------
    batch, height, width : int
        Number of fields and their size.
    generator : torch.Generator, optional
        Source of randomness. The noise lives on its device.
    octaves, persistence, feature_size
        As in `simplex_from_permutations`; the defaults are the paper's.
    shared : bool
        Draw one field and repeat it over the batch, as the released code does.

    Returns
    -------
    Tensor
        Noise, float32 (batch, 1, height, width).
    """
    permutations = (
        random_permutations(1, generator)
        if shared
        else rows(lambda n: random_permutations(n, generator), batch)
    )
    noise = simplex_from_permutations(
        permutations, height, width, octaves, persistence, feature_size
    )
    return noise.expand(batch, -1, -1, -1)
