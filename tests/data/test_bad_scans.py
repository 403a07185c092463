"""Scans and masks that are not what they should be: a sentence, or handling that is told.

What makes a file unreadable is tested in ``test_io``, what makes a folder unusable in
``test_adapters`` and ``test_prepare``; here are files that can be read. The registration itself is
left out: scans and template are the MNI152 brain at 4 mm, in place.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from sadm_utils.data import scan as module
from sadm_utils.data import strip
from sadm_utils.data.brain import Template, load_template
from sadm_utils.data.intensity import check_contrast, check_lesion, shift_negative
from sadm_utils.data.io import load_nifti, save_nifti
from sadm_utils.data.register import isotropic
from sadm_utils.data.scan import Registered, register_scan
from sadm_utils.errors import UserError

Register = Callable[..., Registered]


@pytest.fixture(scope="module")
def t1() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (0 outside of the brain), brain and affine of the template at 4 mm."""
    template = load_template()
    mask = isotropic(template.mask.astype(np.float32), template.affine, 4.0)
    image = isotropic(template.image * template.mask, template.affine, 4.0, around=template.mask)
    brain = mask.array > 0.5
    return 800 * image.array * brain, brain, mask.affine


@pytest.fixture(autouse=True)
def in_place(t1, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "align", lambda *_: np.eye(4))
    monkeypatch.setattr(module, "load_template", lambda: Template(*t1))


@pytest.fixture
def register(t1, tmp_path: Path) -> Register:
    """Write a scan, a brain mask and a lesion mask, and register them."""

    def write(
        image: np.ndarray | None = None, mask: np.ndarray | None = None,
        seg: np.ndarray | None = None, affine: np.ndarray | None = None, **options: object,
    ) -> Registered:  # fmt: skip
        files: list[Path | None] = []
        for name, array in (("t1", t1[0] if image is None else image), ("mask", mask),
                            ("seg", seg)):  # fmt: skip
            place = t1[2] if affine is None or name == "t1" else affine
            files.append(
                None if array is None else save_nifti(tmp_path / f"{name}.nii.gz", array, place)
            )
        return register_scan(*files, bias_correction=False, **options)

    return write


def cube(shape: tuple[int, ...], *start: int, size: int = 4, value: int = 1) -> np.ndarray:
    lesion = np.zeros(shape, np.uint8)
    lesion[tuple(slice(s, s + size) for s in start)] = value
    return lesion


def test_good_scan_is_good(register: Register, t1) -> None:
    center = [n // 2 for n in t1[0].shape]
    result = register(seg=cube(t1[0].shape, *center))
    assert result.contrast > 0.9 and result.notes == ()
    assert result.lesion_ml == pytest.approx(4.096) and result.seg.sum() == 64


def test_t2_scan_is_refused(register: Register, t1) -> None:
    image, brain, _ = t1
    result = register(np.where(brain, 900 - image, 0).astype(np.float32))
    with pytest.raises(UserError, match=r"t1.nii looks like a T2-weighted scan .*: give the T1"):
        check_contrast(result.contrast, "t1.nii")


def test_z_scored_scan_is_shifted(register: Register, t1) -> None:
    image, brain, _ = t1
    plain = register()
    scored = np.where(brain, (image - image[brain].mean()) / image[brain].std(), 0)
    result = register(scored.astype(np.float32))
    assert result.notes and "shifted to start at 0" in result.notes[0]
    assert result.image.min() == 0 and result.contrast > 0.9
    assert np.mean(result.mask == plain.mask) > 0.999
    low = register(np.where(brain, scored, scored.min() - 1).astype(np.float32))
    assert np.mean(low.mask == plain.mask) > 0.999, "a background of another value is background"


def test_undershoot_of_interpolation_is_no_reason_to_shift(t1) -> None:
    image = t1[0].copy()
    image[tuple(np.argwhere(t1[1])[::100].T)] = -3
    same, note = shift_negative(image)
    assert same is image and note == ""


def test_negative_background_without_a_flat_value(t1) -> None:
    noise = np.random.default_rng(0).normal(-50, 1, t1[0].shape).astype(np.float32)
    shifted, note = shift_negative(t1[0] + noise)
    assert shifted.min() >= 0 and note


@pytest.mark.parametrize("where", ["mask", "seg"])
def test_empty_masks(register: Register, t1, where: str) -> None:
    with pytest.raises(UserError, match=f"{where}.nii.gz is empty: give one"):
        register(**{where: np.zeros(t1[0].shape, np.uint8)})


def test_mask_that_is_no_brain(register: Register, t1) -> None:
    center = [n // 2 for n in t1[0].shape]
    with pytest.raises(UserError, match="brain mask .* has 4 ml, which is no adult brain"):
        register(mask=cube(t1[0].shape, *center))


def test_lesion_mask_without_a_value_that_counts(register: Register, t1) -> None:
    center = [n // 2 for n in t1[0].shape]
    other = cube(t1[0].shape, *center, value=2)
    with pytest.raises(UserError, match="lesion mask .*seg.nii.gz is empty"):
        register(seg=other, lesion_values=(1,))
    both = np.maximum(other, cube(t1[0].shape, 10, 20, 15))
    assert register(seg=both, lesion_values=(1,)).lesion_ml == pytest.approx(4.096)
    assert register(seg=both).lesion_ml == pytest.approx(8.192)


def test_lesion_outside_of_the_brain(register: Register, t1) -> None:
    with pytest.raises(UserError, match="100 % of the lesion mask .* lies outside of the brain"):
        register(seg=cube(t1[0].shape, 0, 0, 0))


def test_lesion_at_the_rim_is_noted(register: Register, t1) -> None:
    shell = ndimage.binary_dilation(t1[1]) & ~ndimage.binary_erosion(t1[1], iterations=2)
    result = register(seg=shell)
    assert "% of the lesion lies outside of the brain mask" in result.notes[0]


def test_lesion_that_no_voxel_of_the_template_keeps() -> None:
    inside = np.ones((4, 4, 4), bool)
    with pytest.raises(UserError, match="0.01 ml. shows nothing in MNI space: check that it"):
        check_lesion(np.zeros_like(inside), inside, 0.008, "seg.nii.gz")


@pytest.mark.parametrize("change", ["shape", "place"])
def test_mask_on_another_grid(register: Register, t1, change: str) -> None:
    mask, affine = t1[1], t1[2].copy()
    if change == "shape":
        mask = mask[:-1]
    else:
        affine[:3, 3] += 20
    with pytest.raises(UserError, match="mask.nii.gz .* does not lie on the grid of .*: resample"):
        register(mask=mask, affine=affine)


@pytest.mark.parametrize("extra", [(1,), (1, 1)])
def test_volume_with_singleton_dimensions(t1, tmp_path: Path, extra: tuple[int, ...]) -> None:
    array = t1[0].reshape(*t1[0].shape, *extra)
    nib.save(nib.Nifti1Image(array, t1[2]), tmp_path / "a.nii.gz")
    result = register_scan(tmp_path / "a.nii.gz", bias_correction=False)
    assert result.native_shape == t1[0].shape and result.contrast > 0.9


def test_four_volumes_are_refused(t1, tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.stack([t1[0]] * 4, -1), t1[2]), tmp_path / "a.nii.gz")
    with pytest.raises(UserError, match="extract one volume"):
        register_scan(tmp_path / "a.nii.gz")


def test_integers_that_ran_over(tmp_path: Path) -> None:
    unsigned = np.linspace(0, 65535, 1000).reshape(10, 10, 10).astype(np.uint16)
    nib.save(nib.Nifti1Image(unsigned.view(np.int16), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(UserError, match="integers from -32.* as if larger ones had run over"):
        load_nifti(tmp_path / "a.nii")
    image = nib.Nifti1Image(unsigned.view(np.int16), np.eye(4))
    image.header.set_slope_inter(0.01, 400)
    nib.save(image, tmp_path / "b.nii")
    assert load_nifti(tmp_path / "b.nii").array.min() < 400, "with scaling all 16 bits may be used"


def test_scaling_that_no_scan_has(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.float64) + 1e300, np.eye(4))
    nib.save(image, tmp_path / "a.nii")
    with pytest.raises(UserError, match="values up to 1e.300, which no scan has: correct the"):
        load_nifti(tmp_path / "a.nii")


BET = """#!/bin/sh
[ "$FAIL" ] && { echo 'CUDA out of memory' >&2; exit 1; }
cp "$BRAIN" "$4"
"""


@pytest.fixture
def hd_bet(t1, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command ``hd-bet`` that answers with the known brain."""
    program = tmp_path / "bin" / "hd-bet"
    program.parent.mkdir()
    program.write_text(BET)
    program.chmod(0o755)
    brain = save_nifti(tmp_path / "brain.nii.gz", t1[0], t1[2])
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("BRAIN", str(brain))


def with_skull(t1) -> np.ndarray:
    return np.where(t1[1], t1[0], 100).astype(np.float32)


def test_hd_bet_is_used_where_it_is_installed(register: Register, t1, hd_bet) -> None:
    result = register(with_skull(t1))
    assert result.brain.source == "hd-bet" and result.dice > 0.95
    assert register().brain.source == "stripped", "only where it is needed"
    assert register(brain="hd-bet").brain.source == "hd-bet"


def test_hd_bet_that_fails_or_is_not_there(register: Register, t1, hd_bet, monkeypatch) -> None:
    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(UserError, match="HD-BET could not extract .*CUDA out of memory.*: give"):
        register(with_skull(t1))
    monkeypatch.setattr(strip.shutil, "which", lambda name: None)
    assert register(with_skull(t1)).brain.source == "template"
    with pytest.raises(UserError, match="not installed: run 'pip install hd-bet', or choose"):
        register(with_skull(t1), brain="hd-bet")


def test_choice_of_the_brain_mask(register: Register, t1, monkeypatch) -> None:
    monkeypatch.setattr(strip.shutil, "which", lambda name: None)
    assert register(brain="template").brain.array is None
    assert register(mask=t1[1]).brain.source == "given"
    assert register(mask=t1[1], brain="stripped").brain.source == "stripped"
    with pytest.raises(UserError, match="came without a brain mask: add one, or choose"):
        register(brain="given")
    with pytest.raises(UserError, match="so it is not skull-stripped: choose --brain auto"):
        register(with_skull(t1), brain="stripped")
