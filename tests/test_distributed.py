"""Two processes that share each batch take the steps of one; none outlives or outwaits another."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from sadm_utils import processes
from sadm_utils.baselines.training import load_baseline, train_baseline
from sadm_utils.cddpm.training import train_cddpm
from sadm_utils.data.stage import prepare_data
from sadm_utils.errors import UserError
from sadm_utils.launch import TrainingFailed, run_processes
from sadm_utils.training import fit
from tests import together
from tests.conftest import OpenTiny
from tests.toy import Toy, epoch_data, toy_stage

FINISHED = [name for name, (_, _, stop) in together.CASES.items() if stop is None]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes have trained all cases."""
    folder = tmp_path_factory.mktemp("two")
    run_processes([sys.executable, "-m", "tests.together", str(folder)], 2)
    return folder


def load(path: Path) -> Any:
    return torch.load(path, weights_only=True)


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("case", FINISHED)
def test_two_processes_take_the_steps_of_one(case: str, two: Path, tmp_path: Path) -> None:
    one, other = together.train(case, tmp_path), load(two / f"{case}.pt")
    assert len(one["losses"]) == together.TRAIN.epochs * together.STEPS >= 6
    assert other["losses"] == pytest.approx(one["losses"], rel=1e-5)
    assert other["history"]["loss"] == pytest.approx(one["history"]["loss"], rel=1e-5)
    assert other["history"]["step"] == one["history"]["step"] == [2, 4, 6]
    assert_close(one["weights"], other["weights"])
    second = load(two / f"{case}-second.pt")
    assert all(torch.equal(value, second[name]) for name, value in other["weights"].items())


def test_one_process_resumes_what_two_began(two: Path, tmp_path: Path) -> None:
    resumed = together.train("cddpm-killed", two, resumed=True)
    undisturbed = together.train("cddpm", tmp_path)
    assert resumed["losses"] == pytest.approx(undisturbed["losses"][2:], rel=1e-5)
    assert resumed["history"]["epoch"] == [1, 2, 3]
    assert_close(undisturbed["weights"], resumed["weights"])


def test_work_is_divided_and_all_get_it_in_order(two: Path) -> None:
    assert load(two / "divided-0.pt") == ([0, 2, 4], [0, 1, 4, 9, 16])
    assert load(two / "divided-1.pt") == ([1, 3], [0, 1, 4, 9, 16])


def test_a_stage_trained_by_two_is_the_stage_of_one(
    open_tiny: OpenTiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    alone = {"cddpm__pretrained": False, "cddpm__train__precision": "32"}
    records = []
    for count in (1, 2):
        run = open_tiny(tmp_path / str(count), cddpm__train__devices=count, **alone)
        prepare_data(run)
        records.append(train_cddpm(run))
    one, other = records
    assert other["metrics"] == pytest.approx(one["metrics"], rel=1e-5)
    assert other["key"] == one["key"] and "2 processes train it together" in capfd.readouterr().out
    assert train_cddpm(open_tiny(tmp_path / "2", **alone)) == other, "computed again by one"


def test_a_comparison_method_is_trained_by_two_processes(
    open_tiny: OpenTiny, capfd: pytest.CaptureFixture[str]
) -> None:
    run = open_tiny(baselines__train__devices=2, baselines__train__precision="32")
    prepare_data(run)
    record = train_baseline(run, "ae")
    assert "2 processes train it together" in capfd.readouterr().out
    assert record["metrics"]["epochs"] == run.config.baselines.train.epochs
    assert load_baseline(run, "ae") is not None


def test_a_batch_that_cannot_be_shared_is_refused(
    open_tiny: OpenTiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"cddpm.train.batch_size is 2, which 4 processes"):
        open_tiny(cddpm__train__devices=2, cddpm__train__nodes=2)
    monkeypatch.setattr(processes, "count", lambda: 2)
    with pytest.raises(UserError, match="A batch of 3 slices cannot be shared equally by 2"):
        processes.share(3)  # of a data set that is smaller than a batch


def test_more_machines_are_left_to_srun(open_tiny: OpenTiny) -> None:
    run = open_tiny(cddpm__pretrained=False, cddpm__train__nodes=2)
    prepare_data(run)
    with pytest.raises(UserError, match="run 'srun sadm train cddpm' with the same settings"):
        train_cddpm(run)


def test_one_process_alone_does_not_pretend_to_be_two(tmp_path: Path) -> None:
    toy = Toy(dataclasses.replace(Toy().train_config, devices=2))
    with pytest.raises(UserError, match="needs 2 processes, and this is 1: start it by 'sadm tra"):
        fit(toy, epoch_data, toy_stage(tmp_path))


@pytest.mark.parametrize(
    ("second", "error", "sentence"),
    [
        ("print('sadm: wrong', file=sys.stderr); sys.exit(2)", UserError, "^wrong$"),
        ("os.kill(os.getpid(), 9)", UserError, "Process 2 of the 2 .* was killed .signal 9."),
        ("1 / 0", TrainingFailed, "Process 2 of 2 .*(?s:.*)ZeroDivisionError"),
    ],
)
def test_one_that_fails_ends_the_others(
    second: str, error: type[Exception], sentence: str, tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    first = f"open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(100)"
    code = f"import os, sys, time\nif os.environ['RANK'] == '0':\n    {first}\n"
    code += f"while not os.path.exists({str(note)!r}): time.sleep(0.01)\n"
    started = time.monotonic()
    with pytest.raises(error, match=sentence):
        run_processes([sys.executable, "-c", code + second], 2)
    assert time.monotonic() - started < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


def test_the_words_of_slurm_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    srun = {
        "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "6",
        "SLURM_LOCALID": "2", "SLURM_NODEID": "1", "SLURM_STEP_NODELIST": "node[07-08]",
        "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0",
    }  # fmt: skip
    monkeypatch.setattr(os, "environ", {"SLURM_NTASKS": "8"})
    assert processes.started_together() is None, "a batch script is one process"
    monkeypatch.setattr(os, "environ", dict(srun))
    assert processes.started_together() == (4, 2)
    found = {name: os.environ[name] for name in ("RANK", "LOCAL_RANK", "GROUP_RANK")}
    assert found == {"RANK": "6", "LOCAL_RANK": "2", "GROUP_RANK": "1"}
    assert os.environ["MASTER_ADDR"] == "node07" and 15000 <= int(os.environ["MASTER_PORT"]) < 35000
