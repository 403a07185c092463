"""Pictures and tables of chapter 9."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sadm_utils.evaluation.scoring import VolumeMaps
from sadm_utils.failures.damage import DAMAGES, INTACT
from sadm_utils.failures.stage import PLAIN, Broken
from sadm_utils.predict.finished import METHOD
from sadm_utils.viz.planes import draw_overlay, score_limit
from sadm_utils.viz.slices import CONTOUR, largest_slice
from sadm_utils.viz.style import MARKERS, PALETTE, new_figure, styled

LEAST_ML = 0.1  # where the logarithmic axis of the bars begins
METHODS = (METHOD, PLAIN)  # in the order of their colors


@styled
def before_and_after(
    broken: Broken, damages: Sequence[str], kind: str = "healthy", axis: int = 2, panel: float = 1.8
) -> Figure:
    """Rows of scan, reconstruction and anomaly map: first as it is, then spoiled.

    Parameters
    ----------
    damages
        Keys of :data:`sadm_utils.failures.damage.DAMAGES`.
    kind
        ``healthy`` or ``sick``; the lesion of the sick is outlined.
    axis
        Which way to cut: 2 is axial, 0 is from the side. The slice is that of `_cut`.
    """
    names = ["intact", *damages]
    limit = broken.thresholds[METHOD]
    cases = {name: broken.maps(name, kind) for name in names}
    top = score_limit(broken.score(cases["intact"]), limit)
    marked = [(broken.score(maps) >= limit) & (maps.mask > 0) for maps in cases.values()]
    k = _cut(cases["intact"], marked[1:], axis)
    shape = np.delete(cases["intact"].image.shape, axis)
    size = (3 * panel, len(names) * (panel * shape[1] / shape[0] + 0.25))
    figure, axes = new_figure(len(names), 3, size)
    for row, (name, maps) in zip(axes, cases.items(), strict=True):
        image, rebuilt, score = (
            np.take(volume, k, axis=axis)
            for volume in (maps.image, maps.reconstruction, broken.score(maps))
        )
        seg = np.take(maps.seg, k, axis=axis)
        for ax, plane in zip(row, (image, rebuilt), strict=False):
            ax.imshow(plane.T, origin="lower", cmap="gray", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        draw_overlay(row[2], image, score, top, limit)
        if seg.any():
            row[0].contour(seg.T, levels=[0.5], colors=CONTOUR, linewidths=1.2)
        row[0].set_title(DAMAGES[name].short)
        ml = _marked(broken, name, kind)
        row[2].set_title(f"marked: {ml:,.0f} ml" if ml >= 100 else f"marked: {ml:.1f} ml")
    axes[0, 1].set_title("reconstruction")
    return figure


@styled
def false_alarms(broken: Broken) -> Figure:
    """Bars: what is marked in the healthy brain, a bar a damage and method."""
    frame = broken.damages[broken.damages["kind"] == "healthy"]
    names = list(DAMAGES)
    figure, axes = new_figure(1, 1, (5.5, 0.42 * len(names) + 0.9))
    ax, place = axes[0, 0], np.arange(len(names))[::-1]
    for number, method in enumerate(METHODS):
        values = frame[frame["method"] == method].set_index("damage")["marked_ml"].reindex(names)
        shown = np.maximum(values, LEAST_ML).where(values > 0)
        ax.barh(place + 0.2 - 0.4 * number, shown, 0.36, color=PALETTE[number], label=method)
        for at, ml in zip(place + 0.2 - 0.4 * number, values, strict=True):
            if ml == 0:
                ax.text(1.1 * LEAST_ML / 2, at, "0", va="center", fontsize="small")
    ax.set_yticks(place, [DAMAGES[name].short for name in names])
    ax.set(xscale="log", xlabel="marked in a healthy brain, ml")
    ax.set_xlim(left=LEAST_ML / 2)
    ax.legend()
    return figure


@styled
def drawn_lesions(broken: Broken) -> Figure:
    """Share of a drawn lesion that is marked, over its diameter; a panel a darkness."""
    groups = dict(list(broken.sizes.groupby("darkness", sort=False)))
    figure, axes = new_figure(1, len(groups), (5.5, 2.9), sharey=True)
    for ax, (darkness, part) in zip(axes[0], groups.items(), strict=True):
        for method, rows in part.groupby("method", sort=False):
            number = METHODS.index(method)
            ax.plot(
                rows["diameter_mm"], 100 * rows["recall"], marker=MARKERS[number],
                color=PALETTE[number], label=method,
            )  # fmt: skip
        ax.set(title=darkness, xlabel="diameter in mm", ylim=(-3, 103))
    axes[0, 0].set_ylabel("marked, % of the lesion")
    axes[0, -1].legend()
    return figure


def damages_table(broken: Broken, method: str = METHOD) -> pd.DataFrame:
    """A row a damage: false alarms in the healthy, and what becomes of the lesion of the sick."""
    frame = broken.damages[broken.damages["method"] == method]
    well, sick = (
        frame[frame["kind"] == kind].set_index("damage").reindex(list(DAMAGES))
        for kind in ("healthy", "sick")
    )
    return pd.DataFrame({
        "scan": [damage.title for damage in DAMAGES.values()],
        "cause": [damage.cause or "–" for damage in DAMAGES.values()],
        "healthy: marked, ml": well["marked_ml"].to_numpy(),
        "healthy: % of the brain": 100 * well["marked"].to_numpy(),
        "sick: Dice in %": 100 * sick["dice"].to_numpy(),
        "sick: recall in %": 100 * sick["recall"].to_numpy(),
    })  # fmt: skip


def damages_words(broken: Broken, method: str = METHOD) -> str:
    """Which damages hurt most, in sentences made from the table."""
    table = damages_table(broken, method)
    intact, rest = table.iloc[0], table.iloc[1:]
    loud = rest.loc[rest["healthy: marked, ml"].idxmax()]
    limit = max(2 * intact["healthy: marked, ml"], LEAST_ML)  # twice nothing is nothing
    more = int((rest["healthy: marked, ml"] > limit).sum())
    fewer = int((rest["healthy: marked, ml"] < intact["healthy: marked, ml"]).sum())
    words = (
        f"In the healthy brain {method} marks {intact['healthy: marked, ml']:.1f} ml when the scan "
        f"is {INTACT}. With {more} of {len(rest)} damages it marks more than {limit:.1f} ml; the "
        f"loudest is *{loud['scan']}* with {loud['healthy: marked, ml']:,.0f} ml."
    )
    if fewer:
        words += f" With {fewer} of them it marks less: there, the map gives no hint of the damage."
    dice = rest["sick: Dice in %"]
    if dice.notna().any():
        worst = rest.loc[dice.idxmin()]
        before, after = (f"{v['sick: Dice in %']:.0f}\N{NO-BREAK SPACE}%" for v in (intact, worst))
        words += (
            f" In the sick brain the Dice is {before}, and lowest, {after}, with *{worst['scan']}*."
        )
    return words


def _marked(broken: Broken, damage: str, kind: str) -> float:
    rows = broken.damages
    chosen = (rows["damage"] == damage) & (rows["kind"] == kind) & (rows["method"] == METHOD)
    return float(rows.loc[chosen, "marked_ml"].iloc[0])


def _cut(maps: VolumeMaps, marked: Sequence[np.ndarray], axis: int) -> int:
    """The slice with most lesion, else where most damages mark something, else the middle.

    Among slices with as many damages, the one with most of each: in shares of its fullest slice.
    """
    if axis == 2 and maps.seg.any():
        return largest_slice(maps.seg)
    others = tuple(a for a in range(3) if a != axis)
    counts = [volume.sum(axis=others) for volume in marked if volume.any()]
    if counts:
        seen = sum(count > 0 for count in counts)
        shares = sum(count / count.max() for count in counts)
        return int(np.argmax(np.where(seen == seen.max(), shares, -1)))
    filled = np.flatnonzero(maps.mask.any(axis=others))
    share = 0.6 if axis == 2 else 0.45
    return int(filled[0] + share * (filled[-1] - filled[0])) if filled.size else 0
