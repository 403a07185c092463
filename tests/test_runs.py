"""Run folders and stages: what is accepted, what is reused, and what a failure leaves behind."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import SafetensorError

from sadm_utils import stages
from sadm_utils.errors import UserError
from sadm_utils.runs import NOT_IN_KEY, Run, Stage, compute_once, default_run_dir, open_run

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1, dtype=torch.int64)}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run("smoke", tmp_path / "run")


def reopen(run: Run, **overrides: Any) -> Run:
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    return open_run("smoke", run.path, seed=keys.pop("seed", 0), overrides=keys)


def data_stage(run: Run, fold: int = 0, content: str = "x") -> dict[str, Any]:
    settings = {"DATA_DIR": str(run.data_dir or ""), "data": {"fold": fold}}
    return compute_once(run.stage("data", settings, seeded=False), lambda: {"hash": content})


def spark_stage(run: Run, weight: float = 1.0) -> dict[str, Any]:
    spark = {"mask_ratio": run.config.spark.mask_ratio}
    stage = run.stage("spark", {"spark": spark}, ["data"])
    return compute_once(stage, lambda: ({"mse": 0.5}, {"w": torch.tensor([weight])}))


def test_record_tells_what_a_stage_was_made_from(run: Run) -> None:
    parent = data_stage(run)
    record = spark_stage(run)
    assert record == json.loads((run.path / "spark" / "record.json").read_text())
    assert record["parents"] == {"data": parent["identity"]}
    assert record["metrics"] == {"mse": 0.5} and record["profile"] == "smoke"
    assert record["seed"] == 0 and record["duration_s"] >= 0
    assert record["versions"]["torch"] == torch.__version__
    assert {"device", "python", "commit", "finished", "weights_sha256"} <= set(record)
    header = yaml.safe_load((run.path / "spark" / "config.yaml").read_text())
    assert header["settings"] == {"spark": {"mask_ratio": 0.65}, "seed": 0}
    assert header["key"] == record["key"] and header["parents"] == record["parents"]


def test_weights_come_back_unchanged(run: Run) -> None:
    compute_once(run.stage("spark", {}), lambda: ({}, WEIGHTS))
    loaded = run.finished("spark").load_weights()
    assert loaded.keys() == WEIGHTS.keys()
    assert all(torch.equal(loaded[k], v) and loaded[k].dtype == v.dtype for k, v in WEIGHTS.items())


def test_channels_last_weights_are_stored_in_plain_order(run: Run) -> None:
    weight = torch.rand(4, 3, 2, 2).to(memory_format=torch.channels_last)
    compute_once(run.stage("spark", {}), lambda: ({}, {"w": weight}))
    assert torch.equal(run.finished("spark").load_weights()["w"], weight)


def test_same_key_is_reused(run: Run, capsys: pytest.CaptureFixture) -> None:
    first = data_stage(run)
    second = data_stage(reopen(run), content="never computed")
    assert second == first and "Stage data: reused" in capsys.readouterr().out


def test_key_follows_settings_seed_and_parents_but_not_speed(run: Run) -> None:
    def key(run: Run, parents: tuple[str, ...] = (), **settings: Any) -> str:
        return run.stage("spark", settings, parents).key

    base = key(run, room={"a": 1})
    assert key(run, room={"a": 2}) != base and key(reopen(run, seed=1), room={"a": 1}) != base
    data_stage(run)
    with_parent = key(run, ("data",), room={"a": 1})
    assert with_parent != base
    shutil.rmtree(run.path / "data")
    data_stage(run, content="other slices")
    assert key(run, ("data",), room={"a": 1}) != with_parent
    fast = {name: 9 for name in NOT_IN_KEY}
    assert key(run, room={"a": 1, **fast}) == base
    assert run.stage("data", {"a": 1}, seeded=False).key == (
        reopen(run, seed=4).stage("data", {"a": 1}, seeded=False).key
    )


def test_other_settings_set_the_old_stage_aside(run: Run, capsys: pytest.CaptureFixture) -> None:
    old = data_stage(run)
    new = data_stage(reopen(run, data__fold=1), fold=1)
    assert new["key"] != old["key"] and "now data.old1" in capsys.readouterr().out
    kept = json.loads((run.path / "data.old1" / "record.json").read_text())
    assert kept == old
    data_stage(run)
    assert (run.path / "data.old2" / "record.json").exists()


def test_unfinished_stage_with_other_settings_is_set_aside_too(run: Run) -> None:
    stage = run.stage("spark", {"a": 1})
    stage.begin()
    stage.checkpoint_path.write_text("of other settings")
    stage.release()
    again = run.stage("spark", {"a": 2})
    again.begin()
    assert not again.checkpoint_path.exists()
    assert (run.path / "spark.old1" / "last.ckpt").exists()


def test_what_a_killed_run_left_is_kept_for_resuming(run: Run) -> None:
    stage = run.stage("spark", {"a": 1})
    stage.begin()
    stage.checkpoint_path.write_text("half way")
    stage.release()
    again = run.stage("spark", {"a": 1})
    assert again.begin() and again.checkpoint_path.read_text() == "half way"
    again.finish({})
    assert not again.checkpoint_path.exists()


def test_what_a_killed_run_was_writing_is_removed(run: Run) -> None:
    stage = run.stage("data", {})
    stage.begin()
    (stage.path / ".IXI_test_image.npy.x7").write_text("half")
    stage.release()
    run.stage("data", {}).begin()
    assert [p.name for p in stage.path.iterdir()] == ["config.yaml"]


def test_record_of_other_settings_never_counts_for_a_stage_under_way(run: Run) -> None:
    data_stage(run)
    (run.path / "data" / "config.yaml").unlink()
    run.stage("data", {"data": {"fold": 1}}, seeded=False).begin()
    with pytest.raises(UserError, match="'data' is unfinished"):
        run.require("data")


def test_missing_and_unfinished_parents_name_their_notebook(run: Run) -> None:
    with pytest.raises(UserError, match="'data' is missing.*01_data_preparation.ipynb"):
        run.stage("spark", {}, ["data"])
    run.stage("data", {}, seeded=False).begin()
    with pytest.raises(UserError, match="'data' is unfinished.*01_data_preparation.ipynb"):
        run.stage("spark", {}, ["data"])
    with pytest.raises(UserError, match="'sadm-draem-input' is missing.*05_sadm_training.ipynb"):
        run.finished("sadm-draem-input")


def test_stage_of_other_settings_or_seed_is_refused_by_key_and_value(run: Run) -> None:
    data_stage(run)
    spark_stage(run)
    with pytest.raises(UserError, match=r"spark.mask_ratio = 0.65.*has 0.5.*03_spark"):
        reopen(run, spark__mask_ratio=0.5).require("spark")
    with pytest.raises(UserError, match="'spark' .*seed = 0, but this run has 3"):
        reopen(run, seed=3).require("spark")
    with pytest.raises(UserError, match="'data' .*data.fold = 0, but this run has 2.*01_data"):
        reopen(run, data__fold=2).require("spark")
    reopen(run, cddpm__blocks=2).require("spark")  # not a setting of this stage


def test_stage_of_other_data_is_refused(run: Run, tmp_path: Path) -> None:
    data_stage(run)
    (tmp_path / "mine").mkdir()
    other = open_run("smoke", run.path, tmp_path / "mine")
    with pytest.raises(UserError, match="'data' .*DATA_DIR = '', but this run has '.*mine'"):
        other.require("data")


def test_stage_whose_parent_was_made_anew_is_refused(run: Run) -> None:
    data_stage(run)
    before = spark_stage(run)
    shutil.rmtree(run.path / "data")
    data_stage(run, content="other slices")
    with pytest.raises(UserError, match="'spark' .*from another 'data' stage.*03_spark"):
        run.require("spark")
    after = spark_stage(run)
    assert after["identity"] != before["identity"] and run.require("spark") == after
    compute_once(run.stage("cddpm", {}, ["spark"]), lambda: {})
    shutil.rmtree(run.path / "spark")
    spark_stage(run, weight=2.0)
    with pytest.raises(UserError, match="'cddpm' .*from another 'spark' stage"):
        run.finished("cddpm")


def test_failure_leaves_the_stage_unfinished_and_unlocked(run: Run) -> None:
    def fail() -> dict[str, Any]:
        raise ZeroDivisionError

    for _ in range(2):  # in a notebook, the same cell is run again in the same process
        with pytest.raises(ZeroDivisionError) as error:
            compute_once(run.stage("data", {}), fail)
        assert error.value.__traceback__ is not None  # which keeps the stage alive
    assert not (run.path / "data" / "record.json").exists()
    assert compute_once(run.stage("data", {}), dict)["metrics"] == {}


def test_two_processes_cannot_work_on_one_stage(run: Run) -> None:
    first = run.stage("data", {})
    first.begin()
    with pytest.raises(UserError, match="Another process is working on the stage 'data'"):
        run.stage("data", {}).begin()
    compute_once(run.stage("spark", {}), dict)
    first.finish({})
    assert not run.stage("data", {}).begin()


def test_kill_between_weights_and_record_does_not_count(run: Run) -> None:
    stage = run.stage("spark", {})
    stage.begin()
    stage._write_weights(WEIGHTS)
    stage.release()
    with pytest.raises(UserError, match="'spark' is unfinished"):
        run.finished("spark")
    assert compute_once(run.stage("spark", {}), lambda: ({}, WEIGHTS))["weights_sha256"]


@pytest.mark.parametrize("damage", ["changed", "truncated", "missing"])
def test_damaged_weights_are_refused(run: Run, damage: str) -> None:
    compute_once(run.stage("spark", {}), lambda: ({}, WEIGHTS))
    file = run.path / "spark" / "weights.safetensors"
    content = file.read_bytes()
    file.unlink()
    if damage != "missing":
        file.write_bytes(content[:-1] + (b"!" if damage == "changed" else b""))
    with pytest.raises(UserError, match=r"weights\.safetensors.*delete the folder .*03_spark"):
        run.finished("spark").load_weights()


@pytest.mark.parametrize("name", ["record.json", "config.yaml"])
@pytest.mark.parametrize("content", ["", "{", "[1]", "nothing", '{"key": 1}'])
def test_damaged_files_are_named(run: Run, name: str, content: str) -> None:
    data_stage(run)
    file = run.path / "data" / name
    file.write_text(content)
    with pytest.raises(UserError, match=f"{name}.* damaged: delete the folder .*data"):
        run.require("data")


def test_time_of_killed_runs_is_counted_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(stages.time, "time", lambda: clock[0])

    def work(seconds: float, note: bool) -> Stage:
        stage = run.stage("spark", {})
        assert stage.begin()
        clock[0] += seconds
        if note:
            stage.note({"loss": 1.0})
        stage.release()
        clock[0] += 5000  # nobody works
        return stage

    work(10, note=True)
    work(7, note=True)
    work(3, note=False)  # killed before it could tell
    stage = run.stage("spark", {})
    stage.begin()
    assert stage.seconds == 17
    clock[0] += 20
    assert stage.finish({})["duration_s"] == 37
    assert not stage.progress_path.exists()


def test_full_disk_while_writing_weights(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def half_written(weights: dict[str, torch.Tensor], path: Path) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    stage = run.stage("spark", {})
    stage.begin()
    monkeypatch.setattr(stages, "save_file", half_written)
    with pytest.raises(UserError, match=r"weights\.safetensors .*No space left.*free some space"):
        stage.finish({}, WEIGHTS)
    assert sorted(p.name for p in stage.path.iterdir()) == ["config.yaml"]


def no_space(*_: Any, **__: Any) -> None:
    raise OSError(28, os.strerror(28))


def test_full_disk_while_writing_the_record(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = run.stage("spark", {})
    stage.begin()
    monkeypatch.setattr(Path, "write_text", no_space)
    with pytest.raises(UserError, match=r"disk is full while writing .*record\.json: free"):
        stage.finish({}, WEIGHTS)
    assert not stage.record_path.exists() and not list(stage.path.glob(".*"))


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, os.strerror(28)),
        RuntimeError("write failed: No space left on device (os error 28)"),
    ],
)
def test_full_disk_anywhere_in_a_stage_is_one_sentence(run: Run, error: Exception) -> None:
    def compute() -> dict[str, Any]:
        raise error

    with pytest.raises(UserError, match=r"disk is full while the stage 'data'.*free some space"):
        compute_once(run.stage("data", {}), compute)
    with pytest.raises(ValueError, match="other"):
        error = ValueError("other")
        compute_once(run.stage("data", {}), compute)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"profile": "dmo"}, "Unknown profile 'dmo': choose one of demo, paper, smoke"),
        ({"seed": -1}, "SEED must be a whole number"),
        ({"seed": "0"}, "SEED must be a whole number"),
        ({"seed": True}, "SEED must be a whole number"),
        ({"data_dir": "/no/such/folder"}, "DATA_DIR '/no/such/folder' does not exist"),
        ({"data_dir": 5}, "DATA_DIR must be the path of a folder or empty, not 5"),
        ({"run_dir": ["x"]}, "RUN_DIR must be the path"),
        ({"overrides": {"cddpm.widht": 32}}, "did you mean cddpm.width"),
    ],
)
def test_mistaken_parameters(tmp_path: Path, parameters: dict[str, Any], sentence: str) -> None:
    arguments = {"profile": "smoke", "run_dir": tmp_path / "run", **parameters}
    with pytest.raises(UserError, match=sentence):
        open_run(**arguments)
    assert not (tmp_path / "run").exists()


def test_run_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/run cannot be written .*choose a writable folder"):
        open_run("smoke", tmp_path / "file" / "run")


def test_own_data_has_a_run_folder_of_its_own() -> None:
    assert default_run_dir("demo").parts[-2:] == ("runs", "demo")
    assert default_run_dir("demo", Path("/scans/mine")).name == "demo-mine"


def test_open_run_seeds_the_generators(tmp_path: Path) -> None:
    draws = []
    for _ in range(2):
        open_run("smoke", tmp_path, seed=4)
        draws.append(torch.rand(3))
    open_run("smoke", tmp_path, seed=5)
    assert torch.equal(*draws) and not torch.equal(draws[0], torch.rand(3))
