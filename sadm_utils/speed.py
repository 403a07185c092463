"""The page "Performance and cost": what ``make bench`` measured, as table and as picture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from sadm_utils.config import Config, load_config
from sadm_utils.reference.page import markdown
from sadm_utils.runs import project_root
from sadm_utils.viz.style import PALETTE, new_figure, styled

SPACE = "\u00a0"  # lines do not break here
MARK, FIGURE = "<!-- table of speed -->", "growth.png"
PROJECTION = "<!-- projection -->"
CARD_RATE = 989e12  # an H100's data sheet, bfloat16 without sparsity
CARD_SHARE = 0.3  # how busy it is kept: a guess
CEILINGS = {
    "convolution_float32_gflops": "convolutions in float32 {} GFLOP/s",
    "convolution_bfloat16_gflops": "in bfloat16 {} GFLOP/s",
    "product_float32_gflops": "products of matrices in float32 {} GFLOP/s",
    "bandwidth_gb_s": "copies of memory {} GB/s",
}
NOTHING = "*Nothing has been measured: run `make bench`, then build these pages again.*"
COLUMNS = 2
LEGEND = (
    "Blue: time or rate (left axis). Orange, dashed: peak memory (right axis). Where the "
    "horizontal axis is logarithmic, the others are, too: what grows in proportion rises one "
    "decade there for each decade to the right."
)
PROFILES = (
    "## Where the time of a step goes\n\nPercent of the time that each kind of operation takes, "
    "from PyTorch's profiler. Convolutions cost their arithmetic: the closer a step is to its "
    "floor, the more it takes a faster machine, or fewer convolutions, to speed it up. *Matrices* "
    "are products of matrices; *rest* is what works element by element, and all else."
)
SHORT = {"products of matrices": "matrices", "element by element, and the rest": "rest"}
LEAST_MB = 1.0  # below, memory is noise and not drawn
CURVES = {
    "thresholds": "Threshold and AUPRC over volumes",
    "training_batch": "cDDPM step, paper size, bfloat16",
    "training_size": "cDDPM step, batch 4, bfloat16",
    "draem_batch": "DRAEM anomalies",
    "simplex_batch": "Simplex noise",
    "items_subjects": "Training slices from the store",
    "open_subjects": "Opening the store",
    "loader_workers": "Loader of training slices",
    "evaluation_voxels": "Evaluation of a volume",
    "evaluation_processes": "Evaluation of several volumes",
}
"""What the curves of the benchmarks show."""
SEEN = {
    "training_batch": "A batch {x} times as large gives the cDDPM's step {y} times the rate{m}.",
    "items_subjects": "With {x} times the subjects, the store gives {y} times the rate of slices.",
    "evaluation_voxels": "{x} times the voxels take {y} times as long to evaluate{m}.",
}
"""What to see in some of them, from the first point to the last."""


def fill_speed(text: str, folder: Path) -> str:
    """Put the table into the place of its mark, and draw the figure into ``folder``."""
    if MARK not in text:
        return text
    path = project_root() / "benchmarks" / "results.json"
    if not path.exists():
        return text.replace(MARK, NOTHING).replace(PROJECTION, NOTHING)
    found = json.loads(path.read_text())
    text = text.replace(PROJECTION, projection_table(found["rows"], load_config("paper")))
    parts = [machine_words(found), rows_table(found["rows"]), missed_words(found["rows"])]
    if found.get("profiles"):
        parts += [PROFILES, profile_table(found["profiles"])]
    if found["growth"]:
        growth_figure(found["growth"]).savefig(folder / FIGURE)
        alt = growth_words(found["growth"])
        parts += ["## How it grows", LEGEND, seen_words(found["growth"])]
        parts += [f"```{{image}} {FIGURE}\n:alt: {alt}\n```"]
    return text.replace(MARK, "\n\n".join(parts))


def rows_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown of the measured rows: ours, target, floor, peers, memory."""
    head = ("work", "here", "asked for", "floor", "others, and how many times longer", "memory, MB")
    return markdown(head, (_row(row) for row in rows))


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    unit = row["unit"]
    target, limit = row.get("target"), row.get("memory_target_mb")
    peers = [
        f"{p['name']} {number(p['value'])} (×{SPACE}{number(p['ratio'])})"
        for p in row.get("peers", ())
    ]
    asked = ""
    if target is not None:
        sign = "≥" if row.get("higher") else "≤"
        asked = f"{sign}{SPACE}{number(target)}{SPACE}{_sign(_within(row, row['value']))}"
    memory = "" if row.get("memory_mb") is None else f"{row['memory_mb']:.0f}"
    return (
        row["title"],
        f"{number(row['value'])} {unit}",
        asked,
        "" if row.get("floor") is None else number(row["floor"]),
        "; ".join(peers),
        memory
        if limit is None or not memory
        else f"{memory} (≤{SPACE}{limit:.0f}){SPACE}{_sign(row['memory_mb'] <= limit)}",
    )


def _sign(met: bool) -> str:
    return "✓" if met else "✗"


def _within(row: Mapping[str, Any], value: float) -> bool:
    """Whether a value, in the row's unit, meets the row's target."""
    return bool(value >= row["target"] if row.get("higher") else value <= row["target"])


def projection_table(rows: Sequence[Mapping[str, Any]], config: Config) -> str:
    """Days of the paper's trainings here, and minutes on a card, from the measured steps."""
    known = {row.get("key"): row for row in rows}
    images = config.data.phantom.ixi_train
    lines = []
    for title, key, epochs in (
        ("SparK pretraining", "spark_step_bf16", config.spark.train.epochs),
        ("cDDPM, the paper's stage I", "cddpm_step_bf16", config.cddpm.train.epochs),
        ("SADM on healthy images, stage II", "sadm_step_uncached_bf16", config.sadm.train.epochs),
    ):
        if key in known:
            work = 1e9 * known[key]["details"]["gflop_per_image"] * epochs * images
            days = known[key]["value"] * epochs * images / 86400
            minutes = work / (CARD_SHARE * CARD_RATE) / 60
            shown = f"{epochs:,} × {images}", f"{work / 1e15:.3g}", f"{days:.3g}", f"{minutes:.2g}"
            lines.append((title, *shown))
    head = ("training", "epochs × images", "10¹⁵ operations", "days here", "minutes on the card")
    return markdown(head, lines) if lines else NOTHING


def profile_table(profiles: Sequence[Mapping[str, Any]]) -> str:
    """Percent of the time that each kind of operation takes, a row for each profile."""
    kinds = list(profiles[0]["shares"])
    heads = [SHORT.get(kind, kind) for kind in kinds]  # the table fits a page
    lines = (
        (one["title"], *(f"{100 * one['shares'].get(kind, 0):.0f}{SPACE}%" for kind in kinds))
        for one in profiles
    )
    return markdown(("work", *heads), lines)


def number(value: float) -> str:
    """Three digits, or whole thousands."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def machine_words(found: Mapping[str, Any]) -> str:
    """Where and when it was measured, and what this machine can reach at best."""
    machine, best = found["machine"], found["ceilings"]
    ceilings = ", ".join(
        CEILINGS.get(key, f"{key.replace('_', ' ')} {{}}").format(number(value))
        for key, value in best.items()
    )
    return (
        f"Measured on {machine['date'][:10]} on {machine['processor']}, {machine['threads']} "
        f"threads, torch {machine['torch']}. {commit_words(found)}"
        f"At best this machine reaches: {ceilings}."
    )


def commit_words(found: Mapping[str, Any]) -> str:
    """Which code was measured, with a space behind; nothing if no entry names its commit."""
    entries = [one for part in ("rows", "growth", "profiles") for one in found.get(part, ())]
    commits = list(dict.fromkeys(one["commit"] for one in entries if one.get("commit")))
    if not commits:
        return ""
    words = f"Code: commit {', '.join(f'`{commit}`' for commit in commits)}"
    if any("dirty" in commit for commit in commits):
        words += " (*dirty*: with changes that were not committed yet)"
    return f"{words}. "


def missed_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many targets are met, which are not, and which of these the machine cannot reach."""
    asked = [row for row in rows if row.get("target") is not None]
    limited = [row for row in rows if None not in _memory(row)]
    missed = [row for row in asked if not _within(row, row["value"])]
    large = [row for row in limited if _memory(row)[0] > _memory(row)[1]]
    words = f"{len(asked) - len(missed)} of {len(asked)} targets of speed"
    if limited:
        words += f" and {len(limited) - len(large)} of {len(limited)} of memory"
    words += " are met."
    titles = [row["title"] for row in missed] + [f"memory of {row['title']}" for row in large]
    if titles:
        words += f" Missed: {'; '.join(titles)}."
    beyond = [row for row in missed if row.get("floor") and not _within(row, row["floor"])]
    if beyond:
        words += (
            f" In {len(beyond)} of the {len(missed)} misses of speed, the floor itself misses the "
            "target: at the rates above, this machine cannot reach it."
        )
    return words


def _memory(row: Mapping[str, Any]) -> tuple[float | None, float | None]:
    return row.get("memory_mb"), row.get("memory_target_mb")


def growth_words(series: Sequence[Mapping[str, Any]]) -> str:
    """What the figure shows, for those who cannot see it: both ends of each curve."""
    return "; ".join(_ends(one) for one in series) + "."


def seen_words(series: Sequence[Mapping[str, Any]]) -> str:
    """What to see in the figure: by how much some curves rise or fall."""
    words = []
    for one in series:
        if one["key"] in SEEN:
            x, y = (number(one[k][-1] / one[k][0]) for k in "xy")
            memory = one["memory_mb"] if _has_memory(one) else None
            m = f", with {number(memory[-1] / memory[0])} times the memory" if memory else ""
            words.append(SEEN[one["key"]].format(x=x, y=y, m=m))
    return " ".join(words)


def _ends(one: Mapping[str, Any]) -> str:
    title, unit = CURVES.get(one["key"], one["key"]), one["unit"]
    (first, last), (x0, x1) = ((one[k][0], one[k][-1]) for k in "yx")
    words = f"{title}, by {one['axis']}, {number(first)} {unit} at {number(x0)}"
    words += f" and {number(last)} {unit} at {number(x1)}"
    if _has_memory(one):
        words += f", memory {number(one['memory_mb'][0])} and {number(one['memory_mb'][-1])} MB"
    return words


def _has_memory(one: Mapping[str, Any]) -> bool:
    return max(one.get("memory_mb") or [0]) > LEAST_MB


@styled
def growth_figure(series: Sequence[Mapping[str, Any]]) -> Figure:
    """A panel for each curve; memory from a megabyte on is dashed, on an axis of its own.

    Over a wide range all axes are logarithmic, and show whole decades: linear growth must not look
    like an explosion, nor a flat curve's noise like a change.
    """
    lines = -(-len(series) // COLUMNS)
    figure, axes = new_figure(lines, COLUMNS, (8, 2.3 * lines))
    for ax, one in zip(axes.flat, series, strict=False):
        ax.plot(one["x"], one["y"], marker="o", ms=4, color=PALETTE[0])
        ax.set(title=CURVES.get(one["key"], one["key"]), xlabel=one["axis"], ylabel=one["unit"])
        wide = max(one["x"]) > 50 * max(min(one["x"]), 1)
        if wide:
            ax.set_xscale("log")
        else:
            ax.xaxis.get_major_locator().set_params(integer=True)
        _upright(ax, one["y"], wide)
        if _has_memory(one):
            twin = ax.twinx()
            twin.plot(one["x"], one["memory_mb"], "--", color=PALETTE[1], marker="s", ms=3)
            _upright(twin, one["memory_mb"], wide)
            twin.set_ylabel("memory, MB", color=PALETTE[1])
    for ax in axes.flat[len(series) :]:
        ax.set_axis_off()
    return figure


def _upright(ax: Axes, values: Sequence[float], decades: bool) -> None:
    """The vertical axis: whole decades around positive values, or from 0 with room above."""
    if decades and min(values) > 0:
        ax.set_yscale("log")
        low, high = (math.floor(math.log10(end)) for end in (min(values), max(values)))
        ax.set_ylim(10.0**low, 10.0 ** (high + 1))
        ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        ax.set_ylim(0, 1.1 * max(values))
