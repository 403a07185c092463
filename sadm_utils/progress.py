"""Say what is running, how long it took and how long is left; measure memory on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import psutil


class NotebookLog:
    """A text sink for what a notebook prints: it remembers the last non-empty line.

    Lines that tell of a stage (``Stage cddpm: resumed ...``) go to ``on_notice`` at once.
    """

    def __init__(self, on_notice: Callable[[str], None] | None = None) -> None:
        self.line = ""
        self.on_notice = on_notice

    def write(self, text: str) -> int:
        """Take text; a carriage return starts a new line, as in a progress bar."""
        for line in (part.strip() for part in text.replace("\r", "\n").split("\n")):
            self.line = line or self.line
            if line.startswith("Stage ") and self.on_notice is not None:
                self.on_notice(line)
        return len(text)

    def flush(self) -> None:
        """Nothing is buffered."""


def training_progress(stages: Iterable[Path], since: float) -> str:
    """What the stage that is training tells of itself: ``cddpm 35 % trained, 4:10 min left``.

    Parameters
    ----------
    stages
        Folders of the stages that may be training.
    since
        Time in seconds since the epoch; what was told before it comes from an earlier run.

    Returns
    -------
    An empty string if no stage has told anything since.
    """
    for folder in stages:
        try:
            file = folder / "progress.json"
            told = file.stat().st_mtime
            state = json.loads(file.read_text())
            if told >= since:
                left = max(state["left_s"] - (time.time() - told), 0)
                return f"{folder.name} {100 * state['done']:.0f} % trained, {clock(left)} left"
        except (OSError, ValueError, KeyError):
            continue  # not training
    return ""


class TimeLeft:
    """Estimate of the time left from earlier durations, corrected by the pace so far.

    Parameters
    ----------
    steps
        Names of all steps, in order.
    estimates
        Seconds each step is expected to take; steps without an estimate make the rest unknown.
    """

    def __init__(self, steps: Sequence[str], estimates: Mapping[str, float]) -> None:
        self.left = list(steps)
        self.estimates = dict(estimates)
        self._expected = 0.0
        self._taken = 0.0

    @property
    def pace(self) -> float:
        """Time taken over time expected, for the finished steps; 1 before the first."""
        # Ten seconds of prior keep a short first step from swinging the estimate of a long run.
        return (self._taken + 10) / (self._expected + 10)

    def finish(self, step: str, seconds: float, reused: bool = False) -> None:
        """Take a step off the list."""
        self.left.remove(step)
        if not reused and step in self.estimates:
            self._expected += self.estimates[step]
            self._taken += seconds

    def seconds(self, running_for: float = 0.0) -> float | None:
        """Seconds left, the first step left having run for ``running_for``; ``None`` if unknown."""
        if any(step not in self.estimates for step in self.left):
            return None
        expected = [self.estimates[step] * self.pace for step in self.left]
        if not expected:
            return 0.0
        # A step that takes longer than expected is thought to need a tenth of its time more.
        first = max(expected[0] - running_for, 0.1 * running_for if running_for else 0.0)
        return first + sum(expected[1:])


class Monitor:
    """Watch one step from a thread: its peak memory, and a line of progress now and then.

    In a terminal one line is rewritten every second; elsewhere a line a minute is printed. If the
    variable ``SADM_STOP_WITH_PARENT`` is set (the Makefile does), the program is told to end when
    the one that started it has ended.

    Parameters
    ----------
    describe
        Receives the seconds since the start and returns the line to show.
    on_processes
        Receives the child processes every second (for a lock that names them).
    """

    def __init__(
        self,
        describe: Callable[[float], str],
        stream: TextIO | None = None,
        on_processes: Callable[[list[psutil.Process]], None] | None = None,
        every: float = 60.0,
    ) -> None:
        self.describe = describe
        self.stream = stream or sys.stdout
        self.on_processes = on_processes
        self.every = every
        self.peak_bytes = 0
        self.seconds = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Monitor:
        self._start = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._start
        self._stop.set()
        self._thread.join()
        if self.stream.isatty():
            self.stream.write("\r\x1b[K")

    def _watch(self) -> None:
        terminal = self.stream.isatty()
        spoken = 0.0
        parent = os.getppid() if os.environ.get("SADM_STOP_WITH_PARENT") else None
        while not self._stop.wait(1.0 if terminal else 0.5):
            self.sample()
            if parent not in (None, os.getppid()):
                parent = None
                os.kill(os.getpid(), signal.SIGTERM)
            elapsed = time.monotonic() - self._start
            if terminal:
                width = shutil.get_terminal_size((111, 24)).columns - 1
                self.stream.write(f"\r\x1b[K{self.describe(elapsed)[:width]}")
                self.stream.flush()
            elif elapsed - spoken >= self.every:
                spoken = elapsed
                print(self.describe(elapsed), file=self.stream, flush=True)

    def sample(self) -> None:
        """Add up the resident memory of this process and all below it, and keep the peak.

        Pages shared between processes count more than once: the figure is an upper bound.
        """
        own = psutil.Process()
        children = own.children(recursive=True)
        total = 0
        for process in [own, *children]:
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue  # it ended meanwhile
        self.peak_bytes = max(self.peak_bytes, total)
        if self.on_processes is not None:
            self.on_processes(children)


class Pace:
    """Rate and time left of a count that goes up, from what was counted since the start."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.counted = 0

    def left(self, done: int, total: int) -> str:
        """Text to add to a line of progress: ``, 4.2 s each, 3:07 min left``."""
        self.counted += 1
        each = (time.monotonic() - self.start) / self.counted
        return f", {each:.1f} s each, {clock(each * (total - done))} left"


def clock(seconds: float | None) -> str:
    """Format seconds as ``42 s``, ``3:07 min`` or ``2:05 h``; ``None`` is unknown."""
    if seconds is None:
        return "unknown"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def gigabytes(size: float) -> str:
    """Format bytes as gibibytes with one decimal."""
    return f"{size / 2**30:.1f} GiB"
