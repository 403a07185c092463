"""However a scan lies in its file, its lesion arrives at the same place, and maps come back."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from sadm_utils.data.brain import load_template
from sadm_utils.data.io import Scan, load_nifti, orientation_of, save_nifti
from sadm_utils.data.native import map_to_native, read_transform
from sadm_utils.data.phantom_subject import Subject, simulate_subject
from sadm_utils.data.quality import describe_registered
from sadm_utils.data.register import align, apply_matrix, dice
from sadm_utils.data.scan import Registered, process_scan, register_scan, to_native
from sadm_utils.data.scanner import scan_again
from sadm_utils.errors import UserError


def turn(degrees: float, axis: int) -> np.ndarray:
    """Rotation about an axis through the origin, 4 x 4."""
    angle, matrix = np.deg2rad(degrees), np.eye(4)
    a, b = [k for k in range(3) if k != axis]
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
    return matrix


def shift(*mm: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = mm
    return matrix


WORLDS = {
    "rotated": turn(12, 0) @ turn(-9, 2),
    "translated": shift(18, -25, 30),
    "scaled": np.diag([0.93, 1.06, 0.95, 1.0]),
}
"""Where the head is: from the phantom's millimeters to those of the scan."""

GRIDS = {
    "flipped in the header only": (np.diag([-1.0, -1.0, 1.0, 1.0]), (1, 1, 1)),  # LPS
    "anisotropic": (np.eye(4), (1, 1, 3)),
    "oblique": (turn(15, 0) @ turn(7, 1), (1, 1, 1)),
}
"""How its voxels lie: their directions, and their size in mm."""


@pytest.fixture(scope="module")
def phantom() -> Subject:
    return simulate_subject("tumor", seed=5, index=1, voxel_mm=1.0)


def test_registration_is_the_same_each_time() -> None:
    small = simulate_subject("tumor", seed=5, index=1, voxel_mm=3.0)
    affine = turn(12, 0) @ shift(5, -8, 3) @ small.affine
    scan = Scan(small.image.astype(np.float32), affine, (3.0, 3.0, 3.0))
    first, second = (align(scan, small.mask > 0, load_template()) for _ in range(2))
    assert np.array_equal(first, second)


def write_scan(
    folder: Path, phantom: Subject, world: np.ndarray, turned: np.ndarray, zooms: tuple
) -> Path:
    """Scan the phantom on another grid: thick slices are averaged over their thickness."""
    center = world @ phantom.affine @ [*(np.array(phantom.mask.shape) / 2), 1]
    shape = tuple(round(mm / zoom) for mm, zoom in zip((204, 240, 204), zooms, strict=True))
    affine = turned @ np.diag([*map(float, zooms), 1.0])
    affine[:3, 3] = center[:3] - affine[:3, :3] @ (np.array(shape) / 2)
    place = np.linalg.inv(world @ phantom.affine) @ affine
    for name in ("image", "mask", "seg"):
        array = ndimage.uniform_filter(getattr(phantom, name).astype(np.float32), zooms)
        sampled = apply_matrix(array, place, shape)
        save_nifti(
            folder / f"{name}.nii", sampled if name == "image" else sampled > 0.5, affine
        )
    brain = nib.load(folder / "mask.nii").get_fdata() > 0
    image = nib.load(folder / "image.nii").get_fdata() * brain
    save_nifti(folder / "image.nii", image.astype(np.float32), affine)
    return folder


def register(folder: Path) -> Registered:
    return register_scan(
        folder / "image.nii", None, folder / "seg.nii", bias_correction=False
    )


@pytest.fixture(scope="module")
def original(phantom: Subject, tmp_path_factory: pytest.TempPathFactory) -> Registered:
    folder = tmp_path_factory.mktemp("original")
    return register(write_scan(folder, phantom, np.eye(4), np.eye(4), (1, 1, 1)))


CASES = {
    **{name: (world, np.eye(4), (1, 1, 1)) for name, world in WORLDS.items()},
    **{name: (np.eye(4), *grid) for name, grid in GRIDS.items()},
    "all at once": (
        shift(10, -15, 12) @ turn(9, 1) @ WORLDS["scaled"], turn(12, 0) @ np.diag([-1, 1, 1, 1.0]),
        (1, 1, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_lesion_and_brain_survive(
    case: str, phantom: Subject, original: Registered, tmp_path: Path
) -> None:
    folder = write_scan(tmp_path, phantom, *CASES[case])
    registered = register(folder)
    lesion, other = registered.seg > 0, original.seg > 0
    assert dice(lesion, other) >= 0.9
    assert registered.contrast > 0.3
    facts = describe_registered(folder / "image.nii", registered)
    assert facts["lesion_mni_ml"] == pytest.approx(facts["lesion_ml"], rel=0.1)
    native = nib.load(folder / "mask.nii")
    back = to_native(registered.mask.astype(np.float32), registered)
    assert back.shape == native.shape
    np.testing.assert_array_equal(back.affine, native.affine)
    assert dice(back.get_fdata() > 0.5, native.get_fdata() > 0) >= 0.9
    sick = to_native(registered.seg.astype(np.float32), registered)
    drawn = nib.load(folder / "seg.nii").get_fdata() > 0
    assert dice(sick.get_fdata() > 0.5, drawn) >= 0.85


def test_phantom_as_a_scanner_would_give_it(phantom: Subject, tmp_path: Path) -> None:
    files = scan_again(phantom, tmp_path, zooms=(2, 2, 3))
    image, mask, seg = (load_nifti(files[name]) for name in ("image", "mask", "seg"))
    assert orientation_of(image.affine) == "LPS" and image.zooms == pytest.approx((2, 2, 3))
    for scan, drawn in ((mask, phantom.mask), (seg, phantom.seg)):
        assert 12 * scan.array.sum() == pytest.approx(drawn.sum(), rel=0.05)
    assert not image.array[mask.array == 0].any()
    center = image.affine @ [*ndimage.center_of_mass(mask.array), 1]
    assert np.linalg.norm(center[:3] - (10, -37, 22)) < 25, "moved, and turned about the origin"


def test_record_maps_back_like_the_registration(original: Registered, tmp_path: Path) -> None:
    image = tmp_path / "image.nii"
    save_nifti(image, np.zeros(original.native_shape, np.float32), original.native_affine)
    record = tmp_path / "record.json"
    record.write_text(json.dumps(describe_registered(image, original)))
    volume = original.image
    expected = to_native(volume, original)
    back = map_to_native(volume, record)
    np.testing.assert_allclose(back.get_fdata(), expected.get_fdata(), atol=1e-3)
    np.testing.assert_array_equal(back.affine, expected.affine)
    labels = np.unique(map_to_native(original.seg, record, order=0).get_fdata())
    assert set(labels) == {0, 1}
    processed = process_scan(original, crop_mm=(192, 192, 100), voxel_mm=2.0, curvature_steps=0)
    small = map_to_native(processed.seg, record, processed.grid).get_fdata() > 0.5
    drawn = to_native(original.seg.astype(np.float32), original).get_fdata() > 0.5
    assert dice(small, drawn) > 0.8
    with pytest.raises(ValueError, match="shape"):
        map_to_native(volume[1:], record)


@pytest.mark.parametrize("text", ["", "{", '{"matrix": [[1]]}'])
def test_record_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(UserError, match="r.json is no record of a prepared subject"):
        read_transform(tmp_path / "r.json")
    with pytest.raises(UserError, match="no record"):
        read_transform(tmp_path / "none.json")
