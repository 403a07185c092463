"""The object that a notebook shows: a figure with sliders, and a picture of it for print."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from sadm_utils.errors import UserError
from sadm_utils.viewers.layers import Panel, Reading, Slider
from sadm_utils.viewers.pack import packed
from sadm_utils.viz.slices import KINDS

MAX_BYTES = 1_000_000
"""A page stays light: no figure is larger."""
MAPS = {"gray": KINDS["image"][0], "score": KINDS["score"][0]}
CANVAS = 360  # pixels of a canvas across, at least: outlines are drawn on it


@dataclass(frozen=True)
class Viewer:
    """A figure with sliders that needs no kernel, no network and no library.

    A notebook shows its HTML: arrays, style and script are inside. Print, PDF and a browser without
    scripts show the picture.

    Attributes
    ----------
    alt
        What is to be seen, for those who cannot see it.
    arrays
        Planes of uint8, (…, rows, columns), as on the screen.
    sliders, panels, readings
        See `sadm_utils.viewers.layers`.
    still
        The static picture: some stops of the sliders side by side.
    legend
        Color to its meaning.
    counted
        (levels, truth): the arrays of which the page counts its rates.
    """

    alt: str
    arrays: Mapping[str, np.ndarray]
    sliders: Sequence[Slider]
    panels: Sequence[Panel]
    still: Figure
    readings: Sequence[Reading] = ()
    legend: Mapping[str, str] = field(default_factory=dict)
    counted: tuple[str, str] | None = None

    def __repr__(self) -> str:
        return f"<Viewer: {self.alt}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html(), "image/png": self.png, "text/plain": repr(self)}

    @cached_property
    def png(self) -> str:
        """The static picture in base64, drawn once."""
        return base64.b64encode(png_of(self.still)).decode()

    def spec(self) -> dict[str, Any]:
        """Everything the page's script reads, ready for JSON."""
        spec: dict[str, Any] = {
            "arrays": {name: packed(array) for name, array in self.arrays.items()},
            "maps": {name: packed(_color_map(name)) for name in MAPS},
            "texts": {s.name: list(s.texts) for s in self.sliders},
            "numbers": {s.name: [float(n) for n in s.numbers] for s in self.sliders},
            "panels": [list(panel.layers) for panel in self.panels],
            "readings": [{"by": r.by, "texts": list(r.texts), "rate": r.rate}
                         for r in self.readings],
        }  # fmt: skip
        if self.counted:
            levels, truth = self.counted
            above = next(r.by for r in self.readings if r.rate)
            spec["count"] = {"levels": levels, "truth": truth, "above": above}
        return spec

    def html(self) -> str:
        """The whole figure as HTML, complete in itself.

        Raises
        ------
        UserError
            If it is larger than `MAX_BYTES`.
        """
        alt = escape(self.alt)
        data = json.dumps(self.spec(), separators=(",", ":"), allow_nan=False)
        data = data.replace("<", "\\u003c")  # nothing in it may end the script element
        parts = [
            f'<div class="sadm-viewer" role="group" aria-label="{alt}">',
            f"<style>{_file('viewer.css')}</style>",
            f'<img class="still" alt="{alt}" src="data:image/png;base64,{self.png}">',
            '<div class="board">',
            *(_slider(slider) for slider in self.sliders),
            _readings(self.readings),
            '<div class="panels">',
            *(_panel(panel, alt) for panel in self.panels),
            "</div>",
            "</div>",
            _legend(self.legend),  # for the picture, too
            f'<script type="application/json">{data}</script>',
            f"<script>{_file('viewer.js')}</script>",
            "</div>",
        ]
        html = "\n".join(part for part in parts if part)
        if len(html.encode()) > MAX_BYTES:
            raise UserError(
                f"This viewer would take {len(html) / 1e6:.1f} MB of the page, more than "
                f"{MAX_BYTES / 1e6:g} MB: give it fewer slices, or use the one of the same name in "
                "sadm_utils.viewers.live, which has no limit."
            )
        return html


def png_of(figure: Figure) -> bytes:
    """A figure as PNG, without its date: the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return buffer.getvalue()


@cache
def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text()


def _color_map(name: str) -> np.ndarray:
    """The 256 colors of a map as uint8 (256, 3)."""
    return mpl.colormaps[MAPS[name]](np.arange(256), bytes=True)[:, :3]


def _slider(slider: Slider) -> str:
    text = escape(str(slider.texts[slider.start]))
    return (
        f"<label><span>{escape(slider.label)}</span>"
        f'<input type="range" name="{slider.name}" min="0" max="{len(slider.texts) - 1}" step="1" '
        f'value="{slider.start}" aria-valuetext="{text}" autocomplete="off">'
        f'<span class="value" aria-hidden="true">{text}</span></label>'
    )


def _readings(readings: Sequence[Reading]) -> str:
    if not readings:
        return ""
    items = (
        f'<span>{escape(r.label)} <output data-rate="{r.rate}" aria-label="{escape(r.label)}">'
        "</output></span>"
        for r in readings
    )
    return f'<div class="readings">{"".join(items)}</div>'


def _panel(panel: Panel, alt: str) -> str:
    rows, columns = panel.shape
    scale = max(2, math.ceil(CANVAS / columns))
    title, kind = escape(panel.title), ' class="wide"' if panel.wide else ""
    return (
        f'<figure{kind}><canvas width="{columns * scale}" height="{rows * scale}" role="img" '
        f'aria-label="{title}: {alt}"></canvas><figcaption>{title}</figcaption></figure>'
    )


def _legend(legend: Mapping[str, str]) -> str:
    if not legend:
        return ""
    items = (
        f'<span><i style="background:{color}"></i>{escape(text)}</span>'
        for color, text in legend.items()
    )
    return f'<div class="legend">{"".join(items)}</div>'
