"""Scans are registered to a template of the reader's own, and maps come back from it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from sadm_utils.data.brain import Template, load_template
from sadm_utils.data.io import load_nifti, save_nifti
from sadm_utils.data.montage import subject_picture
from sadm_utils.data.native import map_to_native
from sadm_utils.data.prepare import PrepareSettings, prepare_source
from sadm_utils.data.quality import describe_registered
from sadm_utils.data.register import apply_matrix, dice
from sadm_utils.data.scan import register_scan
from sadm_utils.data.template import open_template, read_template
from sadm_utils.errors import UserError

OTHER = np.array([[-2.0, 0, 0, 200], [0, -2.0, 0, 150], [0, 0, 2.0, -20], [0, 0, 0, 1]])
"""Another space, as SRI24 has one: the origin is a corner, axes LPS; here with voxels of 2 mm."""

SHAPE = (99, 117, 95)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The MNI152 brain, broader by 5 % and elsewhere, as a template; and one with a skull."""
    root = tmp_path_factory.mktemp("template")
    mni = load_template()
    moved = np.diag([1 / 1.05, 1, 1, 1.0])
    moved[:3, 3] = (-100, -60, -100)
    place = np.linalg.inv(mni.affine) @ moved @ OTHER
    image, mask = (
        apply_matrix(ndimage.uniform_filter(a.astype(np.float32), 2), place, SHAPE)
        for a in (mni.image * mni.mask, mni.mask)
    )
    brain = mask > 0.5
    skull = np.full(SHAPE, 5.0, np.float32)
    arrays = {"stripped": image * brain, "mask": brain, "skull": image + skull}
    return {k: str(save_nifti(root / f"{k}.nii.gz", a, OTHER)) for k, a in arrays.items()}


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The MNI152 brain in MNI space, voxels of 3 mm."""
    mni, affine = load_template(), np.diag([3.0, 3, 3, 1])
    affine[:3, 3] = mni.affine[:3, 3]
    place = np.linalg.inv(mni.affine) @ affine
    image = apply_matrix(ndimage.uniform_filter(mni.image * mni.mask, 3), place, (66, 78, 63))
    image[image < 0.1] = 0
    return save_nifti(tmp_path_factory.mktemp("scan") / "t1.nii.gz", 900 * image, affine)


@pytest.fixture(scope="module")
def template(files: dict[str, str]) -> Template:
    return read_template(files["stripped"])


def test_a_template_is_brought_to_a_grid_of_1_mm(template: Template, files: dict) -> None:
    raw = load_nifti(files["mask"])
    assert template.name.startswith("stripped.nii.gz (") and template.image.dtype == np.float32
    np.testing.assert_allclose(template.affine[:3, :3], np.eye(3), atol=1e-6)
    assert np.count_nonzero(template.mask) == pytest.approx(8 * raw.array.sum(), rel=0.03)
    center = template.affine @ [*ndimage.center_of_mass(template.mask), 1]
    expected = OTHER @ [*ndimage.center_of_mass(raw.array), 1]
    np.testing.assert_allclose(center[:3], expected[:3], atol=0.5)
    assert read_template(files["stripped"]) is template, "read once"
    assert open_template() is None


def test_a_given_mask_is_used_and_named(template: Template, files: dict) -> None:
    other = read_template(files["skull"], files["mask"])
    assert other.name != read_template(files["stripped"], files["mask"]).name != template.name
    assert not other.image[~other.mask].any() and dice(other.mask, template.mask) > 0.98


@pytest.fixture(scope="module")
def registered(template: Template, scan: Path):
    return register_scan(scan, bias_correction=False, template=template)


def test_scan_is_registered_to_it_and_back(registered, template, scan, tmp_path) -> None:
    assert registered.image.shape == template.mask.shape and registered.dice > 0.96
    assert registered.contrast > 0.9
    np.testing.assert_array_equal(registered.affine, template.affine)
    assert np.linalg.det(registered.matrix[:3, :3]) == pytest.approx(1 / 1.05, rel=0.05)
    record = tmp_path / "record.json"
    record.write_text(json.dumps(describe_registered(scan, registered)))
    assert json.loads(record.read_text())["template"] == template.name
    back = map_to_native(registered.mask.astype(np.float32), record)
    assert dice(back.get_fdata() > 0.5, load_nifti(scan).array > 0) > 0.97
    with pytest.raises(ValueError, match="volume has shape"):
        map_to_native(np.zeros(load_template().mask.shape), record)


def test_its_picture_cuts_through_the_brain(registered) -> None:
    picture = subject_picture(registered)
    assert (picture > 60).any(axis=2).mean() > 0.2


def test_records_without_a_grid_are_of_mni152(tmp_path) -> None:
    record, affine = tmp_path / "record.json", np.eye(4)
    affine[:3, 3] = (-30, -20, 25)
    old = {"matrix": np.eye(4).tolist(), "native_shape": [9, 9, 9],
           "native_affine": affine.tolist()}  # fmt: skip
    record.write_text(json.dumps(old))
    mask = load_template().mask.astype(np.float32)
    assert map_to_native(mask, record).get_fdata().min() > 0.5, "white matter"


def test_what_is_no_template_is_refused_before_anything_is_done(files, raw, tmp_path) -> None:
    shifted = save_nifti(tmp_path / "m.nii.gz", np.ones((9, 9, 9), bool), np.eye(4))
    for pair, sentence in {
        (files["skull"], ""): "shows a skull and came without a brain mask: name one with --templ",
        (files["stripped"], str(shifted)): "does not lie on the grid of .*stripped.nii.gz",
        (str(tmp_path / "no.nii"), ""): "no.nii does not exist",
    }.items():
        with pytest.raises(UserError, match=sentence):
            settings = PrepareSettings(template=pair[0], template_mask=pair[1])
            prepare_source(raw, tmp_path / "out", settings=settings)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="m.nii needs its template: add --template"):
        PrepareSettings(template_mask="m.nii")


def test_another_template_makes_every_subject_anew(raw, registrations, files, tmp_path) -> None:
    settings = PrepareSettings(template=files["stripped"])
    for chosen, count in ((None, 14), (settings, 14), (settings, 0)):
        registrations.clear()
        prepare_source(raw, tmp_path / "out", jobs=1, settings=chosen, report=lambda _: None)
        assert len(registrations) == count
        if count:
            given = registrations[0][1]["template"]
            assert given is (chosen and read_template(files["stripped"]))
    assert "template" in pd.read_csv(tmp_path / "out" / "manifest.csv").columns
