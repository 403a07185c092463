"""Simplex noise against the released code's fields, and its statistics."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sadm_utils.cddpm.simplex import (
    random_permutations,
    seeded_permutation,
    simplex_from_permutations,
    simplex_noise,
)
from tests.golden.compare import relative_error

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "simplex.npz")
SEEDS = (1, 12345, -987654321)


@pytest.mark.parametrize("seed", SEEDS)
def test_permutation_is_exact(seed: int, golden_error) -> None:
    error = relative_error(seeded_permutation(seed), GOLDEN[f"perm_seed{seed}"])
    golden_error("simplex.npz", error, "exact")


def test_fields_of_a_batch_match(golden_error) -> None:
    permutations = torch.stack([seeded_permutation(seed) for seed in SEEDS])
    fields = simplex_from_permutations(permutations, 64, 64)
    for seed, field in zip(SEEDS, fields, strict=True):
        golden_error("simplex.npz", relative_error(field[0], GOLDEN[f"noise64_seed{seed}"]))


def test_other_sizes_and_octaves_match(golden_error) -> None:
    permutation = seeded_permutation(12345)[None]
    large = simplex_from_permutations(permutation, 96, 96)[0, 0]
    golden_error("simplex.npz", relative_error(large, GOLDEN["noise96_seed12345"]))
    single = simplex_from_permutations(permutation, 32, 32, octaves=1, feature_size=16)[0, 0]
    expected = GOLDEN["noise_single_octave_f16_seed12345"]
    golden_error("simplex.npz", relative_error(single, expected))


def test_rectangles_are_crops_of_the_same_plane() -> None:
    permutation = seeded_permutation(1)[None]
    square = simplex_from_permutations(permutation, 64, 64)
    wide = simplex_from_permutations(permutation, 32, 64)
    tall = simplex_from_permutations(permutation, 64, 24)
    assert torch.allclose(wide, square[:, :, :32], atol=1e-6)
    assert torch.allclose(tall, square[..., :24], atol=1e-6)


def test_statistics_over_many_fields() -> None:
    noise = simplex_noise(300, 96, 96, torch.Generator().manual_seed(0))
    assert noise.std().item() == pytest.approx(0.590, abs=0.02)
    assert noise.std((1, 2, 3)).mean().item() == pytest.approx(0.546, abs=0.015)
    assert noise.mean((1, 2, 3)).std().item() == pytest.approx(0.2165, abs=0.03)
    assert 1.8 < noise.abs().max() < 3.0


def test_images_get_different_fields_unless_shared() -> None:
    def draw(**options) -> torch.Tensor:
        return simplex_noise(3, 16, 16, torch.Generator().manual_seed(7), **options)

    different, shared = draw(), draw(shared=True)
    assert different.shape == shared.shape == (3, 1, 16, 16)
    assert not torch.allclose(different[0], different[1])
    assert torch.equal(shared[0], shared[2])
    assert torch.equal(different, draw()), "the generator alone decides"


def test_random_permutations_are_permutations() -> None:
    permutations = random_permutations(4)
    assert torch.equal(permutations.sort(dim=1).values, torch.arange(256).expand(4, -1))
