"""What a viewer's panels are made of: sliders, and the layers that they choose, mark and blend.

A layer names the array it shows and the sliders ``by`` which a plane of it is chosen, one for each
leading axis. ``where`` restricts a layer to cells whose level is above a slider's stop. The page's
painter of each kind is in ``viewer.js``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sadm_utils.viz.style import PALETTE

Layer = dict[str, Any]
HIT, ALARM, MISS = PALETTE[5], PALETTE[1], PALETTE[7]
"""Colors of a decision: lesion found, healthy tissue marked, lesion missed."""
CURVES = (PALETTE[0], PALETTE[2])
VERDICT = {HIT: "hit", ALARM: "false alarm", MISS: "missed"}


@dataclass(frozen=True)
class Slider:
    """A range input.

    Attributes
    ----------
    name
        How layers call it.
    label
        What the reader sees in front of it.
    texts
        What it says at each of its stops, also to a screen reader.
    start
        The stop it starts at.
    numbers
        The value of each stop, where a layer needs one: an opacity.
    """

    name: str
    label: str
    texts: Sequence[str]
    start: int = 0
    numbers: Sequence[float] = ()


@dataclass(frozen=True)
class Panel:
    """A canvas with its caption; ``shape`` is (rows, columns) of its planes, ``wide`` a curve."""

    title: str
    layers: Sequence[Layer]
    shape: tuple[int, int]
    wide: bool = False


@dataclass(frozen=True)
class Reading:
    """A number under the sliders: a text for each stop of a slider, or a rate the page counts.

    ``rate`` is "dice", "precision" or "recall", of the cells above the slider's stop.
    """

    label: str
    by: str
    texts: Sequence[str] = ()
    rate: str = ""


def picture(
    array: str,
    by: Sequence[str] = (),
    colors: str = "gray",
    opacity: float | str = 1.0,
    fade: bool = False,
    where: Mapping[str, Any] | None = None,
    top: int = 255,
) -> Layer:
    """A plane in the colors "gray" or "score", under an opacity: a number, or a slider's.

    With ``fade`` low values are transparent; ``top`` is the value of the last color.
    """
    layer = {"kind": "picture", "array": array, "by": list(by), "colors": colors, "top": top}
    return layer | {"opacity": opacity, "fade": fade, "where": where}


def where(array: str, by: Sequence[str] = (), above: str | int = 0) -> dict[str, Any]:
    """The cells of a plane whose level is above a slider's stop, or above a number."""
    return {"array": array, "by": list(by), "above": above}


def outline(region: Mapping[str, Any], color: str) -> Layer:
    """The edge of a region made by `where`."""
    return {"kind": "outline", "where": dict(region), "color": color}


def flat(region: Mapping[str, Any], color: str, opacity: float = 1.0) -> Layer:
    """A region in one color."""
    return {"kind": "flat", "where": dict(region), "color": color, "opacity": opacity}


def verdict(region: Mapping[str, Any], truth: str, truth_by: Sequence[str] = ()) -> Layer:
    """Hits, false alarms and misses of a marked region against a lesion mask."""
    layer = {"kind": "verdict", "where": dict(region), "truth": truth, "truthBy": list(truth_by)}
    return layer | {"colors": list(VERDICT), "opacity": 0.8}


def curve(x: Sequence[float], lines: Mapping[str, Sequence[float]], by: str, xlabel: str) -> Layer:
    """Named curves over the stops of a slider, with a dot at the present one; gaps where nan."""
    drawn = []
    for n, (name, values) in enumerate(lines.items()):
        y = [float(v) if math.isfinite(v) else None for v in values]
        drawn.append({"name": name, "y": y, "color": CURVES[n], "dash": [[], [7, 4]][n % 2]})
    return {"kind": "curve", "x": [float(v) for v in x], "lines": drawn, "by": by, "xlabel": xlabel}


def colored_verdict(marked: np.ndarray, truth: np.ndarray, opacity: float = 0.8) -> np.ndarray:
    """The layer of `verdict` for a static picture: RGBA in [0, 1], (X, Y, 4)."""
    marked, truth = np.asarray(marked) > 0, np.asarray(truth) > 0
    result = np.zeros((*marked.shape, 4))
    regions = (marked & truth, marked & ~truth, ~marked & truth)
    for color, region in zip(VERDICT, regions, strict=True):
        result[region] = [*(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)), opacity]
    return result
