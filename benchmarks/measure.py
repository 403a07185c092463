"""Timing that compares: every function of a row takes its turn, round after round."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

Work = Callable[[], Any]


@dataclass
class Timing:
    """Wall-clock and processor seconds of one function, a value a round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, work: Work) -> None:
        """Run the function once and note what it took."""
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)

    @property
    def seconds(self) -> float:
        """Median wall-clock seconds."""
        return median(self.wall)

    @property
    def cpu_seconds(self) -> float:
        """Median processor seconds, all threads together."""
        return median(self.cpu)


def interleave(
    works: Mapping[str, Work], rounds: int, limit: float = 60.0, warmup: int = 1
) -> dict[str, Timing]:
    """Time several functions in turns, so that a slow moment of the machine hits all of them.

    Parameters
    ----------
    works
        Functions without arguments, by name.
    rounds
        How often each is called; every second round goes through them backward.
    limit
        After this many seconds no further round begins; three rounds are always made, or
        ``rounds`` if that is less.
    warmup
        Calls of each function before the clock starts.
    """
    for _ in range(warmup):
        for work in works.values():
            work()
    timings = {name: Timing() for name in works}
    begin = time.perf_counter()
    for number in range(rounds):
        if number >= 3 and time.perf_counter() - begin > limit:
            break
        for name in list(works)[:: -1 if number % 2 else 1]:
            timings[name].add(works[name])
    return timings


def ratio(peer: Timing, ours: Timing, cpu: bool = False) -> float:
    """How many times longer the peer takes: the median over the rounds, each a pair in time."""
    pairs = zip(peer.cpu, ours.cpu) if cpu else zip(peer.wall, ours.wall)  # noqa: B905
    return median(a / max(b, 1e-9) for a, b in pairs)
