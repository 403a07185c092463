"""Preprocessing equals the released code step by step; geometry, range and inversion hold."""

from pathlib import Path

import numpy as np
import pytest

from sadm_utils.data import preprocess
from sadm_utils.data.preprocess import (
    CROP_CENTER_MM,
    Grid,
    centered_start,
    crop_or_pad,
    curvature_flow,
    plan_grid,
    preprocess_volume,
    resample_image,
    resample_labels,
    rescale,
    restore_volume,
)
from sadm_utils.errors import UserError
from tests.golden.compare import relative_error

FILE = "transforms.npz"
GOLDEN = Path(__file__).parents[1] / "golden" / FILE
PAPER = {"crop_mm": (28, 32, 20), "voxel_mm": 2.0}


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN)


def template_grid(zoom: float) -> tuple[np.ndarray, np.ndarray]:
    """An ellipsoid where the MNI brain is, on the template's field of view, and the affine."""
    affine = np.diag([zoom, zoom, zoom, 1.0])
    affine[:3, 3] = (-98, -134, -72)
    shape = tuple(int(np.ceil(n / zoom)) for n in (197, 233, 189))
    x, y, z = (np.arange(n) * zoom + o for n, o in zip(shape, affine[:3, 3], strict=True))
    inside = (x[:, None, None] / 70) ** 2 + ((y[:, None] + 18) / 88) ** 2 + ((z - 8) / 72) ** 2 < 1
    return inside, affine


def test_curvature_flow_equals_reference(golden, golden_error):
    result = curvature_flow(golden["vol"])
    golden_error(FILE, relative_error(result, golden["after_curvatureflow"]))


def test_crop_equals_reference(golden, golden_error):
    target = golden["after_crop_or_pad"].shape
    start = centered_start(golden["vol"].shape, target)
    for key in ("after_curvatureflow", "mask"):
        result = crop_or_pad(golden[key], start, target)
        expected = golden["mask_after_crop_or_pad" if key == "mask" else "after_crop_or_pad"]
        golden_error(FILE, relative_error(result, expected), "exact")


def test_rescale_equals_reference(golden, golden_error):
    result = rescale(golden["after_crop_or_pad"], golden["mask_after_crop_or_pad"])
    golden_error(FILE, relative_error(result, golden["after_rescale"]))


def test_resampling_equals_reference(golden, golden_error):
    grid = plan_grid(golden["mask"] > 0, (1, 1, 1), None, PAPER["crop_mm"], 2.0)
    np.testing.assert_array_equal(grid.offset, (0.5, 0.5, 0.5))
    image = resample_image(golden["after_rescale"], grid)
    golden_error(FILE, relative_error(image, golden["after_resample"]))
    mask = resample_labels(golden["mask_after_crop_or_pad"], grid)
    golden_error(FILE, relative_error(mask, golden["mask_after_resample"]), "exact")


def test_whole_chain_equals_reference_where_it_is_in_range(golden):
    result = preprocess_volume(golden["vol"], golden["mask"], None, (1, 1, 1), **PAPER)
    expected = np.clip(golden["after_resample"], 0, 1) * golden["mask_after_resample"]
    assert golden["after_resample"].min() < -0.05 and golden["after_resample"].max() > 1.05
    np.testing.assert_allclose(result.image, expected, atol=1e-6)
    np.testing.assert_array_equal(result.mask, golden["mask_after_resample"])
    assert result.image.dtype == np.float32 and result.mask.dtype == np.uint8
    assert not result.seg.any()


def test_flow_of_the_crop_equals_crop_of_the_flow():
    image = np.random.default_rng(0).normal(300, 60, (40, 36, 30)).astype(np.float32)
    brain = np.ones(image.shape, bool)
    grid = plan_grid(brain, (1, 1, 1), None, (20, 44, 16), 2.0)
    whole = crop_or_pad(curvature_flow(image), grid.start, grid.crop_shape)
    np.testing.assert_allclose(preprocess._flow_in_crop(image, grid, 3), whole, atol=1e-9)


@pytest.mark.parametrize(
    ("zoom", "crop_mm", "voxel_mm", "shape"),
    [
        (1, (192, 192, 100), 2, (96, 96, 50)),
        (2, (192, 192, 100), 2, (96, 96, 50)),
        (2, (192, 192, 99), 3, (64, 64, 33)),
        (3, (192, 192, 99), 3, (64, 64, 33)),
    ],
)
def test_geometry_for_any_input_voxel(zoom, crop_mm, voxel_mm, shape):
    brain, affine = template_grid(zoom)
    grid = plan_grid(brain, (zoom,) * 3, affine, crop_mm, voxel_mm)
    assert grid.shape == shape and grid.identity == (zoom == voxel_mm)
    center = (grid.affine @ [*(np.array(shape) - 1) / 2, 1])[:3]
    assert np.all(np.abs(center - CROP_CENTER_MM) <= zoom / 2 + 0.5)
    np.testing.assert_allclose(np.diag(grid.affine)[:3], voxel_mm)


def test_same_brain_at_any_voxel_size_lines_up():
    results = []
    for zoom in (1, 2, 3):
        brain, affine = template_grid(zoom)
        world = np.indices(brain.shape)[0] * zoom + affine[0, 3]
        image = (500 + 2 * world) * brain
        result = preprocess_volume(
            image, brain, None, (zoom,) * 3, affine=affine, crop_mm=(192, 192, 99), voxel_mm=3,
            curvature_steps=0,
        )
        results.append(result)
    for other in results[1:]:
        shift = np.abs(other.grid.affine[:3, 3] - results[0].grid.affine[:3, 3])
        assert np.all(shift <= 1.5)
        both = (results[0].mask & other.mask) > 0
        assert both.sum() > 0.9 * results[0].mask.sum()
        assert np.abs(results[0].image - other.image)[both].mean() < 0.03


def test_identity_when_the_grids_are_equal():
    rng = np.random.default_rng(0)
    mask = np.ones((16, 14, 10), bool)
    image = rng.uniform(0, 1, mask.shape).astype(np.float32)
    result = preprocess_volume(
        image, mask, mask, (2, 2, 2), crop_mm=(32, 28, 20), voxel_mm=2, curvature_steps=0,
        percentiles=(0, 100),
    )
    expected = (image - image.min()) / (image.max() - image.min())
    np.testing.assert_allclose(result.image, expected, atol=1e-6)
    np.testing.assert_array_equal(result.seg, 1)


def test_range_and_background():
    brain, affine = template_grid(2)
    image = np.random.default_rng(1).normal(200, 80, brain.shape)
    result = preprocess_volume(image, brain, None, (2, 2, 2), affine=affine, voxel_mm=3,
                               crop_mm=(192, 192, 99))
    assert result.image.min() == 0 and 0.9 < result.image.max() <= 1
    assert np.all(result.image[result.mask == 0] == 0)


def test_crop_is_at_the_mni_center_only_if_the_affine_says_mni():
    brain, affine = template_grid(2)
    options = ((2.0, 2.0, 2.0), (192, 192, 100), 2.0)
    elsewhere, flipped = affine.copy(), affine @ np.diag([-1.0, 1, 1, 1])
    elsewhere[:3, 3] += 60
    mni = plan_grid(brain, options[0], affine, *options[1:])
    plain = plan_grid(brain, options[0], None, *options[1:])
    assert mni.start != plain.start
    for other in (elsewhere, flipped):
        assert plan_grid(brain, options[0], other, *options[1:]).start == plain.start


def test_lesion_keeps_its_place_through_processing_and_back():
    brain, affine = template_grid(2)
    seg = np.zeros(brain.shape, np.uint8)
    seg[40:52, 50:60, 40:50] = 1
    image = brain * 100.0 + seg * 50
    result = preprocess_volume(image, brain, seg, (2, 2, 2), affine=affine, crop_mm=(192, 192, 99),
                               voxel_mm=3)
    back = restore_volume(result.seg, result.grid)
    assert back.shape == seg.shape
    overlap = 2 * ((back > 0.5) & (seg > 0)).sum() / ((back > 0.5).sum() + seg.sum())
    assert overlap > 0.85


def test_restore_inverts_the_grid():
    grid = Grid((20, 22, 18), (1.0, 1.0, 1.0), (2, -1, 3), (16, 24, 12), (8, 12, 6), 2.0, np.eye(4))
    x, y, z = np.indices(grid.shape)
    ramp = (2 * x + 0.5 + 2).astype(np.float32)  # input position of each output voxel along X
    back = restore_volume(ramp, grid)
    assert back.shape == grid.input_shape
    np.testing.assert_allclose(back[3:17, 5, 6], np.arange(3, 17), atol=1e-4)
    assert not back[:2].any() and not back[:, :, :3].any() and not back[:, :, 15:].any()
    with pytest.raises(ValueError, match="shape"):
        restore_volume(ramp[1:], grid)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mask": np.ones((4, 5, 6), bool)}, "mask has shape"),
        ({"seg": np.ones((4, 5, 6), bool)}, "lesion mask has shape"),
        ({"mask": np.zeros((8, 8, 8), bool)}, "mask is empty"),
        ({"image": np.full((8, 8, 8), 7.0)}, "constant"),
    ],
)
def test_unfit_input_is_refused(change, words):
    rng = np.random.default_rng(0)
    arrays = {"image": rng.uniform(0, 1, (8, 8, 8)), "mask": np.ones((8, 8, 8), bool), "seg": None}
    with pytest.raises(UserError, match=words):
        preprocess_volume(**{**arrays, **change}, zooms=(2, 2, 2), crop_mm=(16, 16, 16), voxel_mm=2)
