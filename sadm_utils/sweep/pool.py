"""Where points are run: processes of this machine, or the workers of a Dask cluster.

Both take calls of :func:`sadm_utils.sweep.points.run_point` as they become possible, and hand back
their outcomes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from sadm_utils.data.cluster import PATIENCE_SECONDS, broken, check_workers, connected
from sadm_utils.errors import UserError
from sadm_utils.sweep.points import STOP_SECONDS, fail, finished, outcome, run_point

TICK_SECONDS = 1.0
Outcome = dict[str, Any]


class Pool(Protocol):
    """What a sweep needs of the machines that it runs on."""

    def slots(self) -> int:
        """How many points can run at once."""

    def submit(self, folder: Path) -> None:
        """Run the point in a folder."""

    def done(self) -> list[tuple[Path, Outcome]]:
        """Points that have ended since the last call; waits for a second at most."""


def threads_of(jobs: int) -> int:
    """Threads of one of ``jobs`` points that share this machine's cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) // jobs)


class LocalPool:
    """``jobs`` points at once, each a process of this machine."""

    def __init__(self, jobs: int, threads: int, token: str) -> None:
        self.jobs, self.threads, self.token = jobs, threads or threads_of(jobs), token
        self.executor = ThreadPoolExecutor(jobs)
        self.running: dict[Future, Path] = {}

    def slots(self) -> int:
        return self.jobs

    def submit(self, folder: Path) -> None:
        future = self.executor.submit(run_point, str(folder), self.threads, self.token)
        self.running[future] = folder

    def done(self) -> list[tuple[Path, Outcome]]:
        ended = wait(self.running, TICK_SECONDS, FIRST_COMPLETED).done
        return [(self.running.pop(future), future.result()) for future in ended]


@contextmanager
def local_pool(jobs: int, threads: int, token: str) -> Iterator[LocalPool]:
    """Open a pool on this machine; at its end nothing is left running."""
    pool = LocalPool(jobs, threads, token)
    try:
        yield pool
    finally:
        pool.executor.shutdown(wait=True, cancel_futures=True)


class DaskPool:
    """As many points at once as the cluster has cores."""

    def __init__(self, client: Any, address: str, threads: int, token: str) -> None:
        self.client, self.address, self.threads, self.token = client, address, threads, token
        self.running: dict[Any, Path] = {}
        self.heard = time.monotonic()

    def slots(self) -> int:
        try:
            found = sum(self.client.ncores().values())
        except (OSError, ValueError, CancelledError, TimeoutError):
            raise broken(self.address) from None
        if not found and not self.running:  # what runs may come back; a sweep must not just end
            raise UserError(
                f"The Dask scheduler at {self.address} has no worker left: start some, and run the "
                "same command to resume."
            )
        return found

    def submit(self, folder: Path) -> None:
        future = self.client.submit(run_point, str(folder), self.threads, self.token, pure=False)
        self.running[future] = folder

    def done(self) -> list[tuple[Path, Outcome]]:
        from distributed import wait as wait_for

        try:
            ended = wait_for(
                list(self.running), timeout=TICK_SECONDS, return_when="FIRST_COMPLETED"
            ).done
        except TimeoutError:
            self._check_alive()
            return []
        except (CancelledError, OSError):
            raise broken(self.address) from None
        self.heard = time.monotonic()
        return [self._outcome(self.running.pop(future), future) for future in ended]

    def _check_alive(self) -> None:
        if time.monotonic() - self.heard > PATIENCE_SECONDS:
            self.heard = time.monotonic()
            if not self.slots():
                raise UserError(
                    f"The Dask scheduler at {self.address} has lost all its workers: start some "
                    "and run the same command again to resume."
                )

    def _outcome(self, folder: Path, future: Any) -> tuple[Path, Outcome]:
        if future.status == "error":
            return folder, _of_killed(folder, future.exception())
        if future.status != "finished":
            raise broken(self.address)
        try:
            return folder, future.result()
        except (CancelledError, OSError):
            raise broken(self.address) from None


def _of_killed(folder: Path, error: BaseException) -> Outcome:
    """What became of a point whose workers died; any other error is raised."""
    from distributed import KilledWorker

    if not isinstance(error, KilledWorker):
        raise error
    if finished(folder) is None:
        fail(
            folder,
            f"The Dask workers that took {folder.name} died, most often for want of memory: start "
            "them with more, or with one thread each.",
        )
    return outcome(folder, 0)


@contextmanager
def dask_pool(address: str, folder: Path, threads: int, token: str) -> Iterator[DaskPool]:
    """Open a pool on a cluster, whose workers must see the sweep's folder."""
    with connected(address) as client:
        from distributed import wait as wait_for

        check_workers(client, address, [str(folder)])
        pool = DaskPool(client, address, threads, token)
        try:
            yield pool
        finally:
            with suppress(Exception):  # where the cluster is gone, there is nothing to wait for
                wait_for(list(pool.running), timeout=2 * STOP_SECONDS)
