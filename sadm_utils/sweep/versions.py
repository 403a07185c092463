"""Points of different versions: found, told apart, and set aside to be run again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sadm_utils.errors import writing
from sadm_utils.execute import VERSIONS_IN_KEY
from sadm_utils.sweep.plan import Plan
from sadm_utils.sweep.points import finished, points_folder
from sadm_utils.sweep.sources import sources_of

STALE = "stale"
"""Folder of points that ``--refresh`` has set aside."""


def find_conflict(records: Iterable[Mapping[str, Any]]) -> str:
    """Say what two finished points do not agree on; an empty text if their results mix.

    They must agree on the hash of each source that both depend on, on the public versions of the
    libraries (a build for a GPU is no other version than one for CPUs), and on every setting that
    no override has changed for either.
    """
    seen: dict[tuple[str, str], tuple[Any, Mapping[str, Any]]] = {}
    for record in records:
        for key, value in _made_from(record).items():
            other, first = seen.setdefault(key, (value, record))
            if other != value:
                what, name = key
                return f"{what} {name} of {_named(first)} is not that of {_named(record)}"
    return ""


def outdated(plan: Plan, folder: Path) -> list[str]:
    """Ids of finished points that the sources, libraries or settings of today would not make."""
    old = []
    for point in plan.points.values():
        record = finished(points_folder(folder) / point.id)
        if record is None:
            continue
        now = {
            "sources": sources_of(point.kind, point.parameters.get("METHODS", "")),
            "versions": {name: version(name) for name in VERSIONS_IN_KEY},
            "settings": point.settings,
            "parameters": point.parameters,
        }
        made, would = _made_from(record), _made_from(now)
        sources = {key: value for key, value in made.items() if key[0] == "the source"}
        if any(would.get(key, value) != value for key, value in made.items()) or any(
            key not in would for key in sources
        ):
            old.append(point.id)
    return old


def set_aside(plan: Plan, folder: Path, points: Iterable[str]) -> list[str]:
    """Move points and all that stand on them out of the way; return the ids of those moved."""
    chosen = set(points)
    moved = []
    for point in plan.points.values():  # parents come first
        if point.id in chosen or chosen & {p.id for p in plan.ancestors(point)}:
            own = points_folder(folder) / point.id
            if own.exists():
                with writing(folder / STALE):
                    os.renames(own, _free(folder / STALE / point.id))
                moved.append(point.id)
    return moved


def _free(path: Path) -> Path:
    number = 1
    while (target := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    return target


def _made_from(record: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    overrides = record.get("parameters", {}).get("OVERRIDES", {})
    settings = {k: v for k, v in record.get("settings", {}).items() if k not in overrides}
    parts = {
        "the source": record.get("sources", {}),
        "the version of": {k: _public(v) for k, v in record.get("versions", {}).items()},
        "the setting": settings,
    }
    return {(what, key): value for what, part in parts.items() for key, value in part.items()}


def _public(release: str) -> str:
    """``2.5.1`` of ``2.5.1+cu124``: the driver and its workers may have other builds."""
    return str(release).partition("+")[0]


def _named(record: Mapping[str, Any]) -> str:
    return f"{record['id']} (commit {record.get('commit') or 'unknown'})"
