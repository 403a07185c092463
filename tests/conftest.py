"""A data set and a finished run so small that the whole chain takes seconds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sadm_utils.data.io import save_nifti
from sadm_utils.data.layout import write_split
from sadm_utils.runs import Run, open_run
from tests.golden.compare import LIMITS

# The tests' own tensors lie on the CPU, and much is compared to the last bit.
os.environ["SADM_DEVICE"] = "cpu"

SHAPE, VOXEL = (40, 32, 10), 6.0
AFFINE = np.diag([VOXEL, VOXEL, VOXEL, 1.0])
COUNTS = {
    "IXI_train_fold0": 3, "IXI_val_fold0": 1, "IXI_test": 2,
    "Brats21_val": 4, "Brats21_test": 2, "MSLUB_test": 1,
}  # fmt: skip
TRAIN = {"epochs": 2, "batch_size": 2, "slices_per_volume": 2, "learning_rate": 1e-3}
TINY: dict[str, Any] = {
    "data.voxel_mm": VOXEL, "data.crop_mm": [384, 384, 48], "data.curvature_steps": 0,
    "data.holdout": 2, "data.jobs": 1,
    "encoder.depth": 18, "encoder.width": 4, "spark.decoder_width": 32,
    "cddpm.width": 8, "cddpm.blocks": 1, "cddpm.groups": 4, "cddpm.levels": [300, 600],
    "sadm.width": 4, "sadm.depth": 2, "sadm.distinct_epochs": 2,
    "sadm.annotated_slices": 2,
    **{f"{room}.train.{k}": v for room in ("spark", "cddpm", "sadm") for k, v in TRAIN.items()},
    "sadm.train.epochs": 3, "cddpm.train.ema_decay": 0.5,
    **{f"baselines.{part}.{k}": v for part in ("train", "diffusion_train")
       for k, v in TRAIN.items()},
    "baselines.width": 4, "baselines.latent": 8,
    "evaluation.median": 3, "evaluation.bootstrap": 50, "evaluation.betas": 3,
}  # fmt: skip
OpenTiny = Callable[..., Run]
GoldenError = Callable[..., None]


@pytest.fixture
def golden_error(request: pytest.FixtureRequest) -> GoldenError:
    """Check the error against a golden file, and note it for the table at the end of the tests."""

    def note(file: str, error: float, kind: str = "forward", limit: float | None = None) -> None:
        limit = LIMITS[kind] if limit is None else limit
        request.node.user_properties.append(("golden", (file, kind, float(error), limit)))
        assert error <= limit, f"{file}, {kind}: {error:.1e} is more than {limit:g}"

    return note


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print each golden file with the largest error of the tests that compared with it."""
    worst: dict[tuple[str, str, float], float] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", []):
                if name == "golden" and report.when == "call":
                    file, kind, error, limit = value
                    worst[file, kind, limit] = max(error, worst.get((file, kind, limit), 0.0))
    if worst:
        terminalreporter.section("released code: largest relative error of each golden file")
    for (file, kind, limit), error in sorted(worst.items()):
        terminalreporter.write_line(f"{file:<36} {kind:<9} {error:8.1e}   (limit {limit:g})")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Small tensors are slower on many threads, and other work may use the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in the book's layout: noisy balls as brains, with dark balls as lesions."""
    root = tmp_path_factory.mktemp("data")
    for number, (name, count) in enumerate(COUNTS.items()):
        rows = [_write_subject(root, name, 100 * number + index) for index in range(count)]
        write_split(root, name, rows)
    return root


@pytest.fixture
def open_tiny(tmp_path: Path, tiny_data: Path) -> OpenTiny:
    """Open a run on the tiny data, in a folder of the test's own unless one is named."""

    def open_it(run_dir: Path | None = None, seed: int = 0, **overrides: Any) -> Run:
        keys = {key.replace("__", "."): value for key, value in overrides.items()}
        return open_run("smoke", run_dir or tmp_path / "run", tiny_data, seed, TINY | keys)

    return open_it


@pytest.fixture(scope="session")
def finished_dir(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """The folder of a run with every stage but ``draem`` finished. Read only: see ``chain_dir``."""
    from sadm_utils.cddpm.training import train_cddpm
    from sadm_utils.data.stage import prepare_data
    from sadm_utils.evaluation.stage import evaluate
    from sadm_utils.sadm.training import train_sadm
    from sadm_utils.spark.training import train_spark

    run = open_run("smoke", tmp_path_factory.mktemp("finished"), tiny_data, 0, TINY)
    prepare_data(run)
    train_spark(run)
    train_cddpm(run)
    for source in ("draem", "brats21"):
        train_sadm(run, source)
    evaluate(run)
    return run.path


@pytest.fixture(scope="session")
def built_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of one complete build in profile smoke, site included (minutes)."""
    from sadm_utils.book import build_book

    folder = tmp_path_factory.mktemp("chain") / "smoke"
    index = build_book("smoke", run_dir=folder)
    assert index == folder / "book" / "index.html"
    return folder


@pytest.fixture
def chain_dir(finished_dir: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change."""
    return shutil.copytree(finished_dir, tmp_path / "chain")


def _write_subject(root: Path, split: str, number: int) -> dict[str, Any]:
    sick = not split.startswith("IXI")
    folder, name = (f"Test/{split.split('_')[0]}" if sick else "Train/ixi"), f"P{number:03d}"
    rng = np.random.default_rng(number)
    image, mask, seg = _ball(rng)
    files = {"t1": image, "mask": mask} | ({"seg": seg} if sick else {})
    for part, array in files.items():
        save_nifti(root / folder / part / f"{name}_{part}.nii.gz", array, AFFINE)
    paths = {part: f"/{folder}/{part}/{name}_{part}.nii.gz" for part in files}
    return {
        "img_name": f"{name}_t1.nii.gz", "age": 50, "label": int(sick), "img_path": paths["t1"],
        "mask_path": paths["mask"], "seg_path": paths.get("seg", ""),
    }  # fmt: skip


def _ball(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    radius = np.sqrt((grid**2).sum(0))
    mask = radius < 0.9
    center = rng.uniform(-0.3, 0.3, (3, 1, 1, 1))
    seg = (np.sqrt(((grid - center) ** 2).sum(0)) < 0.3) & mask
    image = (100 + 40 * radius + rng.normal(0, 5, SHAPE)) * mask
    return np.where(seg, 0.4 * image, image).astype(np.float32), mask, seg
