"""Tables for the pages of the book, and what a chapter cost on the machine that ran it."""

from __future__ import annotations

import math
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import pandas as pd

from sadm_utils.runs import Run, read_record

__all__ = ["Table", "cost_card", "disk_mib", "duration", "minus", "table"]

NO_BREAK = "\N{NO-BREAK SPACE}"
LINE = 16  # letters that stay on one line of a cell
SENTENCE = 50  # a cell with more letters gets lines of twice the length


class Table:
    """A small table that a notebook shows as HTML, and a terminal as text.

    Parameters
    ----------
    frame
        Cells that are ready to be shown, as strings.
    caption
        A sentence below the table.
    index
        Whether the row names are shown.
    """

    def __init__(self, frame: pd.DataFrame, caption: str = "", index: bool = False) -> None:
        self.frame, self.caption, self.index = frame, caption, index

    def _repr_html_(self) -> str:
        shown = self.frame.map(_unbroken)
        with pd.option_context("display.max_colwidth", None):
            body = shown.to_html(index=self.index, border=0, justify="left")
        body = body.replace("<table ", '<table cellpadding="5" ', 1)
        note = f'<p style="font-size: 0.9em">{self.caption}</p>' if self.caption else ""
        return f'<div style="overflow-x: auto">{body}</div>{note}'

    def __repr__(self) -> str:
        lines = [self.frame.to_string(index=self.index), self.caption]
        return "\n".join(line for line in lines if line)


def table(
    frame: pd.DataFrame, digits: int = 3, caption: str = "", index: bool | None = None
) -> Table:
    """Show a DataFrame: floats with ``digits`` significant digits, gaps as a dash.

    Parameters
    ----------
    frame
        Any DataFrame.
    digits
        Significant digits of floats; whole numbers are shown in full.
    caption
        A sentence below the table.
    index
        Whether to show the row names; by default only if they are not just counted.
    """
    if index is None:
        index = not isinstance(frame.index, pd.RangeIndex)
    shown = pd.DataFrame(
        {name: [_cell(v, digits) for v in frame[name]] for name in frame.columns},
        index=frame.index,
    )
    return Table(shown, caption, index)


def cost_card(run: Run, *stages: str) -> Table:
    """What stages of a run cost, from their records: time, disk, size, device, profile, seed.

    Parameters
    ----------
    run
        The run whose stages are shown.
    stages
        Names of finished stages, such as ``"spark"``; none of them is computed.
    """
    rows = []
    for name in stages:
        folder = run.path / name
        record = read_record(folder / "record.json")
        rows.append({
            "stage": name,
            "time": duration(record["duration_s"]),
            "disk": f"{disk_mib(folder):,.1f} MiB",
            "parameters": _parameters(folder / "weights.safetensors"),
            "device": record["device"],
            "profile": record["profile"],
            "seed": str(record["seed"]),
            "code": record["commit"] or "—",
        })
    memory = peak_memory_gib()
    note = f"Up to this cell, this process alone held {memory:.1f} GiB of memory." if memory else ""
    return Table(pd.DataFrame(rows), note)


def duration(seconds: float) -> str:
    """A duration as people say it: ``12 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def disk_mib(folder: Path) -> float:
    """Size of all files below a folder in MiB; 0 if there is no such folder."""
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()) / 2**20


def peak_memory_gib() -> float:
    """Largest memory of this process so far in GiB; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _parameters(weights: Path) -> str:
    """Number of floating-point values in a weights file that training changes."""
    if not weights.exists():
        return "—"
    from safetensors import safe_open

    with safe_open(weights, "pt") as file:
        names = [name for name in file.keys() if "running_" not in name]  # noqa: SIM118
        shapes = [file.get_slice(name).get_shape() for name in names]
    return f"{sum(math.prod(shape) for shape in shapes if shape):,}"


def minus(text: str) -> str:
    """Text for readers: a true minus before numbers, and no sign before what rounds to zero."""
    text = re.sub(r"(?<![\w.])[+-](?=0(?:\.0+)?(?![\d.e]))", "", text)
    return re.sub(r"(?<![\w.)])-(?=\.?\d)", "−", text)


def _unbroken(cell: Any) -> str:
    """Let a cell break only into lines of some length, and never inside ``58.55 ± 0.78``.

    A table that is wider than its page scrolls sideways.
    """
    text = re.sub(r"(?<= ±) | (?=±)|(?<=,) (?=[^\[\]]*\])", NO_BREAK, minus(str(cell)))
    width = LINE if len(text) <= SENTENCE else 2 * LINE
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return " ".join(line.replace(" ", NO_BREAK) for line in lines)


def _cell(value: Any, digits: int) -> str:
    """One cell as text."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "—"
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    value += 0.0  # −0 becomes 0
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        decimals = max(digits - 1 - (math.floor(math.log10(abs(value))) if value else 0), 0)
        return f"{value:,.{decimals}f}"
    return f"{value:.{digits - 1}e}"
