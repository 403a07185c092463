"""What was measured: rows of a table, series of a figure, profiles; and the file of them."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Timing
from sadm_utils.runs import git_commit


@dataclass(frozen=True)
class Peer:
    """Another way to do the same, in the unit of its row; ``ratio`` > 1 means that ours wins."""

    name: str
    value: float
    ratio: float
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    key, title
        Name in the file, and in words.
    value, unit
        The measured median.
    target, floor
        In the same unit: what the project asks for, and what the machine's ceilings allow.
    higher
        Whether more is better.
    memory_mb, memory_target_mb
        Peak memory above the baseline, in MB.
    details
        Whatever else was found; goes to the file only.
    """

    key: str
    title: str
    value: float
    unit: str
    target: float | None = None
    floor: float | None = None
    higher: bool = False
    peers: tuple[Peer, ...] = ()
    memory_mb: float | None = None
    memory_target_mb: float | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether value and memory meet their targets; None if there is no target."""
        checks = []
        if self.target is not None:
            checks.append((self.value >= self.target) if self.higher else self.value <= self.target)
        if self.memory_target_mb is not None and self.memory_mb is not None:
            checks.append(self.memory_mb <= self.memory_target_mb)
        return all(checks) if checks else None

    @property
    def of_floor(self) -> float | None:
        """How many times slower than the floor."""
        if self.floor is None:
            return None
        return self.floor / self.value if self.higher else self.value / self.floor


@dataclass(frozen=True)
class Series:
    """How a cost grows: one curve of the figure."""

    key: str
    axis: str
    x: list[float]
    y: list[float]
    unit: str
    memory_mb: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Profile:
    """Seconds of one piece of work, and the share of each kind of operation (they sum to 1)."""

    key: str
    title: str
    seconds: float
    shares: dict[str, float]


Found = Row | Series | Profile


def peer(name: str, value: float, ratio: float, note: str = "") -> Peer:
    """A peer with rounded figures."""
    return Peer(name, float(f"{value:.4g}"), float(f"{ratio:.3g}"), note)


def spread(timing: Timing) -> dict[str, Any]:
    """The rounds behind a median, for the file."""
    return {"rounds": len(timing.wall), "seconds": [float(f"{s:.4g}") for s in timing.wall[:50]]}


def table(rows: Iterable[Row]) -> str:
    """Lay out rows as text."""
    head = ("row", "ours", "target", "met", "floor", "x floor", "peer (ratio)", "memory MB")
    lines = [head]
    for row in rows:
        peers = "; ".join(f"{p.name} {_number(p.value)} ({p.ratio:.3g}x)" for p in row.peers)
        memory = "" if row.memory_mb is None else f"{row.memory_mb:.0f}"
        if row.memory_target_mb is not None:
            memory += f" of {row.memory_target_mb:.0f}"
        sign = "≥" if row.higher else "≤"
        lines.append((
            row.title,
            f"{_number(row.value)} {row.unit}",
            "" if row.target is None else f"{sign} {_number(row.target)}",
            {None: "", True: "yes", False: "NO"}[row.met],
            "" if row.floor is None else _number(row.floor),
            "" if row.of_floor is None else f"{row.of_floor:.2f}",
            peers,
            memory,
        ))  # fmt: skip
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    texts = ["  ".join(v.ljust(w) for v, w in zip(line, widths, strict=True)) for line in lines]
    return "\n".join([texts[0].rstrip(), "-" * sum(widths), *(t.rstrip() for t in texts[1:])])


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "allocator": {k: v for k, v in os.environ.items() if k.startswith("MALLOC_")},
        "commit": _commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(x.split(":")[1].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


@cache
def _commit() -> str:
    """The commit at the first call: what is written into the file later would read as a change."""
    return git_commit() or "unknown"


def write(path: Path, found: list[Found], ceilings: dict[str, float], update: bool) -> None:
    """Write all as JSON; with ``update`` keep those that were not measured now.

    Each row carries the machine state it was measured in, as rows may come from several runs.
    """
    state = machine()
    rows, series, profiles = [], [], []
    for one in found:
        record = {k: v for k, v in dataclasses.asdict(one).items() if v not in (None, [], {}, ())}
        if isinstance(one, Row):
            rows.append({**record, "met": one.met, "of_floor": one.of_floor, "load": state["load"],
                         "date": state["date"], "commit": state["commit"]})
        else:
            where = profiles if isinstance(one, Profile) else series
            where.append({**record, "date": state["date"], "commit": state["commit"]})
    if update and path.exists():
        old = json.loads(path.read_text())
        rows, series = _merged(old["rows"], rows), _merged(old["growth"], series)
        profiles = _merged(old.get("profiles", []), profiles)
        ceilings = {**old["ceilings"], **ceilings}
    tree = {"machine": state, "ceilings": ceilings, "rows": rows, "growth": series,
            "profiles": profiles}  # fmt: skip
    path.write_text(json.dumps(tree, indent=1, ensure_ascii=False) + "\n")


def _merged(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Old entries in their places, replaced by new ones of the same key; then what is new."""
    fresh = {entry["key"]: entry for entry in new}
    kept = [fresh.pop(entry["key"], entry) for entry in old]
    return kept + list(fresh.values())
