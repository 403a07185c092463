"""A registration that takes no time, here and in the workers of a test's cluster.

A worker loads this file (``--preload``); there it takes a moment, and one subject kills it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from sadm_utils.data import prepare as module
from sadm_utils.data.brain import BrainMask
from sadm_utils.data.io import load_nifti
from sadm_utils.data.scan import Registered
from tests.data.releases import SHAPE

SECONDS = 0.2
DEADLY = "sub-66"


def fake_registered(image: str, seg: str | None) -> Registered:
    """A registration that keeps the scan's values; half of the volume is brain."""
    array, label = load_nifti(image).array, np.zeros(SHAPE, np.uint8)
    label[:3] = 1
    noisy = array + np.arange(6, dtype=np.float32) / 1000
    lesion = label if seg else None
    brain = BrainMask(None, "stripped", "The scan is skull-stripped.")
    return Registered(
        noisy, label, lesion, np.eye(4), np.eye(4), SHAPE, np.eye(4), brain, 0.95, 0.8,
        0.1 if seg else 0.0, (),
    )  # fmt: skip


def draw_nothing(file: Path, _: Registered) -> None:
    """A picture of a few black pixels."""
    file.parent.mkdir(parents=True, exist_ok=True)
    module.montage.images.imsave(file, np.zeros((4, 6, 3), np.uint8))


def register_slowly(image: str, mask: str | None, seg: str | None, **options: object) -> Registered:
    """Register after a moment; one subject takes its process with it."""
    time.sleep(SECONDS)
    if DEADLY in image:
        os._exit(9)
    return fake_registered(image, seg)


def dask_setup(worker: object) -> None:
    """Called by Dask once in each worker."""
    module.register_scan, module.montage.draw_subject = register_slowly, draw_nothing
