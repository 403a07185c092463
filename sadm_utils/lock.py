"""One build at a time in a run folder, and no kernel left over from a killed one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from sadm_utils.errors import UserError

PATIENCE = 20.0  # seconds to wait for another build to end
NOTE = ".book.processes"


@contextmanager
def locked(folder: Path) -> Iterator[Any]:
    """Hold the lock of a run folder; a build that was killed leaves no lock behind.

    Yields a function that notes the processes of this build, so that the next one can end a
    kernel that outlived a killed build.
    """
    lock = FileLock(folder / ".book.lock")
    note = folder / NOTE
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:  # a build that was told to stop needs a moment
            print(f"Another build is running in {folder}: waiting for it to end.", flush=True)
            lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise UserError(
            f"Another build is running in {folder}: stop it, or choose another --run-dir."
        ) from None
    try:
        end_orphans(note)
        known: set[int] = set()

        def write_processes(children: list[psutil.Process]) -> None:
            pids = {child.pid for child in children}
            if pids != known:
                known.clear()
                known.update(pids)
                note.write_text(json.dumps([[c.pid, c.create_time()] for c in children]))

        yield write_processes
        note.unlink(missing_ok=True)
    finally:
        lock.release()


def end_orphans(note: Path) -> None:
    """End the processes that a killed build noted and that are still alive."""
    try:
        noted = json.loads(note.read_text())
    except (OSError, ValueError):
        return
    orphans = []
    for pid, created in noted:
        try:
            process = psutil.Process(pid)
            if abs(process.create_time() - created) < 1:
                process.terminate()
                orphans.append(process)
        except psutil.Error:
            continue
    _, alive = psutil.wait_procs(orphans, timeout=5)
    for process in alive:
        process.kill()
    if orphans:
        print(f"Ended {len(orphans)} process(es) left by a build that was killed.", flush=True)
    note.unlink(missing_ok=True)
