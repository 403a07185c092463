"""Wall time of a sweep: added up over its starts, kept by a kill, and untouched by idle ones."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from sadm_utils.errors import UserError
from sadm_utils.sweep import wall
from sadm_utils.sweep.points import REUSED
from sadm_utils.sweep.schedule import run_sweep
from sadm_utils.sweep.wall import WALL, WallTime, forget, read_wall
from tests.sweep.toy import make_plan, order, use_toy_worker


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        patch.setattr(wall.time, "monotonic", lambda: self.now)


def begin(folder: Path, jobs: int = 1) -> WallTime:
    """A start that has handed out its first point."""
    found = WallTime(folder)
    found.note(jobs)
    found.start()
    return found


def test_starts_add_up_and_a_killed_one_loses_little(tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    first = begin(tmp_path, jobs=2)
    clock.now += 100
    first.note(2)  # then it is killed: nothing is saved any more
    clock.now += 4
    first.note(2)
    assert read_wall(tmp_path) == {"wall_s": 100.0, "jobs": 2}
    clock.now += 1000  # nobody runs anything
    second = begin(tmp_path, jobs=3)
    clock.now += 7.5
    second.save()
    assert read_wall(tmp_path) == {"wall_s": 107.5}, "the starts had not as many jobs"
    second.start()  # the next point is no new begin
    clock.now += 1
    second.save()
    assert read_wall(tmp_path)["wall_s"] == 108.5


def test_a_start_that_runs_nothing_adds_nothing(tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    idle = WallTime(tmp_path)
    idle.note(4)
    clock.now += 50
    idle.note(4)
    idle.save()
    assert not (tmp_path / WALL).exists() and read_wall(tmp_path) == {}
    begin(tmp_path).save()
    before = (tmp_path / WALL).read_text()
    idle = WallTime(tmp_path)
    clock.now += 50
    idle.note(4)
    idle.save()
    assert (tmp_path / WALL).read_text() == before


def test_time_of_a_sweep_that_began_without_a_note_is_not_told(tmp_path):
    for name in ("own", "taken"):
        (tmp_path / "points" / name).mkdir(parents=True)
    (tmp_path / "points" / "taken" / REUSED).write_text("{}")
    assert WallTime(tmp_path, ["taken"]).before["whole"]
    late = WallTime(tmp_path, ["taken", "own"])
    late.note(1)
    late.start()
    assert read_wall(tmp_path) == {"jobs": 1}
    begin(tmp_path).save()
    assert "wall_s" not in read_wall(tmp_path), "a later start does not mend it"


def test_full_disk_does_not_end_a_sweep(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise UserError("full")

    monkeypatch.setattr(wall, "write_atomic", refuse)
    begin(tmp_path).save()
    assert read_wall(tmp_path) == {}


def test_sweep_notes_the_time_of_its_points_over_restarts(tmp_path, monkeypatch):
    overrides = {"cddpm.pretrained": False}
    plan = make_plan(tmp_path / "file", annotations=["draem"], overrides=overrides)
    use_toy_worker(tmp_path, monkeypatch, n05="fail")
    began = time.monotonic()
    run_sweep(plan, tmp_path, show=lambda _: None)
    first = json.loads((tmp_path / WALL).read_text())
    assert 0 < first["wall_s"] <= time.monotonic() - began and first["jobs"] == 1
    run_sweep(plan, tmp_path, jobs=2, show=lambda _: None)  # what is left is blocked
    assert json.loads((tmp_path / WALL).read_text()) == first
    order(tmp_path)
    run_sweep(plan, tmp_path, jobs=2, retry=True, show=lambda _: None)
    second = json.loads((tmp_path / WALL).read_text())
    assert second["wall_s"] > first["wall_s"] and second["jobs"] is None and second["whole"]


def test_after_a_refresh_the_time_counts_anew(tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    first = begin(tmp_path)
    clock.now += 100
    first.save()
    forget(tmp_path)
    second = begin(tmp_path)
    clock.now += 5
    second.save()
    assert read_wall(tmp_path) == {"wall_s": 5.0, "jobs": 1}
    forget(tmp_path)
    third = WallTime(tmp_path, ["kept"])  # its time went with the sum: nobody knows the whole
    third.start()
    assert "wall_s" not in read_wall(tmp_path)
