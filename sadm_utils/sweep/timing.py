"""How long a sweep will still take, from what its finished points took."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from sadm_utils.costs import ESTIMATES
from sadm_utils.sweep.plan import Plan
from sadm_utils.sweep.points import finished, points_folder


class TimeOfSweep:
    """Elapsed and remaining time; a point is thought to take as long as others of its notebook.

    Parameters
    ----------
    done
        Ids of the points that were finished before.
    """

    def __init__(self, plan: Plan, folder: Path, done: Iterable[str] = ()) -> None:
        self.plan, self.begin = plan, time.monotonic()
        self.started: dict[str, float] = {}
        self.measured: dict[str, list[float]] = defaultdict(list)
        for point in done:
            record = finished(points_folder(folder) / point) or {}
            self.measured[plan.points[point].notebook].append(record.get("seconds", 0.0))
        known = ESTIMATES.get(plan.sweep.profile, {})
        self.guess = {name.split("-")[0]: seconds for name, seconds in known.items()}

    def start(self, point: str) -> None:
        self.started[point] = time.monotonic()

    def finish(self, point: str, seconds: float) -> None:
        self.measured[self.plan.points[point].notebook].append(seconds)

    def elapsed(self) -> float:
        """Seconds since this sweep was started or resumed."""
        return time.monotonic() - self.begin

    def left(self, waiting: Iterable[str], running: Iterable[str], slots: int) -> float | None:
        """Seconds left with ``slots`` points at once; ``None`` if a notebook was never timed."""
        total = 0.0
        for point in waiting:
            expected = self._expected(point)
            if expected is None:
                return None
            total += expected
        for point in running:
            expected, spent = self._expected(point), time.monotonic() - self.started[point]
            if expected is None:
                return None
            total += max(expected - spent, 0.1 * spent)
        return total / max(slots, 1)

    def _expected(self, point: str) -> float | None:
        notebook = self.plan.points[point].notebook
        if taken := self.measured[notebook]:
            return sum(taken) / len(taken)
        return self.guess.get(notebook)
