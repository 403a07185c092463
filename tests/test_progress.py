"""Estimates of the time left, what a notebook prints, and formats."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest

from sadm_utils.progress import (
    Monitor,
    NotebookLog,
    TimeLeft,
    clock,
    gigabytes,
    training_progress,
)


def test_time_left_adds_up_and_follows_the_pace() -> None:
    left = TimeLeft(["a", "b", "c"], {"a": 100, "b": 50, "c": 30})
    assert left.seconds() == pytest.approx(180)
    assert left.seconds(running_for=40) == pytest.approx(140)
    left.finish("a", 210)  # (210 + 10) / (100 + 10) = 2: everything takes twice as long
    assert left.pace == pytest.approx(2)
    assert left.seconds() == pytest.approx(160)
    left.finish("b", 0, reused=True)
    assert left.seconds() == pytest.approx(60)
    assert left.seconds(running_for=1000) == pytest.approx(100), "late: a tenth more"
    left.finish("c", 1)
    assert left.seconds() == 0


def test_time_left_is_unknown_without_an_estimate() -> None:
    left = TimeLeft(["a", "b"], {"a": 100})
    assert left.seconds() is None and clock(left.seconds()) == "unknown"


def test_log_remembers_the_last_line_and_passes_stages_on() -> None:
    notices: list[str] = []
    log = NotebookLog(notices.append)
    log.write("Stage cddpm: resumed after epoch 3 of 15.\n")
    log.write("epoch 4\repoch 5  \n\n")
    assert log.line == "epoch 5"
    assert notices == ["Stage cddpm: resumed after epoch 3 of 15."]


def test_progress_of_a_training_is_read_from_its_stage(tmp_path: Path) -> None:
    stages = [tmp_path / name for name in ("draem", "cddpm")]
    assert training_progress(stages, time.time()) == ""
    stages[1].mkdir()
    file = stages[1] / "progress.json"
    file.write_text(json.dumps({"done": 0.35, "loss": 0.1, "left_s": 250.4, "spent_s": 9.0}))
    written = file.stat().st_mtime
    assert training_progress(stages, written - 1).startswith("cddpm 35 % trained, 4:")
    assert training_progress(stages, written + 1) == "", "left by a run that was killed"
    file.write_text("{")
    assert training_progress(stages, 0) == ""


def test_monitor_measures_memory_and_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    seen: list[int] = []
    with Monitor(
        lambda s: f"{s:.0f} s", stream, lambda children: seen.append(len(children)), every=0.1
    ) as monitor:
        time.sleep(0.7)
    assert monitor.peak_bytes > 10 * 2**20
    assert 0.6 < monitor.seconds < 30
    assert seen and " s\n" in stream.getvalue()


def test_formats() -> None:
    assert [clock(s) for s in (0, 59.4, 187, 7505)] == ["0 s", "59 s", "3:07 min", "2:05 h"]
    assert gigabytes(3.26 * 2**30) == "3.3 GiB"
