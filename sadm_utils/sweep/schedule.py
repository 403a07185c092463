"""Run the points of a sweep: in order, several at once, skipping what is finished."""

from __future__ import annotations

import json
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sadm_utils.errors import UserError
from sadm_utils.execute import Interrupted
from sadm_utils.progress import clock, gigabytes
from sadm_utils.records import write_atomic
from sadm_utils.sweep.claim import claimed
from sadm_utils.sweep.plan import Plan, Point
from sadm_utils.sweep.points import (
    PULSE,
    PULSE_SECONDS,
    failure,
    finished,
    points_folder,
    write_task,
)
from sadm_utils.sweep.pool import Outcome, Pool, dask_pool, local_pool
from sadm_utils.sweep.reuse import reuse_points
from sadm_utils.sweep.timing import TimeOfSweep
from sadm_utils.sweep.versions import STALE, outdated, set_aside
from sadm_utils.sweep.wall import WallTime, forget

Show = Callable[[str], None]
SAY_EVERY_SECONDS = 60.0


@dataclass
class Tally:
    """State of each point by id: ``finished``, ``failed``, ``blocked``, ``running`` or ``left``."""

    states: dict[str, str]
    errors: dict[str, str] = field(default_factory=dict)

    def count(self, state: str) -> int:
        return list(self.states.values()).count(state)

    def having(self, state: str) -> list[str]:
        return [point for point, now in self.states.items() if now == state]

    def __str__(self) -> str:
        words = ("finished", "running", "failed", "blocked", "left")
        names = {"finished": "done", "blocked": "not run"}
        shown = [w for w in words if w != "blocked" or self.count(w)]
        return ", ".join(f"{self.count(w)} {names.get(w, w)}" for w in shown)


def tally(plan: Plan, folder: Path, retry: bool = False) -> Tally:
    """What is finished and what has failed, as the folder tells; failed ones are left if retried.

    A point whose parent has failed is blocked.
    """
    found = Tally({})
    for point in plan.points.values():
        own = points_folder(folder) / point.id
        error = failure(own)
        if finished(own) is not None:
            found.states[point.id] = "finished"
        elif error and not retry:
            found.states[point.id], found.errors[point.id] = "failed", error
        else:
            found.states[point.id] = "left"
    block(plan, found)
    return found


def block(plan: Plan, found: Tally) -> list[str]:
    """Mark the points behind failed ones; return their ids."""
    blocked = []
    for point in plan.points.values():  # parents come first
        bad = [p for p in point.parents if found.states[p] in ("failed", "blocked")]
        if bad and found.states[point.id] == "left":
            found.states[point.id] = "blocked"
            first = next((p for p in bad if found.states[p] == "failed"), bad[0])
            found.errors[point.id] = f"not run: its parent {first} failed"
            if found.states[first] == "blocked":
                found.errors[point.id] = f"not run: its parent {first} was not run"
            blocked.append(point.id)
    return blocked


def run_sweep(
    plan: Plan,
    folder: Path,
    *,
    jobs: int = 1,
    dask: str = "",
    threads: int = 0,
    retry: bool = False,
    refresh: bool = False,
    reuse: Sequence[Path] = (),
    show: Show = print,
) -> Tally:
    """Run what is left of a sweep, and say how it goes.

    Parameters
    ----------
    jobs
        Points at once on this machine, which share its cores.
    dask
        Address of a Dask scheduler, whose workers run the points instead.
    threads
        Threads of each point; 0 divides the cores by ``jobs``, and on a cluster takes what the
        workers' environment says.
    retry
        Run failed points again, too.
    refresh
        Run finished points again that sources or settings of today would not make, and all that
        stand on them; what they had made is set aside.
    reuse
        Folders of other sweeps, whose finished points are taken where they are the same.

    Raises
    ------
    UserError
        Another sweep is or runs in the folder, or the cluster cannot be used.
    Interrupted
        The sweep was stopped; no process is left.
    """
    if jobs < 1:
        raise UserError(f"--jobs must be at least 1, not {jobs}.")
    folder = folder.resolve()
    with claimed(folder, plan) as added:
        if added:
            show(f"The file has {added} new points for the sweep in {folder}.")
        _mind_versions(plan, folder, refresh, show)
        for other in reuse:
            taken = reuse_points(plan, folder, other)
            show(f"Taken from {other}: {', '.join(taken) or 'nothing'}.")
        state = tally(plan, folder, retry)
        for point, error in state.errors.items():
            show(f"{_named(plan.points[point])}: {_hint(state.states[point], error)}")
        if not state.count("left"):
            return state
        token = secrets.token_hex(8)
        pool: AbstractContextManager[Pool] = (
            dask_pool(dask, folder, threads, token) if dask else local_pool(jobs, threads, token)
        )
        # The pulse ends before the pool, which then waits until the points have stopped.
        with _undisturbed_end() as ending, pool as opened, _beating(folder, token):
            wall = WallTime(folder, state.having("finished"))
            try:
                _Loop(plan, folder, state, show, wall).run(opened)
            except KeyboardInterrupt:
                ending()
                show("Stopping what is running ...")
                raise Interrupted(
                    f"The sweep was stopped ({state}); run the same command to resume."
                ) from None
            finally:
                wall.save()
    return state


def _mind_versions(plan: Plan, folder: Path, refresh: bool, show: Show) -> None:
    old = outdated(plan, folder)
    if old and refresh:
        moved = set_aside(plan, folder, old)
        forget(folder)
        show(f"Set aside in {folder / STALE}, to be run again: {', '.join(moved)}.")
    elif old:
        show(
            f"{len(old)} finished points were made by other sources, libraries or settings than "
            f"those of today ({', '.join(old)}): --refresh runs them again."
        )


class _Loop:
    """Submits points whose parents are finished, and notes what has become of them."""

    def __init__(
        self, plan: Plan, folder: Path, state: Tally, show: Show, wall: WallTime
    ) -> None:
        self.plan, self.folder, self.state, self.show = plan, folder, state, show
        self.wall = wall
        self.time = TimeOfSweep(plan, folder, state.having("finished"))
        self.slots, self.spoken = 1, time.monotonic()

    def run(self, pool: Pool) -> None:
        self._say(f"{len(self.plan.points)} points in {self.folder}")
        while self._submit(pool):
            for own, outcome in pool.done():
                self._note(self.plan.points[own.name], outcome)
            if time.monotonic() - self.spoken > SAY_EVERY_SECONDS:
                self._say("running " + ", ".join(self.state.having("running")))

    def _submit(self, pool: Pool) -> bool:
        """Hand out what can run; False if nothing runs any more."""
        self.slots = pool.slots()
        self.wall.note(self.slots)
        free = self.slots - self.state.count("running")
        for name in self.state.having("left"):
            point = self.plan.points[name]
            if free > 0 and all(self.state.states[p] == "finished" for p in point.parents):
                pool.submit(write_task(self.plan, point, self.folder))
                self.state.states[name] = "running"
                self.time.start(name)
                self.wall.start()
                free -= 1
                self._say(f"{_named(point)}: running")
        return bool(self.state.count("running"))

    def _note(self, point: Point, outcome: Outcome) -> None:
        self.state.states[point.id] = outcome["state"]
        if outcome["state"] == "finished":
            self.time.finish(point.id, outcome["seconds"])
            peak = gigabytes(outcome["peak_bytes"])
            self._say(f"{_named(point)}: done in {clock(outcome['seconds'])}, {peak}")
        elif outcome["state"] == "failed":
            self.state.errors[point.id] = outcome["error"]
            self._say(f"{_named(point)}: failed: {outcome['error']}")
            for name in block(self.plan, self.state):
                self._say(f"{_named(self.plan.points[name])}: {self.state.errors[name]}")
        else:
            self.state.states[point.id] = "left"
            raise Interrupted(
                f"{_named(point)} was stopped from outside ({self.state}); run the same command "
                "to resume."
            )

    def _say(self, event: str) -> None:
        self.spoken = time.monotonic()
        left = self.time.left(self.state.having("left"), self.state.having("running"), self.slots)
        rest = f", about {clock(left)} left" if left else ""
        self.show(f"{event} | {self.state}; {clock(self.time.elapsed())} so far{rest}")


def _named(point: Point) -> str:
    return f"{point.id} {point.title[3:]}"


def _hint(state: str, error: str) -> str:
    return f"failed before: {error} (--retry runs it again)" if state == "failed" else error


@contextmanager
def _beating(folder: Path, token: str) -> Iterator[None]:
    """Let those who run points know that the sweep goes on; they stop when it does not."""
    path, stop = folder / PULSE, threading.Event()

    def beat() -> None:
        count = 0
        while not stop.wait(PULSE_SECONDS):
            count += 1
            with suppress(UserError):  # a full disk, say: the next beat may succeed
                write_atomic(path, json.dumps({"token": token, "beat": count}))

    write_atomic(path, json.dumps({"token": token, "beat": 0}))
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        with suppress(UserError):
            write_atomic(path, json.dumps({"token": "stopped"}))


@contextmanager
def _undisturbed_end() -> Iterator[Callable[[], None]]:
    """Yield a function after which a second Ctrl-C does not disturb the stopping any more."""
    before: dict[int, Any] = {}

    def ending() -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(number, lambda *_: None)

    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
