"""Registration finds a known transform, and maps come back to the scan's own voxels."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from sadm_utils.data.brain import cut_hanging, find_brain, largest_part, load_template
from sadm_utils.data.io import Scan, save_nifti
from sadm_utils.data.register import apply_matrix, apply_to_label, dice, isotropic
from sadm_utils.data.scan import process_scan, register_scan, to_native
from sadm_utils.errors import UserError

SHAPE = (80, 70, 62)
NATIVE = np.array([[0, 0, 3.0, -95], [-2.6, 0, 0, 110], [0, -2.6, 0, 90], [0, 0, 0, 1]])
"""Voxels of a sagittal scan: 2.6 x 2.6 x 3 mm, axes PIR."""


def true_matrix() -> np.ndarray:
    """Scan millimeters to MNI: turned by 9 degrees, 8 % smaller brain, shifted by 2 cm."""
    angle = np.deg2rad(9)
    matrix = np.eye(4)
    matrix[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, :3] /= 0.92
    matrix[:3, 3] = (5, -12, 20)
    return matrix


def native_volume(array: np.ndarray) -> np.ndarray:
    template = load_template()
    place = np.linalg.inv(template.affine) @ true_matrix() @ NATIVE
    return apply_matrix(ndimage.uniform_filter(array.astype(np.float32), 2), place, SHAPE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    template = load_template()
    root = tmp_path_factory.mktemp("scan")
    brain = native_volume(template.mask) > 0.5
    lesion = np.zeros(template.mask.shape, np.float32)
    lesion[60:80, 120:140, 90:110] = 1
    save_nifti(root / "t1.nii.gz", native_volume(template.image * 900) * brain, NATIVE)
    save_nifti(root / "mask.nii.gz", brain, NATIVE)
    save_nifti(root / "seg.nii.gz", native_volume(lesion) > 0.5, NATIVE)
    return root


@pytest.fixture(scope="module")
def registered(folder):
    return register_scan(folder / "t1.nii.gz", None, folder / "seg.nii.gz", bias_correction=False)


def test_registration_finds_the_transform(registered):
    template = load_template()
    points = np.argwhere(template.mask)[::4000]
    world = np.c_[points, np.ones(len(points))] @ template.affine.T
    apart = world @ (registered.matrix - np.linalg.inv(true_matrix())).T
    assert np.linalg.norm(apart[:, :3], axis=1).max() < 2.0
    assert registered.dice > 0.96 and registered.brain.source == "stripped"
    assert registered.image.shape == registered.mask.shape == template.mask.shape
    assert registered.image.min() == 0 and not registered.image[registered.mask == 0].any()


def test_lesion_is_registered_with_the_scan(registered):
    center = ndimage.center_of_mass(registered.seg)
    np.testing.assert_allclose(center, (69.5, 129.5, 99.5), atol=2)


def test_map_returns_to_the_scans_own_grid(registered, folder):
    back = to_native(registered.mask.astype(np.float32), registered)
    scan = nib.load(folder / "t1.nii.gz")
    assert back.shape == scan.shape == SHAPE
    np.testing.assert_array_equal(back.affine, scan.affine)
    brain = np.asanyarray(nib.load(folder / "mask.nii.gz").dataobj) > 0
    assert dice(back.get_fdata() > 0.5, brain) > 0.97
    with pytest.raises(ValueError, match="shape"):
        to_native(np.zeros((3, 3, 3)), registered)


def test_processed_map_returns_to_the_lesion(registered, folder):
    processed = process_scan(registered, crop_mm=(192, 192, 99), voxel_mm=3.0, curvature_steps=0)
    assert processed.image.shape == (64, 64, 33)
    back = to_native(processed.seg, registered, processed.grid)
    lesion = np.asanyarray(nib.load(folder / "seg.nii.gz").dataobj) > 0
    assert dice(back.get_fdata() > 0.5, lesion) > 0.75


def test_given_mask_is_used(folder):
    scan = Scan(np.ones(SHAPE, np.float32), NATIVE, (2.6, 2.6, 3.0))
    mask = np.asanyarray(nib.load(folder / "mask.nii.gz").dataobj) > 0
    assert find_brain(scan, mask, "x").source == "given"
    with pytest.raises(UserError, match="no adult brain"):
        find_brain(scan, mask & (np.arange(62) < 8), "x")


def test_head_with_skull_falls_back_to_the_template_and_says_so():
    array = np.abs(np.random.default_rng(0).normal(5, 1, (60, 60, 60))).astype(np.float32)
    brain = find_brain(Scan(array, np.eye(4) * 4, (4.0, 4.0, 4.0)), None, "x")
    assert brain.array is None and brain.source == "template" and "skull" in brain.note


def test_scan_without_tissue_is_refused():
    array = np.zeros((30, 30, 30), np.float32)
    array[10:14, 10:14, 10:14] = 1
    with pytest.raises(UserError, match="only 0 ml"):
        find_brain(Scan(array, np.eye(4), (1.0, 1.0, 1.0)), None, "scan.nii")


def test_mask_of_another_grid_is_refused(folder, tmp_path):
    other = save_nifti(tmp_path / "m.nii.gz", np.ones((10, 10, 10), bool), NATIVE)
    with pytest.raises(UserError, match="m.nii.gz .shape .10, 10, 10.* does not lie on the grid"):
        register_scan(folder / "t1.nii.gz", other)


def test_largest_part_fills_holes_and_drops_islands():
    array = np.zeros((12, 12, 12), bool)
    array[2:9, 2:9, 2:9] = True
    array[5, 5, 5] = False
    array[11, 11, 11] = True
    found = largest_part(array)
    assert found[5, 5, 5] and not found[11, 11, 11] and found.sum() == 343
    assert not largest_part(np.zeros((3, 3, 3), bool)).any()


def test_what_hangs_on_a_registered_brain_is_cut_off():
    template = load_template()
    brain = ndimage.binary_dilation(template.mask, iterations=6)
    kept, note = cut_hanging(brain, template)
    assert note == "" and np.count_nonzero(brain & ~kept) < 100
    muscle = brain.copy()
    muscle[105:120, 115:135, 0:40] = True
    kept, note = cut_hanging(muscle, template)
    left = (muscle & ~brain & kept).sum() / (muscle & ~brain).sum()
    assert left < 0.5 and "ml farther than 10 mm" in note
    assert dice(kept, brain) > dice(muscle, brain)


def test_isotropic_grid_keeps_positions():
    array = np.zeros((30, 30, 30), np.float32)
    array[8:20, 10:16, 5:25] = 1
    affine = np.diag([-1.5, 1.0, 2.0, 1.0])
    affine[:3, 3] = (40, -7, 3)
    result = isotropic(array, affine, 2.0)
    for volume, place in ((array, affine), (result.array, result.affine)):
        center = (place @ [*ndimage.center_of_mass(volume), 1])[:3]
        np.testing.assert_allclose(center, (19.75, 5.5, 32), atol=0.2)
    np.testing.assert_array_equal(np.diag(result.affine), (2, 2, 2, 1))


@pytest.mark.parametrize("size", [1, 2, 9])
@pytest.mark.parametrize("zoom", [0.8, 1.1, 2.0])
def test_label_keeps_its_volume(size: int, zoom: float) -> None:
    label = np.zeros((40, 40, 40), bool)
    label[10 : 10 + size, 12 : 12 + size, 14:17] = True
    label[30, 30, 25] = True
    matrix = np.diag([zoom, 1.0, 1.0, 1.0])
    matrix[:3, 3] = (0.3, 0.4, 0.5)
    moved = apply_to_label(label, matrix, (60, 40, 40))
    assert moved.sum() * zoom == pytest.approx(label.sum(), rel=0.1, abs=2 * zoom)
    assert not apply_to_label(label & False, matrix, (60, 40, 40)).any()


def test_bias_field_is_divided_out():
    from sadm_utils.data.scan import _divide_bias

    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 60)] * 3, indexing="ij")
    inside = x**2 + y**2 + z**2 < 0.8
    tissue = np.where(np.sin(8 * x) * np.sin(8 * y) > 0, 100.0, 150.0)
    field = np.exp(0.3 * x)
    corrected = _divide_bias(tissue * field * inside, inside, np.diag([3.0, 3.0, 3.0, 1.0]))
    before, after = (np.std((v / tissue)[inside]) for v in (tissue * field, corrected))
    assert after < 0.4 * before
