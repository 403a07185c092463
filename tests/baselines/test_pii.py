"""PII: the Poisson equation against a dense solve, blends with known results, labels, map."""

import numpy as np
import pytest
import torch

from sadm_utils.baselines.pii import (
    ALPHA,
    PII,
    VISIBLE,
    blend_patch,
    draw_rectangles,
    interpolate,
    solve_poisson,
)
from sadm_utils.errors import UserError
from tests.baselines.brains import brains, check_map, losses, seeded, tiny_config

RECTANGLE = slice(3, 9), slice(2, 12)


@pytest.mark.parametrize("shape", [(5, 7), (1, 4), (1, 1)])
def test_solution_equals_a_dense_solve(shape):
    """The operator as a matrix, neighbor by neighbor."""
    pixels = list(np.ndindex(*shape))
    near = [[abs(a - c) + abs(b - d) == 1 for c, d in pixels] for a, b in pixels]
    matrix = 4 * np.eye(len(pixels)) - np.array(near)
    load = np.random.default_rng(0).normal(size=shape)
    expected = np.linalg.solve(matrix, load.ravel()).reshape(shape)
    np.testing.assert_allclose(solve_poisson(load), expected, atol=1e-12)


def test_blend_has_the_interpolated_gradients_inside():
    """At each pixel of the rectangle the sum of differences is that of the stronger gradients."""
    image, source = np.random.default_rng(1).random((2, 14, 15))
    blended, alpha = blend_patch(image, source, *RECTANGLE, 0.4), 0.4
    for r in range(3, 9):
        for c in range(2, 12):
            wanted = actual = 0.0
            for near in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
                kept = (1 - alpha) * (image[r, c] - image[near])
                taken = alpha * (source[r, c] - source[near])
                wanted += kept if abs(kept) > abs(taken) else taken
                actual += blended[r, c] - blended[near]
            assert actual == pytest.approx(wanted, abs=1e-10)
    outside = np.ones_like(image, bool)
    outside[RECTANGLE] = False
    assert np.array_equal(blended[outside], image[outside])
    assert not np.allclose(blended, image)


def test_blends_with_known_results():
    rng = np.random.default_rng(2)
    image, spot, zero = rng.random((14, 15)), np.zeros((14, 15)), np.zeros((14, 15))
    spot[5:7, 4:8] = 0.8
    ramp = np.add.outer(np.arange(14.0), 2 * np.arange(15.0))
    # Nothing of the source; the same gradients on another level: no seam, no change.
    np.testing.assert_allclose(blend_patch(image, 1 - image, *RECTANGLE, 0.0), image)
    np.testing.assert_allclose(blend_patch(image, image + 0.3, *RECTANGLE, 1.0), image)
    # A spot on a black image comes over at its share; a flat source leaves a plane through the rim.
    np.testing.assert_allclose(blend_patch(zero, spot, *RECTANGLE, 0.5), spot / 2, atol=1e-12)
    np.testing.assert_allclose(blend_patch(ramp, zero, *RECTANGLE, 1.0), ramp, atol=1e-10)


def test_labels_tell_what_has_visibly_changed_in_the_brain():
    batch = brains(32)
    image, mask = batch["image"], batch["mask"]
    before = image.clone()
    blended, label = interpolate(image, mask, seeded(0))
    assert torch.equal(image, before)
    assert blended.dtype == label.dtype == torch.float32 and blended.min() >= 0
    assert torch.equal(blended[mask == 0], image[mask == 0]) and label[mask == 0].max() == 0
    assert torch.equal(label > 0, (blended - image).abs() > VISIBLE)
    factors = [values[values > 0].unique() for values in label]
    assert all(len(f) <= 1 for f in factors), "one factor a slice"
    drawn = torch.cat(factors)
    assert len(drawn) > 24 and len(drawn.unique()) == len(drawn)
    assert ALPHA[0] <= drawn.min() < 0.3 and 0.7 < drawn.max() <= ALPHA[1]


def test_patches_come_from_other_slices():
    batch = brains(1)
    equal = {name: part.expand(6, -1, -1, -1) for name, part in batch.items()}
    blended, label = interpolate(equal["image"], equal["mask"], seeded(0))
    changed = (blended - equal["image"]).abs()
    # Gradients mixed with their own are weaker by max(α, 1 − α): the image gets flatter, no more.
    assert changed.amax() < 0.3
    with pytest.raises(UserError, match="batch_size to 2"):
        interpolate(batch["image"], batch["mask"], seeded(0))


def test_rectangles_leave_a_border_and_touch_the_brain():
    brain = torch.zeros(40, 30, dtype=torch.bool)
    brain[0, 0] = brain[39, 29] = True
    corners = set()
    for rows, columns in draw_rectangles(brain.expand(50, -1, -1), seeded(0)):
        assert 1 <= rows.start < rows.stop <= 39 and 1 <= columns.start < columns.stop <= 29
        assert 4 <= rows.stop - rows.start <= 16 and 3 <= columns.stop - columns.start <= 12
        corners.add((rows.start == 1, columns.start == 1))
    assert corners == {(True, True), (False, False)}
    rows, columns = draw_rectangles(torch.zeros(1, 8, 8), seeded(0))[0]
    assert rows.start == rows.stop and columns.start == columns.stop


def test_slices_without_brain_stay_as_they_are():
    batch = brains(4)
    batch["mask"][1] = 0
    blended, label = interpolate(batch["image"], batch["mask"], seeded(0))
    assert torch.equal(blended[1], batch["image"][1]) and label[1].max() == 0
    assert not torch.equal(blended[2:], batch["image"][2:])


@pytest.fixture
def method():
    torch.manual_seed(0)
    return PII(tiny_config(baselines__width=4, sadm__depth=3))


def test_loss_depends_on_the_generator_only_and_falls(method):
    batch = brains()
    first, second, other = (method.loss(batch, seeded(s)).item() for s in (1, 1, 2))
    assert first == second != other
    values = losses(method, 25, 5e-3)
    assert values[-1] < 0.5 * values[0]


def test_map(method):
    assert check_map(method).max() <= 1
