"""The page "Performance and cost": what ``make bench`` measured, as table and as picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from sadm_utils.config import Config, load_config
from sadm_utils.reference.page import markdown
from sadm_utils.runs import project_root
from sadm_utils.viz.style import PALETTE, new_figure, styled

SPACE = "\u00a0"  # lines do not break here
MARK, FIGURE = "<!-- table of speed -->", "growth.png"
PROJECTION = "<!-- projection -->"
CARD_RATE, CARD_SHARE = 989e12, 0.3  # an H100's data sheet, bfloat16 without sparsity; kept busy
CEILINGS = {
    "convolution_float32_gflops": "convolutions in float32 {} GFLOP/s",
    "convolution_bfloat16_gflops": "in bfloat16 {} GFLOP/s",
    "product_float32_gflops": "products of matrices in float32 {} GFLOP/s",
    "bandwidth_gb_s": "copies of memory {} GB/s",
}
NOTHING = "*Nothing has been measured: run `make bench`, then build these pages again.*"
ALT = "Small panels: how rate, time and memory of each part change with its size."
COLUMNS = 2
LEGEND = "Blue: time or rate (left axis). Orange, dashed: peak memory (right axis)."
PROFILES = (
    "## Where the time of a step goes\n\nShares of the operations, from PyTorch's profiler. What a "
    "convolution costs is its arithmetic: a step that is nearly all convolutions can only become "
    "faster with a faster machine, or with fewer of them."
)
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
        parts += ["## How it grows", LEGEND, f"```{{image}} {FIGURE}\n:alt: {ALT}\n```"]
    return text.replace(MARK, "\n\n".join(parts))


def rows_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown of the measured rows: ours, target, floor, peers, memory."""
    head = ("work", "here", "asked for", "floor", "others, and how many times longer", "memory, MB")
    return markdown(head, (_row(row) for row in rows))


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    unit = row["unit"]
    target, limit = row.get("target"), row.get("memory_target_mb")
    higher = row.get("higher")
    met = target is not None and (row["value"] >= target if higher else row["value"] <= target)
    peers = [
        f"{p['name']} {number(p['value'])} (×{SPACE}{number(p['ratio'])})"
        for p in row.get("peers", ())
    ]
    sign = "≥" if higher else "≤"
    memory = "" if row.get("memory_mb") is None else f"{row['memory_mb']:.0f}"
    return (
        row["title"],
        f"{number(row['value'])} {unit}",
        "" if target is None else f"{sign}{SPACE}{number(target)}{SPACE}{_sign(met)}",
        "" if row.get("floor") is None else number(row["floor"]),
        "; ".join(peers),
        memory
        if limit is None or not memory
        else f"{memory} (≤{SPACE}{limit:.0f}){SPACE}{_sign(row['memory_mb'] <= limit)}",
    )


def _sign(met: bool) -> str:
    return "✓" if met else "✗"


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
    lines = (
        (one["title"], *(f"{100 * one['shares'].get(kind, 0):.0f} %" for kind in kinds))
        for one in profiles
    )
    return markdown(("work", *kinds), lines)


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
        f"threads, torch {machine['torch']}. At best this machine reaches: {ceilings}."
    )


def missed_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many targets are met, and which are not."""
    asked = [row for row in rows if row.get("met") is not None]
    missed = [row["title"] for row in asked if not row["met"]]
    words = f"{len(asked) - len(missed)} of {len(asked)} targets are met."
    return f"{words} Missed: {'; '.join(missed)}." if missed else words


@styled
def growth_figure(series: Sequence[Mapping[str, Any]]) -> Figure:
    """A panel for each curve; memory from a megabyte on is dashed, on an axis of its own."""
    lines = -(-len(series) // COLUMNS)
    figure, axes = new_figure(lines, COLUMNS, (8, 2.3 * lines))
    for ax, one in zip(axes.flat, series, strict=False):
        ax.plot(one["x"], one["y"], marker="o", ms=4, color=PALETTE[0])
        ax.set(title=CURVES.get(one["key"], one["key"]), xlabel=one["axis"], ylabel=one["unit"])
        ax.set_ylim(0, None)
        if max(one["x"]) > 50 * max(min(one["x"]), 1):
            ax.set_xscale("log")
        else:
            ax.xaxis.get_major_locator().set_params(integer=True)
        if max(one.get("memory_mb") or [0]) > LEAST_MB:
            twin = ax.twinx()
            twin.plot(one["x"], one["memory_mb"], "--", color=PALETTE[1], marker="s", ms=3)
            twin.set_ylim(0, None)
            twin.set_ylabel("memory, MB", color=PALETTE[1])
    for ax in axes.flat[len(series) :]:
        ax.set_axis_off()
    return figure
