"""A point on disk: its folder, whether it is finished, and how it comes to be.

``point.json`` is written last and makes a point count; ``failed.json`` says why it does not. The
folder is a run folder of its own, into which the stages of the points before are linked.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from sadm_utils.errors import UserError, writing
from sadm_utils.lock import NOTE, end_orphans
from sadm_utils.records import write_atomic
from sadm_utils.sweep.plan import Plan, Point

FINISHED, FAILED, TASK, SPENT, LOG = (
    "point.json", "failed.json", "task.json", "spent.json", "log.txt",
)  # fmt: skip
REUSED = "reused.json"
"""In the folder of a point that another sweep has run: where it was taken from."""

PULSE = "pulse.json"
"""In the sweep's folder: it changes while a sweep runs, and says when one is stopped."""

WORKER = (sys.executable, "-m", "sadm_utils.sweep.worker")
POLL_SECONDS, PULSE_SECONDS, NO_PULSE_SECONDS, STOP_SECONDS = 0.3, 5.0, 180.0, 20.0
LOG_LINES = 20
STOPPED = 130  # exit code of a worker that was told to stop


def points_folder(sweep_folder: Path) -> Path:
    """Where the points of a sweep lie."""
    return sweep_folder / "points"


def read_json(path: Path) -> dict[str, Any] | None:
    """The content of a small file, or ``None`` if it is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    except (OSError, ValueError):
        return None


def finished(folder: Path) -> dict[str, Any] | None:
    """The record of a finished point, or ``None``."""
    return read_json(folder / FINISHED)


def taken_over(folder: Path) -> bool:
    """Whether another sweep has run the point."""
    return (folder / REUSED).exists()


def failure(folder: Path) -> str:
    """Last error sentence of a failed point, else an empty text."""
    record = read_json(folder / FAILED)
    return str(record.get("error", "it failed")) if record else ""


def write_task(plan: Plan, point: Point, folder: Path) -> Path:
    """Write what a worker must know to run a point; return the point's folder."""
    task = {
        "id": point.id,
        "notebook": point.notebook,
        "title": point.title,
        "parameters": point.parameters,
        "stages": list(point.stages),
        "settings": point.settings,
        "parents": {p.id: list(p.stages) for p in plan.ancestors(point)},
    }
    own = points_folder(folder) / point.id
    with writing(own):
        if taken_over(own):  # taking it over was killed: what is there is the other sweep's
            shutil.rmtree(own)
        own.mkdir(parents=True, exist_ok=True)
    write_atomic(own / TASK, json.dumps(task, indent=2))
    return own


def link_parents(folder: Path, parents: dict[str, list[str]]) -> None:
    """Make the finished stages of other points visible in a point's folder, at no cost.

    Files are hard links, or copies where the file system has none; a stage's record comes last.

    Raises
    ------
    UserError
        If a stage is not there.
    """
    for parent, stages in parents.items():
        for stage in stages:
            source, target = folder.parent / parent / stage, folder / stage
            if not (source / "record.json").exists():
                raise UserError(
                    f"The stage {stage} of the point {parent} is gone: delete {source.parent} and "
                    "run the sweep again."
                )
            if _same_file(source / "record.json", target / "record.json"):
                continue
            shutil.rmtree(target, ignore_errors=True)
            files = sorted(
                (f for f in source.rglob("*") if f.is_file()), key=lambda f: f.name == "record.json"
            )
            with writing(target):
                for file in files:
                    link_file(file, target / file.relative_to(source))


def _same_file(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def link_file(source: Path, target: Path) -> None:
    """Link a file; another one of that name goes, whatever else is linked to it stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def fail(folder: Path, error: str) -> None:
    """Note that a point has failed: one sentence, and the end of its log."""
    record = {
        "error": error,
        "log": log_tail(folder),
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    write_atomic(folder / FAILED, json.dumps(record, indent=2))


def log_tail(folder: Path) -> list[str]:
    """The last lines of a point's log."""
    try:
        text = (folder / LOG).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [line for line in text.replace("\r", "\n").splitlines() if line.strip()][-LOG_LINES:]


def run_point(folder: str, threads: int = 0, token: str = "") -> dict[str, Any]:
    """Run a point in a process of its own, and wait for it; here or on a machine of a cluster.

    A process that dies leaves a failed point. It is stopped when the sweep is: when the pulse in
    the sweep's folder names another ``token``, or does not change any more.

    Parameters
    ----------
    folder
        Of the point, with its task.
    threads
        For computing; 0 for what the environment says.

    Returns
    -------
    ``state`` (``finished``, ``failed`` or ``stopped``), and ``error`` or ``seconds`` and
    ``peak_bytes``.
    """
    own = Path(folder)
    (own / FAILED).unlink(missing_ok=True)
    environment = {**os.environ, "SADM_STOP_WITH_PARENT": "1", "PYTHONUNBUFFERED": "1"}
    if threads:
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
        environment |= dict.fromkeys(names, str(threads))
    with open(own / LOG, "a", encoding="utf-8") as log:
        process = subprocess.Popen([*WORKER, folder], stdout=log, stderr=log, env=environment)
        try:
            code = _wait(process, _Pulse(own.parent.parent / PULSE, token))
        finally:
            if process.poll() is None:  # else the system may have given its number away
                end_tree(process.pid)
            process.wait()
            end_orphans(own / NOTE)  # a kernel outlives a worker that was killed
    return outcome(own, code)


def outcome(folder: Path, code: int | None) -> dict[str, Any]:
    """What became of a point whose process ended with ``code``; ``None`` if it was stopped."""
    record = finished(folder)
    if record is not None:
        return {"state": "finished"} | {k: record.get(k, 0) for k in ("seconds", "peak_bytes")}
    if code is None or code == STOPPED:
        return {"state": "stopped"}
    if not (folder / FAILED).exists():
        how = f"was killed (signal {-code})" if code < 0 else f"ended with exit code {code}"
        reason = ", most often for want of memory" if code == -9 else ""
        fail(folder, f"The process of {folder.name} {how}{reason}; its log is {folder / LOG}.")
    return {"state": "failed", "error": failure(folder)}


class _Pulse:
    """Tells whether the sweep that asked for a point still runs, by a file that it changes."""

    def __init__(self, path: Path, token: str) -> None:
        self.path, self.token = path, token
        self.last: tuple[str, float] = ("", time.monotonic())

    def alive(self) -> bool:
        if not self.token:
            return True
        try:
            text = self.path.read_text(encoding="utf-8")
        except OSError:
            text = self.last[0]
        if text and f'"{self.token}"' not in text:
            return False
        now = time.monotonic()
        if text != self.last[0]:
            self.last = (text, now)
        return now - self.last[1] < NO_PULSE_SECONDS


def _wait(process: subprocess.Popen, pulse: _Pulse) -> int | None:
    """Exit code of the process, or ``None`` if it was stopped."""
    while pulse.alive():
        try:
            return process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    process.terminate()  # the worker ends its kernel
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    return None


def end_tree(pid: int) -> None:
    """End a process and all below it; nothing happens if it has ended."""
    try:
        process = psutil.Process(pid)
        family: Iterable[psutil.Process] = [*process.children(recursive=True), process]
    except psutil.Error:
        return
    for member in family:
        try:
            member.kill()
        except psutil.Error:
            continue
