"""Texture operations against Pillow, whose definitions they follow, and against hand counts."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from sadm_utils.draem import textures
from sadm_utils.draem.perlin import perlin_noise
from sadm_utils.draem.synthesis import to_bytes


@pytest.fixture
def images() -> torch.Tensor:
    return to_bytes(perlin_noise(12, 32, 32, torch.Generator().manual_seed(1)))


def pillow(image: torch.Tensor) -> Image.Image:
    return Image.fromarray(image[0].numpy().astype(np.uint8))


def as_float(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "candidates"),
    [
        ("equalize", lambda im: [ImageOps.equalize(im)]),
        ("invert", lambda im: [ImageOps.invert(im)]),
        ("posterize", lambda im: [ImageOps.posterize(im, bits) for bits in range(1, 9)]),
        ("solarize", lambda im: [im] + [ImageOps.solarize(im, t) for t in range(32, 129)]),
        ("autocontrast", lambda im: [ImageOps.autocontrast(im, cut) for cut in range(21)]),
    ],
)
def test_result_is_one_of_pillows(images, name, candidates):
    ours = textures.apply_operation(name, images, torch.Generator().manual_seed(0))
    for before, after in zip(images, ours, strict=True):
        errors = [
            np.abs(after[0].numpy() - as_float(c)).max() for c in candidates(pillow(before))
        ]
        assert min(errors) <= (1 if name == "autocontrast" else 0)


def test_sharpness_equals_pillow_inside(images):
    ours = textures.apply_operation("sharpness", images, torch.Generator().manual_seed(0))
    factors = textures.uniform(0, 2, len(images), torch.Generator().manual_seed(0))[:, 0].tolist()
    for before, after, factor in zip(images, ours, factors, strict=True):
        theirs = as_float(ImageEnhance.Sharpness(pillow(before)).enhance(factor))
        assert np.abs(after[0].numpy() - theirs)[1:-1, 1:-1].max() <= 2


def test_gamma_and_brightness_stay_in_their_ranges():
    ramp = torch.arange(256.0).view(1, 1, 16, 16).expand(400, 1, 16, 16)
    generator = torch.Generator().manual_seed(0)
    middle = textures.apply_operation("gamma", ramp, generator).flatten(1)[:, 128] / 255
    exponent = middle.log() / torch.tensor(128 / 255).log()
    assert 0.49 < exponent.min() < 0.55 and 1.9 < exponent.max() < 2.01
    bright = textures.apply_operation("brightness", ramp, generator).flatten(1)[:, 128]
    assert 72 <= bright.min() < 90 and 165 < bright.max() <= 184


def test_solarize_happens_in_half_of_the_images(images):
    many = images.repeat(50, 1, 1, 1)
    after = textures.apply_operation("solarize", many, torch.Generator().manual_seed(0))
    changed = (after != many).any(dim=(1, 2, 3)).float().mean().item()
    assert changed == pytest.approx(0.5, abs=0.08)


def test_color_leaves_gray_images_nearly_unchanged(images):
    after = textures.apply_operation("color", images, torch.Generator().manual_seed(0))
    assert (after - images).abs().max() <= 10


def test_flat_images_survive_everything():
    for level in (0.0, 100.0, 255.0):
        flat = torch.full((4, 1, 8, 8), level)
        for name in textures.OPERATIONS:
            after = textures.apply_operation(name, flat, torch.Generator().manual_seed(2))
            assert after.isfinite().all() and after.min() >= 0 and after.max() <= 255, name
        assert torch.equal(textures.apply_operation("equalize", flat), flat)
        assert torch.equal(textures.apply_operation("autocontrast", flat), flat)


def test_histograms_count(images):
    counts = textures.histograms(images)
    for image, count in zip(images, counts, strict=True):
        assert count.tolist() == np.bincount(image.flatten().int(), minlength=256).tolist()


def test_operations_are_drawn_without_replacement_and_evenly(images):
    many = images[:1, :, :4, :4].repeat(1000, 1, 1, 1)
    _, order = textures.random_texture(many, torch.Generator().manual_seed(0))
    assert all(len(set(row)) == 3 for row in order.tolist())
    share = order.flatten().bincount(minlength=10) / order.numel()
    assert share.numpy() == pytest.approx(np.full(10, 0.1), abs=0.025)


def test_operations_are_applied_in_drawn_order():
    image = torch.tensor([0.0, 100.0, 200.0, 255.0]).view(1, 1, 2, 2).repeat(20, 1, 1, 1)
    names = ("invert", "posterize")
    before = image.clone()
    texture, order = textures.random_texture(image, torch.Generator().manual_seed(0), names, 2)
    assert torch.equal(image, before)
    black = texture.flatten(1)[:, 0]  # posterize(255) < 255 mostly, invert(posterize(0)) = 255
    assert (black[order[:, 0] == 1] == 255).all()
    assert (black[order[:, 0] == 0] < 255).any()


def test_unknown_operation_is_refused(images):
    with pytest.raises(ValueError, match="swirl"):
        textures.random_texture(images, operations=("invert", "swirl", "gamma"))
    with pytest.raises(ValueError, match="cannot draw 3"):
        textures.random_texture(images, operations=("invert", "gamma"))
