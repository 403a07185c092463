"""Take over what another sweep has finished: two sweeps that train the same model train it once."""

from __future__ import annotations

import json
from pathlib import Path

from sadm_utils.errors import UserError, writing
from sadm_utils.records import write_atomic
from sadm_utils.sweep.plan import Plan
from sadm_utils.sweep.points import FAILED, FINISHED, REUSED, finished, link_file, points_folder
from sadm_utils.sweep.versions import outdated


def reuse_points(plan: Plan, folder: Path, other: Path) -> list[str]:
    """Link the finished points of another sweep that belong to this one as well.

    A point's id says what it was made from; points of other sources, libraries or settings than
    those of today are left alone, and so is what stands on them.

    Parameters
    ----------
    folder, other
        Folders of this sweep and of the one to take from.

    Returns
    -------
    Ids of the points taken.

    Raises
    ------
    UserError
        If there is no sweep in ``other``, or it is this one.
    """
    source = points_folder(other)
    if other.resolve() == folder.resolve():
        raise UserError(f"--reuse {other}: that is the folder of this sweep itself.")
    if not source.is_dir():
        raise UserError(f"--reuse {other}: there is no sweep (no folder {source}).")
    old = outdated(plan, other)
    taken = []
    for name, point in plan.points.items():  # parents come first
        own = points_folder(folder) / name
        stands = all(
            _same_stages(points_folder(folder) / p, source / p) for p in point.parents
        )
        if name in old or not stands or finished(own) or not finished(source / name):
            continue
        with writing(own):
            _link_point(source / name, own)
        taken.append(name)
    return taken


def _same_stages(one: Path, other: Path) -> bool:
    """Whether both hold the same finished point, not only one with the same settings."""
    here, there = finished(one), finished(other)
    return bool(here and there and here.get("identities") == there.get("identities"))


def _link_point(source: Path, target: Path) -> None:
    """Link all files of a point but its lock; those that make its stages and it count come last.

    A note says that it is another sweep's: its time was not spent here.
    """
    target.mkdir(parents=True, exist_ok=True)
    (target / FAILED).unlink(missing_ok=True)
    write_atomic(target / REUSED, json.dumps({"from": str(source.resolve())}))
    own = (".book.", REUSED)
    files = [f for f in source.rglob("*") if f.is_file() and not f.name.startswith(own)]
    for file in sorted(files, key=lambda f: (f.name == FINISHED, f.name == "record.json")):
        link_file(file, target / file.relative_to(source))
