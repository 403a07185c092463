"""Put the figures of the pages "Foundations" into their places.

A page names a figure in a comment, ``<!-- figure: NAME -->``. It is drawn while the book is built,
and its caption with all numbers in it comes from what was drawn.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from sadm_utils.errors import UserError
from sadm_utils.foundations import diffusion, metrics, mri

MARK = re.compile(r"<!-- figure: (\w+) -->")
DPI = 150  # small figures that stay sharp on a phone


@dataclass(frozen=True)
class Picture:
    """How a figure is drawn, and what it shows for those who cannot see it.

    ``draw`` returns the figure and the caption below it, in Markdown.
    """

    draw: Callable[[], tuple[Figure, str]]
    alt: str


FIGURES: dict[str, Picture] = {
    "contrasts": Picture(
        mri.draw_contrasts,
        "One slice with a tumor in three contrasts: fluid is black on T1, white on T2 and black on "
        "FLAIR; the lesion is dark on T1 and bright on the other two.",
    ),
    "voxels": Picture(
        mri.draw_voxels,
        "The same slice in voxels of 2, 3 and 6 millimeters, with the tumor outlined; at 6 "
        "millimeters folds are gone and the outline is a handful of squares.",
    ),
    "orientation": Picture(
        mri.draw_orientation,
        "Left, a slice of a scanner's array: the head lies upside down. Right, the same head after "
        "registration with axes in millimeters, the front up.",
    ),
    "registration": Picture(
        mri.draw_registration,
        "The head from the side, with the outline of where it belongs: before registration it "
        "nods out of the outline, after it both agree.",
    ),
    "units": Picture(
        mri.draw_units,
        "Histograms of three subjects: as scanned they lie at different values, after scaling "
        "their peaks of gray and white matter lie together.",
    ),
    "convolution": Picture(
        metrics.draw_convolution,
        "A slice, and the results of two filters of three by three pixels: one blurs, the other "
        "shows vertical edges.",
    ),
    "networks": Picture(
        metrics.draw_networks,
        "Drawing of a U-Net: boxes get smaller on the way down and larger on the way up, and "
        "arrows cross from each step down to the step up of the same size. An encoder is the way "
        "down alone and ends in a short vector c.",
    ),
    "threshold": Picture(
        metrics.draw_threshold,
        "One anomaly map cut at three thresholds. A low one marks the lesion and much else, a high "
        "one misses nearly all of it.",
    ),
    "curves": Picture(
        metrics.draw_curves,
        "Left, precision over recall; right, recall over the false-positive rate. With the "
        "background counted the right curve hugs the corner, the left one stays where it was.",
    ),
    "peeking": Picture(
        metrics.draw_peeking,
        "Dice over the threshold, a curve a subject, with the best point of each. The best points "
        "lie at different thresholds; a line marks the one threshold from other subjects.",
    ),
    "forward": Picture(
        diffusion.draw_forward,
        "A slice with a tumor under more and more simplex noise; at step 500 the folds fade, at "
        "step 750 little more than the outline of the brain is left, at step 1000 nothing.",
    ),
    "schedule": Picture(
        diffusion.draw_schedule,
        "The share of the image falls from one to zero over the steps, that of the noise rises.",
    ),
    "hiding": Picture(
        diffusion.draw_hiding,
        "A slice under Gaussian and under simplex noise, and both blurred: the tumor comes back "
        "clearly from Gaussian noise, and is one blob among many in simplex noise.",
    ),
    "painter": Picture(
        diffusion.draw_painter,
        "A slice with a tumor, the same under noise, the healthy twin as a perfect painter would "
        "paint it, and the difference, which shows the tumor.",
    ),
    "forgotten": Picture(
        diffusion.draw_forgotten,
        "Two slices from different heights of the head and their noised versions; at step 750 "
        "little more than the outline is left of each.",
    ),
}


def fill_foundations(text: str, folder: Path) -> str:
    """Draw each figure that a page names into ``folder``, and put it in the place of its mark.

    Raises
    ------
    UserError
        A page names a figure that does not exist.
    """

    def place(mark: re.Match[str]) -> str:
        name = mark[1]
        if name not in FIGURES:
            raise UserError(f"No figure {name!r}: choose one of {', '.join(FIGURES)}.")
        figure, caption = FIGURES[name].draw()
        file = f"foundations_{name}.png"
        figure.savefig(folder / file, dpi=DPI)
        caption = re.sub(r"\*(.+?)\*", r"**\1**", caption)  # it is in italics itself
        options = f":alt: {FIGURES[name].alt}\n:class: fits-phone"
        return f"```{{image}} {file}\n{options}\n```\n\n*{caption}*"

    return MARK.sub(place, text)
