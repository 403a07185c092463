"""Volumes shared among processes: the same maps in the same order, and never of older weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sadm_utils import device
from sadm_utils.data.stage import open_data
from sadm_utils.errors import UserError
from sadm_utils.evaluation.shared import load_models, processes_for, share_maps
from sadm_utils.evaluation.stage import evaluation_stage, finished_networks
from sadm_utils.runs import Run
from tests.conftest import OpenTiny


def test_two_processes_compute_what_one_does(open_tiny: OpenTiny, finished_dir: Path) -> None:
    alone, shared = (open_tiny(finished_dir, evaluation__jobs=jobs) for jobs in (1, 2))
    assert evaluation_stage(alone).key == evaluation_stage(shared).key
    volumes, names = open_data(alone)["Brats21_val"], finished_networks(alone)
    one, two = (list(share_maps(run, names, volumes, "")) for run in (alone, shared))
    assert [m.subject for m in one] == [m.subject for m in two] == list(volumes.subjects)
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.residual, b.residual) and a.supervised.keys() == b.supervised.keys()
        assert all(np.array_equal(a.supervised[name], b.supervised[name]) for name in names)


def test_weights_are_loaded_once_for_each_version(open_tiny: OpenTiny, finished_dir: Path) -> None:
    run: Run = open_tiny(finished_dir)
    first, again, other = (load_models(run, (), version) for version in ("a", "a", "b"))
    assert first is again and first is not other


def test_as_many_processes_as_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert (processes_for(-1), processes_for(2)) == (3, 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert (processes_for(-1), processes_for(16)) == (4, 16)
    monkeypatch.setattr(device, "get_device", lambda: torch.device("meta"))
    assert processes_for(-1) == processes_for(3) == 1, "a GPU is not shared"


def test_no_process_at_all_is_refused(open_tiny: OpenTiny, finished_dir: Path) -> None:
    with pytest.raises(UserError, match="evaluation.jobs"):
        open_tiny(finished_dir, evaluation__jobs=0)
