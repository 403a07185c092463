"""Sentences and cells that the pages of results share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sadm_utils.evaluation.statistics import Interval
from sadm_utils.evaluation.tables import NO_PERCENTAGE, NOTHING, format_value
from sadm_utils.report import duration, minus
from sadm_utils.results.measured import Cell, Measured

NOT_MEASURED = (
    ":::{{note}}\nNot measured yet: run `sadm sweep sweeps/{name}.yaml`, copy its `results` to "
    "`sweeps/results/{name}`, then build these pages again.\n:::"
)
PHANTOMS = (
    "**The subjects are phantoms.** Simulated brains stand in for the paper's scans, and the "
    "models are smaller and learned for minutes. A gap to the paper is therefore expected; what "
    "can be compared is the order of the methods."
)


def not_measured(name: str) -> str:
    """What stands in the place of a sweep that nobody has run."""
    return NOT_MEASURED.format(name=name)


def image(name: str, alt: str) -> str:
    """A picture beside the page, with its words for those who cannot see it."""
    return f"```{{image}} {name}\n:alt: {alt}\n```"


def percent(cell: Cell | None, runs: bool = True) -> str:
    """``55.3 [50.1, 60.2]``, with ± over runs if there were some; a dash for none."""
    if cell is None or math.isnan(cell.mean):
        return NOTHING
    text = f"{100 * cell.mean:.1f}"
    if runs and cell.runs > 1 and not math.isnan(cell.sd):
        text += f" ± {100 * cell.sd:.1f}"
    return text if math.isnan(cell.low) else f"{text} {interval(cell)}"


def value(cell: Cell | None, metric: str) -> str:
    """Like :func:`percent`, but in millimeters or intensities for a metric that is no share."""
    places = NO_PERCENTAGE.get(metric)
    if cell is None or math.isnan(cell.mean) or places is None:
        return percent(cell)
    sd = cell.sd if cell.runs > 1 else math.nan
    return format_value(cell.mean, sd, cell.low, cell.high, percent=False, places=places)


def points(found: Interval) -> str:
    """A difference in points with its sign and interval: ``+7.1 [3.0, 11.2]``."""
    text = minus(f"{100 * found.mean:+.1f}")
    return text if math.isnan(found.low) else f"{text} {interval(found)}"


def interval(found: Interval | Cell) -> str:
    """``[50.1, 60.2]`` in percent; an end that is not 0 is not written as 0.0."""
    return minus(f"[{_end(100 * found.low)}, {_end(100 * found.high)}]")


def _end(value: float) -> str:
    text = f"{value:.1f}"
    return f"{value:.1g}" if value and not float(text) else text


def held(text: str) -> str:
    """Let no line end within an interval, between a ± and its number, or before the paper's."""
    for part in (", ", "± ", "(paper "):
        text = text.replace(part, f"{part[:-1]}\u00a0")
    return text


def made_with(sweep: Measured) -> str:
    """How a sweep was made, in two or three sentences."""
    about = sweep.about
    text = (
        f"Sweep `{sweep.name}`, profile `{about.get('profile', '')}`{_changed(about)}, data: "
        f"{_data(about)}; "
        f"{_commits(about)} of {str(about.get('date', ''))[:10]} on {_devices(about)}, "
        f"{_time(about)}."
    )
    counts = sorted({cell.runs for cell in sweep.cells("best_dice").values()})
    if counts:
        runs = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        text += f" Each value comes from {runs} {'run' if counts[-1] == 1 else 'runs'}."
    if taken := about.get("reused"):
        verb = "point was" if taken == 1 else "points were"
        text += f" {taken} {verb} taken over from another sweep; their time is not counted."
    if about.get("mixed"):
        text += f" **Versions are mixed: {about['mixed']}.**"
    failed = len(about.get("failed") or ())
    missing = max(about.get("points", 0) - about.get("finished", 0), failed)
    if missing:
        text += f" **{missing} points of the sweep are missing, {failed} of them failed.**"
    return text


def _changed(about: Mapping[str, Any]) -> str:
    """What all variants of a sweep change in the profile."""
    variants = list((about.get("sweep") or {}).get("variants", {}).values())
    same = [
        f"`{key}: {value}`" for key, value in (variants[0] if variants else {}).items()
        if all(other.get(key) == value for other in variants)
    ]  # fmt: skip
    return f" with {listed(same)}" if same else ""


def on_phantoms(about: Mapping[str, Any]) -> bool:
    """Whether the subjects of a sweep were simulated: by the tier, not by a folder's name."""
    if about.get("tier"):
        return about["tier"] == "phantom"
    return (about.get("data") or "phantom") == "phantom"  # older records


def _data(about: Mapping[str, Any]) -> str:
    """The data set in a word."""
    return "phantoms" if on_phantoms(about) else str(about.get("data") or "own")


def _commits(about: Mapping[str, Any]) -> str:
    names = [f"`{name[:12]}`" for name in about.get("commits") or ["unknown"]]
    changed = " (+: with changed files)" if any(name.endswith("+`") for name in names) else ""
    return f"commit{'s' if len(names) > 1 else ''} {listed(names)}{changed}"


def _devices(about: Mapping[str, Any]) -> str:
    devices = about.get("devices") or ["an unknown device"]
    return listed([name.replace(", 1 threads", ", 1 thread") for name in devices])  # older records


def _time(about: Mapping[str, Any]) -> str:
    """The wall time if it was recorded, else the sum over all runs of notebooks."""
    if about.get("wall_s"):
        jobs = about.get("jobs") or 1
        at_once = f" with {jobs} points at once" if jobs > 1 else ""
        return f"wall time {duration(about['wall_s'])}{at_once}"
    if about.get("seconds"):
        return f"{duration(about['seconds'])} of computing"
    return "time not recorded"


def listed(names: Sequence[str]) -> str:
    """``a``, ``a and b`` or ``a, b and c``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
