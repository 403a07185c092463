"""Other templates than MNI152, by path: SRI24, or the mean brain of your own cohort."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from sadm_utils.data.brain import Template, find_brain
from sadm_utils.data.intensity import shift_negative
from sadm_utils.data.io import Scan, load_label, load_nifti
from sadm_utils.data.register import isotropic
from sadm_utils.errors import UserError


def open_template(file: str = "", mask: str = "") -> Template | None:
    """The template of a file, see :func:`read_template`; None without one, which means MNI152."""
    return read_template(file, mask) if file else None


def read_template(file: str | Path, mask: str | Path = "") -> Template:
    """Read a template (once a process; treat as read-only).

    Parameters
    ----------
    file
        NIfTI, T1 contrast, any orientation and voxel size.
    mask
        Its brain mask on the same grid. Without one, a template whose background is 0 and which is
        no larger than a brain counts as skull-stripped; else HD-BET finds the brain, if it is
        installed.

    Returns
    -------
    Template
        Axes to the right, the front and the top, voxels of 1 mm: the file's own grid if it is such
        a one, else its field of view resampled. Its name has the first digits of the SHA-256 hash
        of the files.

    Raises
    ------
    UserError
        A file is unfit, or the template shows a skull and has no mask.
    """
    return _read(str(file), str(mask))


@lru_cache(maxsize=2)
def _read(file: str, mask: str) -> Template:
    scan = load_nifti(file, canonical=True)
    scan = Scan(shift_negative(scan.array)[0], scan.affine, scan.zooms)
    given = load_label(mask, "brain mask", file, scan, canonical=True) if mask else None
    brain = find_brain(scan, given, file).array
    if brain is None:
        raise UserError(
            f"The template {file} shows a skull and came without a brain mask: name one with "
            "--template-mask, or give a skull-stripped template."
        )
    digest = hashlib.sha256()
    for part in (file, mask):
        digest.update(Path(part).read_bytes() if part else b"")
    name = f"{Path(file).name} ({digest.hexdigest()[:12]})"
    image, affine = scan.array, scan.affine
    if not np.allclose(affine[:3, :3], np.eye(3), atol=1e-3):
        whole = np.ones(image.shape, bool)
        moved = isotropic(image, affine, 1.0, around=whole)
        brain = isotropic(brain, affine, 1.0, around=whole, smooth=False).array > 0.5
        image, affine = moved.array, moved.affine
    return Template(image * brain, brain, affine, name)
