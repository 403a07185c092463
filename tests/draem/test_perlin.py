"""Perlin noise against the released code's fields, and its statistics."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sadm_utils.draem.perlin import fade, perlin_from_angles, perlin_noise, rotate
from tests.golden.compare import relative_error

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "draem.npz")


@pytest.mark.parametrize(("a", "b"), [(0, 0), (2, 3), (6, 1)])
def test_given_draws_equal_reference(a, b, golden_error):
    draws = torch.from_numpy(GOLDEN[f"u_{2**a}_{2**b}"])
    angles = torch.zeros(1, 65, 65)
    angles[0, : draws.shape[0], : draws.shape[1]] = 2 * torch.pi * draws
    ours = perlin_from_angles(angles, torch.tensor([[a, b]]), 64, 64)[0, 0]
    golden_error("draem.npz", relative_error(ours, GOLDEN[f"perlin_{2**a}_{2**b}"]))


def test_batch_equals_single_images():
    angles = torch.rand(5, 9, 9) * 6
    exponents = torch.tensor([[0, 3], [1, 1], [3, 3], [2, 0], [3, 1]])
    together = perlin_from_angles(angles, exponents, 32, 32)
    for i in range(5):
        alone = perlin_from_angles(angles[i : i + 1], exponents[i : i + 1], 32, 32)
        assert torch.allclose(together[i : i + 1], alone, atol=1e-6)


def test_size_that_is_no_power_of_two_is_a_crop():
    angles, exponents = torch.rand(2, 17, 17) * 6, torch.tensor([[4, 2], [0, 3]])
    full = perlin_from_angles(angles, exponents, 128, 128)
    assert torch.equal(perlin_from_angles(angles, exponents, 96, 96), full[..., :96, :96])
    assert torch.allclose(perlin_from_angles(angles, exponents, 128, 96), full[..., :96])


def test_noise_is_reproducible_bounded_and_different_in_every_image():
    first, again = (perlin_noise(16, 64, 64, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (16, 1, 64, 64)
    assert first.abs().max() <= 1.0001
    assert len({round(float(field.std()), 6) for field in first}) == 16


def test_scales_are_limited_by_the_image():
    noise = perlin_noise(64, 8, 8, torch.Generator().manual_seed(0), max_scale_exponent=6)
    assert noise.shape == (64, 1, 8, 8)
    assert (noise.std(dim=(1, 2, 3)) > 0.03).all()


def test_fade_is_flat_at_both_ends():
    t = torch.tensor([0.0, 0.5, 1.0], requires_grad=True)
    y = fade(t)
    y.sum().backward()
    assert y.tolist() == [0.0, 0.5, 1.0]
    assert t.grad[[0, 2]].tolist() == [0.0, 0.0]


def test_rotation_by_quarter_turns_and_of_rectangles():
    image = torch.rand(1, 1, 9, 9)
    assert torch.allclose(rotate(image, torch.zeros(1)), image, atol=1e-6)
    turned = rotate(image, torch.tensor([90.0]))
    assert torch.allclose(turned, torch.rot90(image, 1, (2, 3)), atol=1e-5)
    wide = torch.zeros(1, 1, 21, 41)
    wide[..., 10, 5:36] = 1  # a bar of 31 pixels, turned upright, keeps its middle 21
    upright = rotate(wide, torch.tensor([90.0]))
    assert torch.allclose(upright[0, 0, :, 20], torch.ones(21), atol=1e-4)
    assert upright.sum() == pytest.approx(21, abs=1e-3)
