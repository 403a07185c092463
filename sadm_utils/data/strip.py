"""Brain extraction by HD-BET, if the reader has installed it (it is no part of this book)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from sadm_utils.data.io import Scan, load_nifti, save_nifti
from sadm_utils.device import get_device
from sadm_utils.errors import UserError

COMMAND = "hd-bet"


def has_hd_bet() -> bool:
    """Whether the command ``hd-bet`` is on the path."""
    return shutil.which(COMMAND) is not None


def run_hd_bet(scan: Scan, path: str | Path) -> np.ndarray:
    """Extract the brain of a scan.

    Parameters
    ----------
    scan
        The scan, with skull.
    path
        Its file, for messages.

    Returns
    -------
    numpy.ndarray
        Bool on the scan's grid.

    Raises
    ------
    UserError
        HD-BET is not installed, or fails.
    """
    if not has_hd_bet():
        raise UserError(
            f"HD-BET, which is to extract the brain of {path}, is not installed: run 'pip install "
            "hd-bet', or choose --brain template."
        )
    with tempfile.TemporaryDirectory() as folder:
        source = save_nifti(Path(folder) / "scan.nii.gz", scan.array, scan.affine)
        result = Path(folder) / "brain.nii.gz"
        command = [COMMAND, "-i", str(source), "-o", str(result), "-device", get_device().type]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not result.is_file():
            lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
            raise UserError(
                f"HD-BET could not extract the brain of {path} ({lines[-1][:200].rstrip('.')}): "
                "give a brain mask, or choose --brain template."
            )
        brain = load_nifti(result).array != 0
    if brain.shape != scan.array.shape:
        raise UserError(f"HD-BET changed the grid of {path}: give a brain mask beside the scan.")
    return brain
