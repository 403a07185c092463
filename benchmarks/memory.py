"""Peak memory of one piece of work, in a fresh process: nothing else has touched its heap.

``python -m benchmarks.memory MODULE:FUNCTION '{"argument": 1}'`` calls a *probe*, a function that
imports and prepares what does not count and returns the work as a function without arguments.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
MEGA = 1e6


class _Sampler(threading.Thread):
    """Watch the resident memory every few milliseconds."""

    def __init__(self, pause: float = 0.004) -> None:
        super().__init__(daemon=True)
        self.process, self.pause, self.stopped = psutil.Process(), pause, threading.Event()
        self.peak = 0

    def run(self) -> None:
        while not self.stopped.wait(self.pause):
            self.peak = max(self.peak, self.process.memory_info().rss)


def _highest() -> float:
    """The highest resident memory that the process ever had, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def run_probe(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run a probe in this process: memory before, and the most above it, both in MB (10⁶)."""
    module, function = name.split(":")
    work: Callable[[], Any] = getattr(import_module(module), function)(**arguments)
    before, earlier, sampler = psutil.Process().memory_info().rss, _highest(), _Sampler()
    sampler.start()
    told = work()
    sampler.stopped.set()
    sampler.join()
    peak = max(sampler.peak, psutil.Process().memory_info().rss)
    if _highest() > earlier:  # a peak between two samples
        peak = max(peak, _highest())
    found = {"baseline_mb": before / MEGA, "above_mb": max(peak - before, 0) / MEGA}
    return {**found, **(told if isinstance(told, dict) else {})}


def peak(probe: str, **arguments: Any) -> dict[str, Any]:
    """Run a probe in a fresh process with the same environment, and return what it found."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.memory", probe]
    done = subprocess.run(
        [*command, json.dumps(arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the probe {probe} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(json.dumps(run_probe(sys.argv[1], json.loads(sys.argv[2]))))
