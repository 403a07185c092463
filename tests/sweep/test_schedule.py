"""A sweep with points that take no time: order, failures, resuming, stopping, and the lock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock

from sadm_utils.errors import UserError
from sadm_utils.runs import project_root
from sadm_utils.sweep.plan import Plan
from sadm_utils.sweep.points import FAILED, PULSE, REUSED, run_point, write_task
from sadm_utils.sweep.schedule import Tally, run_sweep, tally
from sadm_utils.sweep.versions import outdated
from sadm_utils.sweep.wall import WALL
from tests.sweep.toy import calls, make_plan, order, use_toy_worker


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """01 -> 04 -> 05 draem, 05 brats21 -> 06."""
    without = {"cddpm.pretrained": False}
    return make_plan(tmp_path / "file", annotations=["draem", "brats21"], overrides=without)


def run(plan: Plan, folder: Path, **options: Any) -> tuple[Tally, list[str]]:
    lines: list[str] = []
    return run_sweep(plan, folder, show=lines.append, **options), lines


def kinds(names: list[str]) -> list[str]:
    return [name[:2] for name in names]


def test_all_points_run_once_and_then_never_again(plan, tmp_path, monkeypatch):
    use_toy_worker(tmp_path, monkeypatch)
    state, lines = run(plan, tmp_path)
    assert kinds(calls(tmp_path)) == ["01", "04", "05", "05", "06"]
    assert str(state) == "5 done, 0 running, 0 failed, 0 left"
    assert any("04-" in line and "done in 2 s, 1.0 GiB" in line for line in lines)
    assert lines[-1].startswith("06-") and "5 done" in lines[-1] and "so far" in lines[-1]
    again, lines = run(plan, tmp_path)
    assert len(calls(tmp_path)) == 5 and again.count("finished") == 5 and not lines


def test_two_at_once_share_the_threads(plan, tmp_path, monkeypatch):
    use_toy_worker(tmp_path, monkeypatch)
    state, lines = run(plan, tmp_path, jobs=2, threads=3)
    assert state.count("finished") == 5 and sorted(kinds(calls(tmp_path)))[2:4] == ["05", "05"]
    assert any("2 running" in line for line in lines)
    logs = [path.read_text() for path in tmp_path.glob("points/*/log.txt")]
    assert logs == ["line of the log 3\n"] * 5


def test_point_whose_parent_failed_is_not_run(plan, tmp_path, monkeypatch):
    use_toy_worker(tmp_path, monkeypatch, n04="fail")
    state, lines = run(plan, tmp_path)
    assert kinds(calls(tmp_path)) == ["01", "04"]
    assert str(state) == "1 done, 0 running, 1 failed, 3 not run, 0 left"
    (model,) = state.having("failed")
    assert any(line.startswith("05-") and f"not run: its parent {model} failed" in line
               for line in lines)  # fmt: skip
    assert any(line.startswith("06-") and "not run: its parent" in line for line in lines)


def test_failure_of_one_branch_leaves_the_others_running(plan, tmp_path, monkeypatch):
    brats = next(p for p in plan.points.values() if "brats21" in p.title)
    use_toy_worker(tmp_path, monkeypatch)
    (tmp_path / "orders.json").write_text(json.dumps({brats.id: "fail"}))
    state, _ = run(plan, tmp_path)
    assert state.count("finished") == 3 and state.having("failed") == [brats.id]
    assert kinds(state.having("blocked")) == ["06"]


def test_failed_point_is_listed_and_run_again_on_request(plan, tmp_path, monkeypatch):
    use_toy_worker(tmp_path, monkeypatch, n05="fail")
    run(plan, tmp_path)
    order(tmp_path)
    before = len(calls(tmp_path))
    state, lines = run(plan, tmp_path)
    assert len(calls(tmp_path)) == before and state.count("failed") == 2
    assert sum("failed before: A sentence. (--retry runs it again)" in line for line in lines) == 2
    state, _ = run(plan, tmp_path, retry=True)
    assert state.count("finished") == 5 and kinds(calls(tmp_path)[before:]) == ["05", "05", "06"]
    assert not list(tmp_path.glob(f"points/*/{FAILED}"))


def test_killed_process_leaves_a_sentence(plan, tmp_path, monkeypatch):
    use_toy_worker(tmp_path, monkeypatch, n04="die")
    state, _ = run(plan, tmp_path)
    (point,) = state.having("failed")
    assert state.errors[point].startswith(
        f"The process of {point} was killed (signal 9), most often for want of memory; its log is"
    )
    record = json.loads((tmp_path / "points" / point / FAILED).read_text())
    assert record["log"][0].startswith("line of the log")


def test_process_that_ends_without_a_word(plan, tmp_path, monkeypatch):
    use_toy_worker(tmp_path, monkeypatch, n01="exit")
    state, _ = run(plan, tmp_path)
    assert "ended with exit code 3; its log is" in next(iter(state.errors.values()))
    assert state.count("blocked") == 4


def test_point_stops_when_the_sweep_does(plan, tmp_path, monkeypatch):
    use_toy_worker(tmp_path, monkeypatch, n01="wait")
    point = next(iter(plan.points.values()))
    own = write_task(plan, point, tmp_path)
    (tmp_path / PULSE).write_text(json.dumps({"token": "another"}))
    assert run_point(str(own), 1, "mine") == {"state": "stopped"}
    assert tally(plan, tmp_path).states[point.id] == "left"


def test_two_sweeps_in_one_folder(plan, tmp_path, monkeypatch):
    use_toy_worker(tmp_path, monkeypatch)
    with FileLock(tmp_path / ".sweep.lock"):
        with pytest.raises(UserError, match="Another sweep is running in .*choose another --out"):
            run(plan, tmp_path)
    assert not calls(tmp_path)


def test_folder_of_another_sweep(plan, tmp_path, monkeypatch):
    use_toy_worker(tmp_path, monkeypatch)
    run(plan, tmp_path)
    other = make_plan(tmp_path / "file", seeds=[1], annotations=["draem"])
    with pytest.raises(UserError, match=r"holds another sweep \(seeds was \[0\] and is \[1\]; ann"):
        run(other, tmp_path)
    assert len(calls(tmp_path)) == 5


def test_edited_file_may_add_points(plan, tmp_path, monkeypatch):
    use_toy_worker(tmp_path, monkeypatch)
    run(plan, tmp_path)
    without = {"cddpm.pretrained": False}
    sources = ["draem", "brats21", "atlas_v2"]
    more = make_plan(tmp_path / "file", annotations=sources, overrides=without, seeds=[0, 1])
    state, lines = run(more, tmp_path)
    # The evaluation is made again with a third network: it replaces the one of two.
    assert kinds(calls(tmp_path)[5:]) == ["05", "06", "04", "05", "05", "05", "06"]
    assert state.count("finished") == len(more.points) == 11
    assert lines[0].startswith("The file has 7 new points")
    with pytest.raises(UserError, match="holds another sweep"):
        run(plan, tmp_path)


def test_other_evaluation_is_another_sweep(plan, tmp_path, monkeypatch):
    use_toy_worker(tmp_path, monkeypatch)
    run(plan, tmp_path)
    overrides = {"cddpm.pretrained": False, "evaluation.residual": "l1"}
    other = make_plan(tmp_path / "file", annotations=["draem", "brats21"], overrides=overrides)
    with pytest.raises(UserError, match="variants was .* and is .*evaluation.residual"):
        run(other, tmp_path)


def test_points_of_other_sources_are_told_of_and_made_again(plan, tmp_path, monkeypatch):
    use_toy_worker(tmp_path, monkeypatch)
    run(plan, tmp_path)
    brats = next(p for p in plan.points.values() if "brats21" in p.title)
    path = tmp_path / "points" / brats.id / "point.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "sources": {"sadm/training.py": "0123"}}))
    _, lines = run(plan, tmp_path)
    assert "1 finished points were made by other sources" in lines[0] and brats.id in lines[0]
    state, lines = run(plan, tmp_path, refresh=True)
    assert kinds(calls(tmp_path)[5:]) == ["05", "06"] and state.count("finished") == 5
    assert (tmp_path / "stale" / f"{brats.id}.1" / "point.json").exists()


def test_build_of_a_library_does_not_make_a_point_old(plan, tmp_path, monkeypatch):
    use_toy_worker(tmp_path, monkeypatch)
    run(plan, tmp_path)
    path = next(tmp_path.glob("points/04-*/point.json"))
    record, public = json.loads(path.read_text()), version("torch").partition("+")[0]
    path.write_text(json.dumps({**record, "versions": {"torch": f"{public}+cu999"}}))
    assert outdated(plan, tmp_path) == []
    path.write_text(json.dumps({**record, "versions": {"torch": f"{public}.1+cu999"}}))
    assert outdated(plan, tmp_path) == [record["id"]]


def test_stopped_sweep_leaves_nothing_running(plan, tmp_path, monkeypatch):
    use_toy_worker(tmp_path, monkeypatch, n04="wait")
    code = (
        "import sys; from sadm_utils.sweep import points;"
        f"points.WORKER = (sys.executable, {str(tmp_path / 'worker.py')!r});"
        "from sadm_utils.cli import main; main(sys.argv[1:])"
    )
    words = ["sweep", tmp_path / "file" / "toy.yaml", "--out", tmp_path, "--jobs", "2"]
    environment = {**os.environ, "PYTHONPATH": str(project_root()), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)], env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A process of a shell's background ignores Ctrl-C, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    log = next(tmp_path / "points" / p / "log.txt" for p in plan.points if p.startswith("04"))
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)  # SIGTERM has the same handler
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130 and children
    spent = json.loads((tmp_path / WALL).read_text())
    assert spent["wall_s"] > 0 and spent["jobs"] == 2 and spent["whole"]
    assert error.strip().splitlines()[-1] == (
        "sadm: The sweep was stopped (1 done, 1 running, 0 failed, 3 left); run the same command "
        "to resume."
    )
    assert not [child for child in children if child.is_running()]
    order(tmp_path)
    state, _ = run(plan, tmp_path)
    assert state.count("finished") == 5 and kinds(calls(tmp_path)).count("01") == 1
    again = json.loads((tmp_path / WALL).read_text())
    assert again["wall_s"] > spent["wall_s"] and again["jobs"] is None


def test_jobs_must_be_positive(plan, tmp_path):
    with pytest.raises(UserError, match="--jobs must be at least 1, not 0"):
        run(plan, tmp_path, jobs=0)


def test_points_that_another_sweep_has_finished_are_taken_from_it(plan, tmp_path, monkeypatch):
    use_toy_worker(tmp_path, monkeypatch, n06="fail")
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "orders.json").write_text((tmp_path / "orders.json").read_text())
    run(plan, first)
    (second / "orders.json").write_text("{}")
    state, lines = run(plan, second, reuse=[first])
    assert state.count("finished") == 5 and kinds(calls(second)) == ["06"]
    assert "Taken from" in lines[0] and "06-" not in lines[0]
    marked = [path.parent.name for path in second.glob(f"points/*/{REUSED}")]
    assert sorted(kinds(marked)) == ["01", "04", "05", "05"]
    assert not list(first.glob(f"points/*/{REUSED}"))
    with pytest.raises(UserError, match="the folder of this sweep itself"):
        run(plan, second, reuse=[second])
    with pytest.raises(UserError, match="there is no sweep"):
        run(plan, second, reuse=[tmp_path / "nowhere"])


def test_a_point_that_was_taken_over_in_part_begins_anew(plan, tmp_path):
    point = next(iter(plan.points.values()))
    own = tmp_path / "points" / point.id
    own.mkdir(parents=True)
    for name in (REUSED, "spent.json", "log.txt"):  # the last two are links to another sweep's
        (own / name).write_text("{}")
    write_task(plan, point, tmp_path)
    assert [path.name for path in own.iterdir()] == ["task.json"]


def test_what_stands_on_another_training_is_not_taken(plan, tmp_path, monkeypatch):
    use_toy_worker(tmp_path, monkeypatch, n05="fail")
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    (second / "orders.json").write_text((tmp_path / "orders.json").read_text())
    (first / "orders.json").write_text("{}")
    run(plan, second)
    run(plan, first)
    model = next((first / "points").glob("04-*/point.json"))
    other = {**json.loads(model.read_text()), "identities": {"cddpm": "another"}}
    model.write_text(json.dumps(other))
    (second / "orders.json").write_text("{}")
    state, lines = run(plan, second, reuse=[first], retry=True)
    assert state.count("finished") == 5 and "Taken" in lines[0] and "nothing" in lines[0]


def test_points_of_other_sources_are_not_taken(plan, tmp_path, monkeypatch):
    use_toy_worker(tmp_path, monkeypatch)
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "orders.json").write_text("{}")
    run(plan, first)
    model = next((first / "points").glob("04-*/point.json"))
    model.write_text(json.dumps({**json.loads(model.read_text()), "sources": {"a.py": "old"}}))
    state, lines = run(plan, second, reuse=[first])
    assert state.count("finished") == 5
    assert kinds(calls(second)) == ["04", "05", "05", "06"]  # nor what stands on them
