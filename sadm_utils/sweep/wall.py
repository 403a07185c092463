"""How long a sweep has run points, by the clock on the wall and over all its starts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sadm_utils.errors import UserError
from sadm_utils.records import write_atomic
from sadm_utils.sweep.points import points_folder, read_json, taken_over

WALL = "wall.json"
NOTE_SECONDS = 5.0


class WallTime:
    """Adds up the seconds from the first point that a start runs to its end.

    It is written when the first point starts, then every five seconds, and at the end: a start
    that runs nothing leaves no trace, and one that is killed loses a few seconds.

    Parameters
    ----------
    folder
        Of the sweep.
    done
        Ids of the points that were finished before this start. If the sweep itself made one of
        them before its time was noted, the sum would be too small, and is marked as such.
    """

    def __init__(self, folder: Path, done: Iterable[str] = ()) -> None:
        self.path = folder / WALL
        before = read_json(self.path)
        if before is None:
            own = [p for p in done if not taken_over(points_folder(folder) / p)]
            before = {"wall_s": 0.0, "whole": not own}
        self.before, self.jobs = before, 0
        self.began: float | None = None
        self.noted = 0.0

    def start(self) -> None:
        """A point starts to run."""
        if self.began is None:
            self.began = time.monotonic()
            self.save()

    def note(self, jobs: int) -> None:
        """So many points can run at once; the time so far is written now and then."""
        self.jobs = jobs
        if self.began is not None and time.monotonic() - self.noted > NOTE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the sum; nothing if no point has run since the start."""
        if self.began is None:
            return
        self.noted = time.monotonic()
        seconds = self.before["wall_s"] + self.noted - self.began
        jobs = self.jobs if self.before.get("jobs", self.jobs) == self.jobs else None
        found = {"wall_s": round(seconds, 2), "jobs": jobs, "whole": self.before["whole"]}
        with suppress(UserError):  # a full disk, say: the next note may succeed
            write_atomic(self.path, json.dumps(found))


def forget(folder: Path) -> None:
    """Count anew, as points that took some of the time count no more.

    If others are left, the sum does not hold theirs: it is marked as too small (see `WallTime`).
    """
    (folder / WALL).unlink(missing_ok=True)


def read_wall(folder: Path) -> dict[str, Any]:
    """``wall_s``, and ``jobs`` if every start ran as many points at once, as far as known."""
    found = read_json(folder / WALL) or {}
    known = ("wall_s", "jobs") if found.get("whole") else ("jobs",)
    return {key: found[key] for key in known if found.get(key) is not None}
