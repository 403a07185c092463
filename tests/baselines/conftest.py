"""A configuration of the smallest slices, a handful of them, and a run with prepared data."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sadm_utils.config import Config, load_config
from sadm_utils.data.stage import prepare_data
from sadm_utils.runs import Run, open_run
from tests.conftest import TINY

SIDE = 32
SMALL = {**TINY, "data.crop_mm": [6 * SIDE, 6 * SIDE, 48], "baselines.width": 8}


@pytest.fixture
def config() -> Config:
    return load_config("smoke", SMALL)


@pytest.fixture
def batch() -> dict[str, Tensor]:
    """Six slices with an ellipse each, of different sizes, places and gray values."""
    rng = torch.Generator().manual_seed(5)
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, SIDE),) * 2, indexing="ij")
    images, masks = [], []
    for a, b, c, d in torch.rand(6, 4, generator=rng).tolist():
        radius = ((x - 0.2 * (a - 0.5)) / (0.6 + 0.3 * b)) ** 2 + (y / (0.6 + 0.3 * c)) ** 2
        mask = (radius < 1).float()
        images.append(mask * (0.3 + 0.4 * d + 0.2 * torch.cos(6 * radius)))
        masks.append(mask)
    return {"image": torch.stack(images)[:, None], "mask": torch.stack(masks)[:, None]}


@pytest.fixture(scope="session")
def prepared_dir(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """The folder of a run with the stage ``data`` alone."""
    run = open_run("smoke", tmp_path_factory.mktemp("prepared"), tiny_data, 0, TINY)
    prepare_data(run)
    return run.path


@pytest.fixture
def open_prepared(tmp_path: Path, prepared_dir: Path, tiny_data: Path):
    """Open a copy of the prepared run, with the same overrides or more."""
    import shutil

    folder = tmp_path / "run"

    def open_it(**overrides) -> Run:
        if not folder.exists():
            shutil.copytree(prepared_dir, folder)
        keys = {key.replace("__", "."): value for key, value in overrides.items()}
        return open_run("smoke", folder, tiny_data, 0, TINY | keys)

    return open_it
