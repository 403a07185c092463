"""One sweep in a folder, at one time: the lock, and what an edited file may change."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sadm_utils.errors import UserError, writing
from sadm_utils.records import write_atomic
from sadm_utils.sweep.plan import Plan

PLAN = "plan.json"


@contextmanager
def claimed(folder: Path, plan: Plan) -> Iterator[int]:
    """Hold the lock of a sweep's folder, and write the plan into it.

    Yields how many points an edited file has added.

    Raises
    ------
    UserError
        Another sweep is running there, or the folder holds another sweep.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".sweep.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"Another sweep is running in {folder}: wait for it to end, or choose another --out."
        ) from None
    try:
        before = read_plan(folder) if (folder / PLAN).exists() else None
        added = 0
        if before is not None:
            check_same(before, plan, folder)
            added = len(set(plan.points) - {p["id"] for p in before["points"]})
        write_atomic(folder / PLAN, json.dumps(plan.to_dict(), indent=1))
        yield added
    finally:
        lock.release()


def read_plan(folder: Path) -> dict[str, Any]:
    """The plan that a sweep's folder holds.

    Raises
    ------
    UserError
        If there is none, or it is damaged.
    """
    path = folder / PLAN
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        if {"sweep", "points", "chains"} <= set(plan):
            return plan
    except FileNotFoundError:
        raise UserError(
            f"{folder} holds no sweep (there is no {PLAN}): make one with 'sadm sweep'."
        ) from None
    except (OSError, ValueError, TypeError):
        pass
    raise UserError(f"{path} is damaged: delete it and run 'sadm sweep' again.")


def check_same(before: Mapping[str, Any], plan: Plan, folder: Path) -> None:
    """Refuse a sweep that would leave points of the one in the folder behind.

    A file that was edited may add points. An evaluation may be replaced by one with the same
    settings that has more networks before it; until that one is finished, the rows of the old one
    are not in the results.

    Raises
    ------
    UserError
        Saying what differs.
    """
    for point in before["points"]:
        if point["id"] not in plan.points and not _replaced(point, plan):
            there, here = before["sweep"], plan.sweep.to_dict()
            raise UserError(
                f"{folder} holds another sweep ({_difference(there, here)}): choose another --out, "
                "or only add to the file, so that no point of the first sweep is left out."
            )


def _replaced(point: Mapping[str, Any], plan: Plan) -> bool:
    return point["notebook"].startswith("06") and any(
        new.parameters == point["parameters"] and set(new.parents) > set(point["parents"])
        for new in plan.points.values()
    )


def _difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """What two resolved sweep files do not agree on; the first two things."""
    found = []
    for key in there:
        if key != "name" and there[key] != here.get(key):
            one, two = there[key], here.get(key)
            if isinstance(one, Mapping) and isinstance(two, Mapping):
                changed = [k for k in {**one, **two} if one.get(k) != two.get(k)]
                one, two = ({k: side[k] for k in changed if k in side} for side in (one, two))
            found.append(f"{key} was {json.dumps(one)} and is {json.dumps(two)}")
    return "; ".join(found[:2]) or "made by other notebooks or another version of the book"
