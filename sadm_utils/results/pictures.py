"""The methods side by side on one slice of each test set, as in the paper's Figures 2 and 3."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sadm_utils.results import words
from sadm_utils.results.paper import TEST_SETS, Row, paper_rows, plain_name, row_name, set_title
from sadm_utils.sweep.slices import Picture
from sadm_utils.viz.slices import CONTOUR, KINDS
from sadm_utils.viz.style import new_figure, styled

NO_PICTURES = (
    "*This record has no pictures: its sweep did not keep them. Run the sweep again, or see "
    "chapters 6 and 8.*"
)
COLUMNS, PANEL = 6, 1.6  # inches; a phone scrolls such a figure
LEFT_OUT = ("Intensity", "")
"""The scan itself, turned dark side up; the same behind a median filter is shown."""
ALT = (
    "A slice of {subject} with its lesion outlined, then the same slice as the anomaly maps of "
    "{methods}{rebuilt}. {seen}"
)
REBUILT = ", and below as {} rebuild it"


def pictures_section(pictures: Mapping[str, Picture] | None, folder: Path) -> str:
    """A figure for each test set, the paper's first, drawn into ``folder``; or why none."""
    if not pictures:
        return NO_PICTURES
    ordered = [s for s in TEST_SETS if s in pictures] + [s for s in pictures if s not in TEST_SETS]
    parts = []
    for test_set in ordered:
        picture, file = pictures[test_set], f"slice_{test_set.lower()}.png"
        slice_panels(picture).savefig(folder / file)
        title, seen = set_title(test_set), seen_words(picture)
        parts.append(f"**{title}**, subject `{picture.subject}`, slice {picture.index}. {seen}")
        parts.append(words.image(file, _alt(picture, seen)))
    return "\n\n".join(parts)


def _alt(picture: Picture, seen: str) -> str:
    rebuilt = [row_name(row) for row in in_order(picture.reconstructions)]
    return ALT.format(
        subject=picture.subject,
        methods=words.listed([row_name(row) for row in in_order(picture.maps)]),
        rebuilt=REBUILT.format(words.listed(rebuilt)) if rebuilt else "",
        seen=seen,
    )


def in_order(planes: Mapping[Row, np.ndarray]) -> dict[Row, np.ndarray]:
    """Planes by the paper's names of the rows, in its order; rows that it lacks are last.

    :data:`LEFT_OUT` is none of them.
    """
    named = {(plain_name(row[0]), row[1]): planes[row] for row in planes if row != LEFT_OUT}
    known = [row for row in paper_rows() if row in named]
    return {row: named[row] for row in [*known, *(r for r in named if r not in known)]}


def seen_words(picture: Picture) -> str:
    """Which maps are brightest where the lesion is: the best and the worst, in words."""
    maps, lesion = in_order(picture.maps), picture.annotation
    if len(maps) < 2 or not lesion.any():
        return ""
    hits = {row: hit_rate(plane, lesion) for row, plane in maps.items()}
    most, fewest = (_who(hits, share) for share in (max(hits.values()), min(hits.values())))
    return (
        "Of a map's brightest pixels, as many as the lesion has, the largest share inside of the "
        f"lesion is {most}, the smallest {fewest}."
    )


def _who(hits: Mapping[Row, float], share: float) -> str:
    """``81 % (SADM (brats21))``; rows that share it are counted."""
    rows = [row_name(row) for row, hit in hits.items() if hit == share]
    return f"{100 * share:.0f}\u00a0% ({rows[0] if len(rows) == 1 else f'{len(rows)} maps'})"


def hit_rate(score: np.ndarray, annotation: np.ndarray) -> float:
    """Share in the lesion of the n brightest pixels of a map (H, W); the lesion has n pixels."""
    lesion = annotation.ravel() > 0
    brightest = np.argsort(-score.ravel(), kind="stable")[: lesion.sum()]
    return float(lesion[brightest].mean())


@styled
def slice_panels(picture: Picture) -> Figure:
    """The slice, the map of each method, and on new lines what the methods rebuild.

    Each map has its own colors, from 0 to where they end over the volume (``Picture.tops``), as
    methods differ in scale and Dice does not care. The lesion is outlined in every panel.
    """
    maps, rebuilt = in_order(picture.maps), in_order(picture.reconstructions)
    tops = {(plain_name(method), source): top for (method, source), top in picture.tops.items()}
    panels = [("image", picture.image, "image", 1.0)]
    panels += [(row_name(row), plane, "score", tops[row]) for row, plane in maps.items()]
    lines = [panels[k : k + COLUMNS] for k in range(0, len(panels), COLUMNS)]
    below = [(f"{row_name(row)}: x̂", plane, "image", 1.0) for row, plane in rebuilt.items()]
    lines += [below[k : k + COLUMNS] for k in range(0, len(below), COLUMNS)]
    height = PANEL * picture.image.shape[1] / picture.image.shape[0] + 0.28
    figure, axes = new_figure(len(lines), COLUMNS, (PANEL * COLUMNS, height * len(lines)))
    for line, row in zip(lines, axes, strict=True):
        for ax in row[len(line) :]:
            ax.set_axis_off()
        for ax, (title, plane, kind, top) in zip(row, line, strict=False):
            _draw(ax, title, plane, KINDS[kind][0], top, picture.annotation)
    return figure


def _draw(
    ax: Axes, title: str, plane: np.ndarray, colors: str, top: float, annotation: np.ndarray
) -> None:
    """One panel: a plane (H, W) upright, from 0 to ``top``, with the lesion's outline."""
    ax.imshow(plane.T, origin="lower", cmap=colors, vmin=0, vmax=top)
    if annotation.any() and not annotation.all():
        ax.contour(annotation.T, levels=[0.5], colors=CONTOUR, linewidths=1.2)
    ax.set(xticks=[], yticks=[], title=title)
    ax.spines[:].set_visible(False)
