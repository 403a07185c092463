"""The slice store: contents, manifest, reuse, and no store after a failure."""

import hashlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from sadm_utils.data.io import load_nifti, save_nifti
from sadm_utils.data.layout import write_split
from sadm_utils.data.preprocess import preprocess_volume, restore_volume
from sadm_utils.data.store import build_store, open_store
from sadm_utils.errors import UserError

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
OPTIONS = {"crop_mm": (80, 64, 48), "voxel_mm": 8.0, "curvature_steps": 1, "jobs": 1}
SHAPE = (24, 20, 16)


def write_subject(root: Path, name: str, label: int, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    mask = np.zeros(SHAPE, bool)
    mask[4:-4, 3:-3, 2:-2] = True
    seg = np.zeros(SHAPE, bool)
    seg[8:14, 8:12, 6:10] = True
    folder = "Test/MSLUB" if label else "Train/ixi"
    paths = {part: f"{folder}/{part}/{name}_{part}.nii.gz" for part in ("t1", "mask", "seg")}
    save_nifti(root / paths["t1"], rng.normal(100, 20, SHAPE) * mask, AFFINE)
    save_nifti(root / paths["mask"], mask, AFFINE)
    if label:
        save_nifti(root / paths["seg"], seg, AFFINE)
    return {
        "img_name": name, "age": 40 + seed, "label": label, "img_path": f"/{paths['t1']}",
        "mask_path": f"/{paths['mask']}", "seg_path": f"/{paths['seg']}" if label else "",
    }


@pytest.fixture
def data_dir(tmp_path) -> Path:
    root = tmp_path / "data"
    write_split(root, "IXI_train_fold0", [write_subject(root, f"h{i}", 0, i) for i in range(3)])
    write_split(root, "MSLUB_test", [write_subject(root, f"s{i}", 1, 9 + i) for i in range(2)])
    return root


def build(data_dir: Path, splits=("IXI_train_fold0", "MSLUB_test"), **changes):
    out = data_dir.parent / "store"
    return build_store(data_dir, out, list(splits), **{**OPTIONS, **changes}), out


def test_contents_equal_preprocessing(data_dir):
    _, out = build(data_dir)
    store = open_store(out)
    volumes = store["MSLUB_test"]
    assert volumes.image.shape == (2, 6, 10, 8) and volumes.image.dtype == np.float16
    assert volumes.mask.dtype == volumes.seg.dtype == np.uint8
    parts = [load_nifti(data_dir / f"Test/MSLUB/{p}/s1_{p}.nii.gz") for p in ("t1", "mask", "seg")]
    options = {key: OPTIONS[key] for key in ("crop_mm", "voxel_mm", "curvature_steps")}
    expected = preprocess_volume(*(p.array for p in parts), (4, 4, 4), affine=AFFINE, **options)
    np.testing.assert_allclose(volumes.volume(1), expected.image, atol=1e-3)
    np.testing.assert_array_equal(volumes.volume(1, "seg"), expected.seg)
    np.testing.assert_array_equal(volumes.volume(1, "mask"), expected.mask)
    assert volumes.volume(1).dtype == np.float32 and expected.seg.any()
    grid = volumes.grid(1)
    assert grid.start == expected.grid.start and grid.shape == expected.grid.shape
    np.testing.assert_allclose(grid.affine, expected.grid.affine)
    assert restore_volume(volumes.volume(1), grid).shape == SHAPE


def test_manifest(data_dir):
    manifest, out = build(data_dir)
    assert list(manifest["split"]) == ["IXI_train_fold0"] * 3 + ["MSLUB_test"] * 2
    row = manifest.iloc[3]
    assert row["subject"] == "s0" and row["label"] == 1 and row["row"] == 0 and row["age"] == 49
    assert row["shape"] == "24x20x16" and row["spacing"] == "4x4x4" and row["orientation"] == "RAS"
    assert 0 <= row["min"] < row["max"] <= 1 and len(row["sha256"]) == 64
    scan = data_dir / row["file"]
    assert row["image_sha256"] == hashlib.sha256(scan.read_bytes()).hexdigest()
    volumes = open_store(out)["MSLUB_test"]
    assert row["lesion_voxels"] == volumes.seg[0].sum() > 0
    assert row["mask_voxels"] == volumes.mask[0].sum()
    assert manifest["sha256"].nunique() == 5


def test_lookup_by_name(data_dir):
    _, out = build(data_dir)
    store = open_store(out)
    assert list(store) == ["IXI_train_fold0", "MSLUB_test"]
    assert "IXI_train" in store and "IXI_val" not in store
    assert store["IXI_train"].subjects == ["h0", "h1", "h2"]
    assert list(store["IXI_train"].label) == [0, 0, 0]
    with pytest.raises(UserError, match="IXI_train_fold0, MSLUB_test"):
        store["ATLAS_test"]


def test_subset(data_dir):
    _, out = build(data_dir)
    volumes = open_store(out)["IXI_train"]
    first, picked = volumes.subset(slice(0, 2)), volumes.subset([2, 0])
    assert isinstance(first.image, np.memmap) and first.subjects == ["h0", "h1"]
    assert picked.subjects == ["h2", "h0"] and list(picked.table["subject"]) == ["h2", "h0"]
    np.testing.assert_array_equal(picked.image[0], volumes.image[2])


def test_finished_splits_are_reused_until_a_file_or_setting_changes(data_dir):
    manifest, out = build(data_dir)
    files = [out / f"{name}_image.npy" for name in ("IXI_train_fold0", "MSLUB_test")]
    times = [file.stat().st_mtime_ns for file in files]
    again, _ = build(data_dir)
    assert [file.stat().st_mtime_ns for file in files] == times
    assert again.to_csv() == manifest.to_csv()
    write_subject(data_dir, "h1", 0, 77)
    changed, _ = build(data_dir)
    assert files[0].stat().st_mtime_ns != times[0] and files[1].stat().st_mtime_ns == times[1]
    assert (changed["sha256"] != manifest["sha256"]).tolist() == [False, True, False, False, False]
    build(data_dir, curvature_steps=0)
    assert files[1].stat().st_mtime_ns != times[1]


def test_leftovers_of_a_killed_build_are_removed(data_dir):
    out = data_dir.parent / "store"
    out.mkdir()
    (out / ".MSLUB_test_image.npy.x1").write_bytes(b"half")
    (out / "MSLUB_test_image.npy").write_bytes(b"of an older build, without a record")
    build(data_dir)
    assert not list(out.glob(".*")) and len(open_store(out)["MSLUB_test"]) == 2


def test_parallel_equals_serial(data_dir):
    serial, _ = build(data_dir)
    parallel = build_store(data_dir, data_dir.parent / "two", list(serial["split"].unique()),
                           **{**OPTIONS, "jobs": 2})
    assert parallel.to_csv() == serial.to_csv()


def test_progress_counts_all_volumes(data_dir):
    seen: list[tuple[int, int]] = []
    build(data_dir, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (5, 5) and [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("fault", ["truncated", "empty", "nan", "shape", "constant", "no brain"])
def test_unfit_file_stops_the_build_and_leaves_no_store(data_dir, fault):
    image = data_dir / "Test/MSLUB/t1/s1_t1.nii.gz"
    mask = data_dir / "Test/MSLUB/mask/s1_mask.nii.gz"
    wanted = image
    if fault == "truncated":
        image.write_bytes(image.read_bytes()[:2000])
    elif fault == "empty":
        image.write_bytes(b"")
    elif fault == "nan":
        nib.save(nib.Nifti1Image(np.full(SHAPE, np.nan, np.float32), AFFINE), image)
    elif fault == "shape":
        save_nifti(mask, np.ones((24, 20, 15), bool), AFFINE)
        wanted = mask
    elif fault == "constant":
        save_nifti(image, np.ones(SHAPE), AFFINE)
    else:
        save_nifti(mask, np.zeros(SHAPE, bool), AFFINE)
    with pytest.raises(UserError) as caught:
        build(data_dir)
    text = str(caught.value)
    assert str(wanted) in text and "\n" not in text
    out = data_dir.parent / "store"
    with pytest.raises(UserError, match="no finished slice store"):
        open_store(out)
    assert not list(out.glob(".*")) and not (out / "MSLUB_test_image.npy").exists()


def test_store_of_an_older_version_is_refused(data_dir):
    manifest, out = build(data_dir)
    manifest.drop(columns="image_sha256").to_csv(out / "manifest.csv", index=False)
    with pytest.raises(UserError, match="older version of this book: run notebook 01 again"):
        open_store(out)


def test_unfit_file_is_reported_from_a_worker_process(data_dir):
    (data_dir / "Test/MSLUB/t1/s0_t1.nii.gz").write_bytes(b"")
    with pytest.raises(UserError, match="s0_t1.nii.gz is empty"):
        build(data_dir, jobs=2)


def test_mask_drawn_elsewhere_is_refused(data_dir):
    moved = AFFINE.copy()
    moved[0, 3] = 12
    save_nifti(data_dir / "Train/ixi/mask/h0_mask.nii.gz", np.ones(SHAPE, bool), moved)
    with pytest.raises(UserError, match="does not lie on the grid"):
        build(data_dir)


def test_damaged_array_is_refused(data_dir):
    _, out = build(data_dir)
    store = open_store(out)
    np.save(out / "MSLUB_test_seg.npy", np.zeros((1, 6, 10, 8), np.uint8))
    with pytest.raises(UserError, match="does not fit its manifest"):
        store["MSLUB_test"]
    (out / "MSLUB_test_seg.npy").unlink()
    with pytest.raises(UserError, match="missing or damaged"):
        store["MSLUB_test"]
