"""One point of a sweep in a process of its own: ``python -m sadm_utils.sweep.worker FOLDER``."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import time
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from sadm_utils.errors import UserError
from sadm_utils.execute import (
    VERSIONS_IN_KEY,
    Interrupted,
    NotebookFailed,
    NotebookRun,
    execute,
    find_notebook,
    stage_identities,
)
from sadm_utils.lock import locked
from sadm_utils.progress import Monitor, clock, training_progress
from sadm_utils.records import write_atomic
from sadm_utils.runs import git_commit
from sadm_utils.sweep.points import (
    FINISHED,
    SPENT,
    STOPPED,
    TASK,
    fail,
    finished,
    link_parents,
    read_json,
)
from sadm_utils.sweep.sources import sources_of

NOTE_SECONDS = 5.0


def main(folder: Path) -> int:
    """Run the point in ``folder``; return the exit code."""
    signal.signal(signal.SIGINT, lambda *_: None)  # the sweep decides, and sends SIGTERM
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with locked(folder) as write_processes:
            if finished(folder) is None:
                run_task(folder, write_processes)
        return 0
    except (UserError, NotebookFailed) as error:
        print(error, flush=True)
        fail(folder, str(error))
        return 1
    except (Interrupted, KeyboardInterrupt):
        print("Stopped.", flush=True)
        return STOPPED
    except Exception as error:
        traceback.print_exc()
        fail(folder, f"{folder.name} failed with {type(error).__name__}: {error}")
        return 1


def run_task(folder: Path, write_processes: Any) -> None:
    """Link the parents, execute the notebook, and write the record that makes the point count."""
    task = read_json(folder / TASK)
    if task is None:
        raise UserError(f"{folder / TASK} is missing or damaged: run the sweep again.")
    link_parents(folder, task["parents"])
    parameters = {**task["parameters"], "RUN_DIR": str(folder)}
    run = NotebookRun(task["notebook"], parameters, stages=tuple(task["stages"]))
    spent = _Spent(folder / SPENT, write_processes)
    stages = [folder / stage for stage in run.stages]
    started = time.time()

    def line(seconds: float) -> str:
        return f"{clock(seconds)} {training_progress(stages, started)}".rstrip()

    # Now, not at the end: the sources may change while it runs.
    made_with = provenance(task["id"][:2], parameters.get("METHODS", ""))
    output = folder / "executed" / f"{run.name}.ipynb"
    with Monitor(line, on_processes=spent.note) as spent.monitor:
        execute(run, find_notebook(run.notebook), output, sys.stdout)
    identities = stage_identities(folder, run.stages)
    unfinished = [stage for stage, identity in identities.items() if not identity]
    if unfinished:
        raise NotebookFailed(f"{run.name} ended without finishing the stage {unfinished[0]}.")
    record = {**task, "identities": identities, **spent.total(), **made_with}
    record["finished"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    write_atomic(folder / FINISHED, json.dumps(record, indent=2))


def provenance(kind: str, method: str = "") -> dict[str, Any]:
    """What a point was made with: commit, versions, sources, machine."""
    from sadm_utils.device import device_name

    return {
        "device": device_name(),
        "threads": int(os.environ.get("OMP_NUM_THREADS", 0)),
        "commit": git_commit(),
        "package": version("sadm-book"),
        "versions": {name: version(name) for name in VERSIONS_IN_KEY},
        "python": platform.python_version(),
        "sources": sources_of(kind, method),
    }


class _Spent:
    """Time and memory of a point, with what killed runs of it have spent before."""

    def __init__(self, path: Path, write_processes: Any) -> None:
        self.path, self.write_processes = path, write_processes
        self.before = read_json(path) or {"seconds": 0.0, "peak_bytes": 0}
        self.started = self.noted = time.monotonic()
        self.monitor: Monitor | None = None

    def total(self) -> dict[str, Any]:
        peak = self.monitor.peak_bytes if self.monitor else 0
        seconds = self.before["seconds"] + time.monotonic() - self.started
        return {"seconds": round(seconds, 1), "peak_bytes": max(peak, self.before["peak_bytes"])}

    def note(self, processes: list[psutil.Process]) -> None:
        self.write_processes(processes)
        if time.monotonic() - self.noted > NOTE_SECONDS:
            self.noted = time.monotonic()
            write_atomic(self.path, json.dumps(self.total()))


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]).resolve()))
