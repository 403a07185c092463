"""A trial takes the steps asked for, on any chapter that trains, and leaves nothing behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from sadm_utils.cli import main
from sadm_utils.config import load_config
from sadm_utils.errors import UserError
from sadm_utils.trial import simulated_volume, try_stage
from tests.conftest import TINY

SMALL = {key: value for key, value in TINY.items() if key != "data.jobs"}
SMALL |= {"data.voxel_mm": 6.0, "data.crop_mm": [384, 384, 60], "data.phantom.voxel_mm": 6.0}
NOTEBOOKS = ("03_spark_pretraining", "04_cddpm_training", "05_sadm_training")


@pytest.mark.parametrize("notebook", NOTEBOOKS)
@pytest.mark.parametrize("steps", [1, 3])
def test_exactly_so_many_steps_are_taken(notebook, steps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []
    state = torch.get_rng_state()
    trial = try_stage(notebook, load_config("smoke", SMALL), steps, show=lines.append)
    assert len(trial.losses) == steps and all(0 < loss < 10 for loss in trial.losses)
    timed = [part for part in trial.seconds if part.startswith("training step")]
    assert len(timed) == steps and trial.memory_gib > 0
    assert any("one volume" in line for line in lines) and "peak memory" in lines[-1]
    assert not list(tmp_path.iterdir())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_trial_is_the_same_each_time():
    config = load_config("smoke", SMALL)
    one, two = (try_stage(NOTEBOOKS[1], config, 2, show=len).losses for _ in range(2))
    assert one == two


def test_command_prints_seconds_and_memory_and_leaves_no_stage(tmp_path: Path, capsys):
    options = [f"-o{key}={value}" for key, value in SMALL.items()]
    with pytest.raises(SystemExit) as end:
        main(["run", "04", "--profile", "smoke", "--steps", "1", "--run-dir", str(tmp_path / "run"),
              *options])  # fmt: skip
    assert not end.value.code
    out = capsys.readouterr().out
    assert re.search(r"training step 1 of 2 slices: \d[\d.]* m?s\n", out) and "GiB" in out
    assert not (tmp_path / "run").exists()


def test_chapters_without_training_and_no_steps_are_refused():
    config = load_config("smoke", SMALL)
    with pytest.raises(UserError, match="trains nothing.*03_spark"):
        try_stage("06_evaluation", config, 1)
    with pytest.raises(UserError, match="at least 1"):
        try_stage(NOTEBOOKS[0], config, 0)


def test_the_papers_volume_has_the_papers_shape():
    config = load_config("paper", {"data.phantom.voxel_mm": 2.0, "data.curvature_steps": 0})
    assert simulated_volume(config).image.shape == (1, 50, 96, 96)
