"""Processes that share work, and end soon after the one that started them.

A worker of joblib that is left alone finishes its tasks, and then waits for more for minutes. Here
each watches its parent, so that a killed notebook leaves nothing running behind.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import joblib
import psutil

POLL_SECONDS = 1.0


def run_parallel(
    function: Callable[..., Any], arguments: Iterable[tuple], jobs: int, ordered: bool = True
) -> Iterator[Any]:
    """Call ``function(*arguments)`` for each tuple, in several processes, and yield the results.

    Parameters
    ----------
    function
        A function of a module: it is sent to the processes by name.
    arguments
        One tuple a call; taken as the work proceeds.
    jobs
        Processes, as in joblib; -1 uses every core, 1 none but this one.
    ordered
        Yield in the order of ``arguments``, or else as they come.
    """
    calls = (joblib.delayed(_call)(os.getpid(), function, one) for one in arguments)
    kind = "generator" if ordered else "generator_unordered"
    yield from joblib.Parallel(n_jobs=jobs, return_as=kind)(calls)


def _call(parent: int, function: Callable[..., Any], arguments: tuple) -> Any:
    if os.getpid() != parent:
        _end_with(parent)
    return function(*arguments)


@cache
def _end_with(parent: int) -> None:
    """Watch the parent from a thread, once a process, and end when it has ended."""

    def watch() -> None:
        # An orphan gets another parent at once, but on Windows, where the number just vanishes.
        while os.getppid() == parent and psutil.pid_exists(parent):
            time.sleep(POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
