"""The colors of the figures, seen by readers with and without each kind of cone.

Dichromats are simulated in linear RGB (Machado, Oliveira and Fernandes 2009, severity 1);
differences are Euclidean in CIE Lab (ΔE*ab 1976). About 2 can be told apart side by side; lines and
bars that lie apart and are read from a legend need more.
"""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex

from sadm_utils.data.montage import BRAIN_COLOR, LESION_COLOR, TEMPLATE_COLOR
from sadm_utils.execute import PACKAGE
from sadm_utils.viz.slices import CONTOUR, KINDS
from sadm_utils.viz.style import MARKERS, PALETTE

EYES = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
     [0.0193339, 0.1191920, 0.9503041]]
)  # fmt: skip
WHITE = RGB_TO_XYZ.sum(1)
every_eye = pytest.mark.parametrize("eye", EYES)


def rgb(color: str) -> np.ndarray:
    return np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def lab(colors: np.ndarray, eye: str = "normal") -> np.ndarray:
    """(N, 3) sRGB in [0, 1] to (N, 3) CIE Lab (D65), as an eye sees it."""
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.asarray(EYES[eye]).T, 0, 1)
    scaled = seen @ RGB_TO_XYZ.T / WHITE
    f = np.where(
        scaled > (6 / 29) ** 3, np.cbrt(scaled), scaled / (3 * (6 / 29) ** 2) + 4 / 29
    )
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def closest(colors: tuple[str, ...], eye: str) -> tuple[float, str, str]:
    """The smallest difference between two of the colors, and which they are."""
    places = lab(np.array([rgb(c) for c in colors]), eye)
    pairs = combinations(range(len(colors)), 2)
    return min(
        (float(np.linalg.norm(places[a] - places[b])), colors[a], colors[b]) for a, b in pairs
    )


def map_colors(name: str) -> np.ndarray:
    return matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3]


def test_lab_and_the_eyes_are_right() -> None:
    assert np.allclose(lab(np.array([[1.0, 1, 1], [0, 0, 0]])), [[100, 0, 0], [0, 0, 0]], atol=0.01)
    assert np.allclose(lab(np.array([[1.0, 0, 0]])), [[53.24, 80.09, 67.20]], atol=0.05)
    gray = np.full((1, 3), 0.5)
    assert all(np.allclose(lab(gray, eye), lab(gray), atol=0.1) for eye in EYES)


@every_eye
def test_all_pairs_of_the_palette_differ(eye: str) -> None:
    difference, *pair = closest(PALETTE, eye)
    assert difference >= 15, f"{pair} differ by {difference:.1f}"


def test_a_palette_that_is_not_safe_would_be_seen() -> None:
    usual = matplotlib.rcParamsDefault["axes.prop_cycle"].by_key()["color"]
    assert closest(tuple(map(to_hex, usual)), "deuteranopia")[0] < 10


def test_no_series_is_told_by_color_alone() -> None:
    assert len(MARKERS) == len(PALETTE) == len(set(PALETTE)) == len(set(MARKERS))


@every_eye
def test_maps_rise_evenly(eye: str) -> None:
    for name in {color_map for color_map, _ in KINDS.values()} | {"viridis"}:
        places = lab(map_colors(name), eye)
        lightness = places[:, 0]
        middle = 128 if name == "coolwarm" else 256
        # Lightness alone carries the order: from dark to light, or from light to dark at both ends.
        assert np.all(np.diff(lightness[:middle]) > -0.05)
        assert np.all(np.diff(lightness[middle:]) < 0.05)
        single = np.linalg.norm(np.diff(places, axis=0), axis=1)
        steps = np.convolve(single, np.ones(8) / 8, "valid")
        even = steps / np.median(steps)
        assert 0.2 < even.min() and even.max() < 2.3, name


def test_jet_would_be_refused() -> None:
    assert np.diff(lab(map_colors("jet"))[:, 0]).min() < -0.5


@every_eye
def test_outline_of_a_lesion_is_seen_on_a_slice_and_on_a_map(eye: str) -> None:
    outline = lab(rgb(CONTOUR)[None], eye)
    for name in ("gray", "inferno"):
        distance = np.linalg.norm(lab(map_colors(name), eye) - outline, axis=1)
        assert distance.min() >= 15, name


@every_eye
def test_outlines_of_a_registration_differ(eye: str) -> None:
    outlines = np.array([TEMPLATE_COLOR, BRAIN_COLOR, LESION_COLOR]) / 255
    places = lab(outlines, eye)
    for a, b in combinations(range(3), 2):
        assert np.linalg.norm(places[a] - places[b]) >= 15


def test_no_other_colors_are_in_use() -> None:
    """Drawing code takes colors from the palette, grays, and the maps checked above."""
    sources = [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "notebooks").glob("*.ipynb")]
    allowed_maps = {color_map for color_map, _ in KINDS.values()} | {"viridis"}
    found = []
    for path in sources:
        found += _foreign_colors(path, allowed_maps)
    assert not found


def _foreign_colors(path: Path, maps: set[str]) -> list[str]:
    text = path.read_text().replace('\\"', '"')
    names = re.findall(r'\bcmap="(\w+)"', text)
    colors = re.findall(r'\b(?:edge|face)?colors?=\\?"([^"]+)"', text)
    named = [c for c in colors if not re.fullmatch(r"0?\.\d+|C\d|none|black|white|k|w", c)]
    return [f"{path.name}: {value}" for value in [*(n for n in names if n not in maps), *named]]
