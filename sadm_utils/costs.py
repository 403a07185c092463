"""What a book costs: expected and measured time, and room on the disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from sadm_utils.errors import UserError
from sadm_utils.progress import gigabytes

SITE = "site"  # the step after the last notebook

# Seconds a notebook took on two CPU cores, and the gibibytes a run needs on disk; what a run
# measured itself (timings.json) goes before these.
ESTIMATES: dict[str, dict[str, float]] = {
    "smoke": {
        "01_data_preparation": 25,
        "02_draem_anomalies": 20,
        "03_spark_pretraining": 20,
        "04_cddpm_training": 25,
        "05_sadm_training-draem": 25,
        "05_sadm_training-brats21": 25,
        "05_sadm_training-atlas_v2": 25,
        "06_evaluation": 25,
        "07_own_scan": 20,
        "08_baselines": 25,
        "09_where_it_breaks": 20,
        SITE: 30,
    },
    "demo": {
        "01_data_preparation": 94,
        "02_draem_anomalies": 13,
        "03_spark_pretraining": 52,
        "04_cddpm_training": 840,
        "05_sadm_training-draem": 118,
        "05_sadm_training-brats21": 122,
        "05_sadm_training-atlas_v2": 122,
        "06_evaluation": 219,
        "07_own_scan": 32,
        "08_baselines": 130,
        "09_where_it_breaks": 39,
        SITE: 32,
    },
}
DISK_GIB = {"smoke": 0.5, "demo": 0.6, "paper": 60.0}


def read_timings(folder: Path) -> dict[str, dict[str, Any]]:
    """Duration, peak memory, end, device and commit by notebook; empty if none is on record."""
    try:
        return json.loads((folder / "timings.json").read_text())
    except (OSError, ValueError):
        return {}


def check_disk(folder: Path, needed_gib: float) -> None:
    """Refuse to start on a disk that a run would fill.

    Raises
    ------
    UserError
        Naming the folder, the space needed and the space free.
    """
    present = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    free = shutil.disk_usage(folder).free
    if free + present < needed_gib * 2**30:
        raise UserError(
            f"A run needs about {needed_gib:g} GiB, but {folder} has {gigabytes(free)} free: free "
            "some space or choose another place with --run-dir."
        )
