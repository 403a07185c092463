"""NIfTI files: round trips, and one sentence for every unfit file."""

import errno
import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from sadm_utils.data import io
from sadm_utils.data.io import load_nifti, save_nifti
from sadm_utils.errors import UserError

AFFINE = np.array([[-2.0, 0, 0, 90], [0, 0, 3.0, -50], [0, 1.5, 0, 10], [0, 0, 0, 1]])


def volume(shape=(5, 6, 7)) -> np.ndarray:
    return np.random.default_rng(0).normal(100, 20, shape).astype(np.float32)


def refused(path: Path) -> str:
    """The sentence that loading gives: one line that names the file."""
    with pytest.raises(UserError) as caught:
        load_nifti(path)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text and ":" in text
    return text


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_round_trip(tmp_path, suffix):
    path = save_nifti(tmp_path / "deep" / f"a{suffix}", volume(), AFFINE)
    scan = load_nifti(path)
    np.testing.assert_array_equal(scan.array, volume())
    np.testing.assert_allclose(scan.affine, AFFINE)
    assert scan.zooms == pytest.approx((2.0, 1.5, 3.0)) and scan.array.dtype == np.float32
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_masks_are_stored_as_bytes_and_integers_round(tmp_path):
    mask = nib.load(save_nifti(tmp_path / "m.nii.gz", volume() > 100, AFFINE))
    assert mask.get_data_dtype() == np.uint8
    whole = nib.load(save_nifti(tmp_path / "i.nii.gz", volume(), AFFINE, dtype=np.int16))
    np.testing.assert_array_equal(np.asanyarray(whole.dataobj), np.rint(volume()))


def test_canonical_keeps_every_voxel_at_its_place(tmp_path):
    array = volume()
    scan = load_nifti(save_nifti(tmp_path / "a.nii", array, AFFINE), canonical=True)
    assert io.orientation_of(scan.affine) == "RAS"
    where = (AFFINE @ [1, 2, 3, 1])[:3]
    index = np.rint(np.linalg.solve(scan.affine, [*where, 1])[:3]).astype(int)
    assert scan.array[tuple(index)] == array[1, 2, 3]
    assert scan.zooms == pytest.approx(tuple(np.linalg.norm(scan.affine[:3, :3], axis=0)))


def test_describe_reads_the_header(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", volume(), AFFINE)
    assert io.describe(path) == {"shape": "5x6x7", "spacing": "2x1.5x3", "orientation": "LSA"}


def test_trailing_singleton_dimension_is_dropped(tmp_path):
    nib.save(nib.Nifti1Image(volume()[..., None], AFFINE), tmp_path / "a.nii")
    assert load_nifti(tmp_path / "a.nii").array.shape == (5, 6, 7)


def test_missing_file(tmp_path):
    assert "does not exist" in refused(tmp_path / "none.nii.gz")


def test_empty_file(tmp_path):
    (tmp_path / "a.nii.gz").touch()
    assert "empty" in refused(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("keep", [0.5, 0.95])
def test_truncated_gzip(tmp_path, keep):
    path = save_nifti(tmp_path / "a.nii.gz", volume((20, 20, 20)), AFFINE)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    assert "truncated" in refused(path) or "cannot be read" in refused(path)


def test_truncated_without_compression(tmp_path):
    path = save_nifti(tmp_path / "a.nii", volume((20, 20, 20)), AFFINE)
    path.write_bytes(path.read_bytes()[:5000])
    assert "truncated" in refused(path)


def test_corrupt_gzip_content(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", volume((20, 20, 20)), AFFINE)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = b"\x00" * 200
    path.write_bytes(bytes(data))
    refused(path)


def test_no_nifti_at_all(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"hello" * 200))
    refused(tmp_path / "a.nii.gz")
    (tmp_path / "a.txt").write_text("hello")
    refused(tmp_path / "a.txt")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity(tmp_path, value):
    array = volume()
    array[1, 2, 3] = value
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    assert "1 NaN or infinite" in refused(path)


@pytest.mark.parametrize("shape", [(5, 6, 7, 3), (5, 6), (5, 6, 1)])
def test_not_three_dimensional(tmp_path, shape):
    nib.save(nib.Nifti1Image(volume(shape), AFFINE), tmp_path / "a.nii")
    assert str(shape) in refused(tmp_path / "a.nii")


def test_full_disk_leaves_nothing_behind(tmp_path):
    with pytest.raises(UserError, match="disk is full"), io.write_atomic(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_interrupted_write_keeps_the_old_file(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), io.write_atomic(tmp_path / "a") as temporary:
        Path(temporary).write_text("new")
        raise KeyboardInterrupt
    assert (tmp_path / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_unwritable_folder_is_a_user_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        save_nifti(tmp_path / "file" / "a.nii", volume(), AFFINE)
