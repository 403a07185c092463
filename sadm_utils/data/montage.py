"""Pictures for quality control: every registered scan with the template's outline over it.

``quality.html`` shows all subjects on one page, those that stand out first; it needs no network.
"""

from __future__ import annotations

import html
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
from matplotlib import image as images
from scipy import ndimage

from sadm_utils.data.brain import Template, load_template
from sadm_utils.data.io import write_atomic
from sadm_utils.data.scan import Registered

TEMPLATE_COLOR, BRAIN_COLOR, LESION_COLOR = (255, 160, 0), (60, 170, 255), (255, 50, 60)
CUT_MM = (2.0, -18.0, 12.0)
"""Where the planes cut a healthy brain (MNI millimeters); a lesion is cut where it is largest."""
ENLARGED, LINE = 3, 2
"""Pixels a voxel, and pixels of an outline: two that are a voxel apart can be told apart. The page
shows a pixel a voxel, and leads to the picture."""

_STYLE = """
body { background: #111; color: #ddd; font: 13px sans-serif; margin: 1em; }
figure { display: inline-block; margin: 3px; width: min(627px, 100%); vertical-align: top; }
img { width: 100%; display: block; image-rendering: auto; }
figcaption { padding: 2px; } .flag { color: #ffb347; } .failed { color: #ff6b6b; }
"""


def draw_subject(file: Path, registered: Registered) -> Path:
    """Write a picture of a registered scan: sagittal, coronal and axial plane side by side.

    Outlines: the template's brain, the scan's brain, and the lesion.
    """
    picture = subject_picture(registered)
    with write_atomic(file, ".png") as temporary:
        images.imsave(temporary, picture)
    return file


def subject_picture(registered: Registered) -> np.ndarray:
    """The three planes of a registered scan as one picture, uint8 (height, width, 3)."""
    template = registered.template or load_template()
    inside = registered.mask > 0
    bright = np.percentile(registered.image[inside], 99.5) if inside.any() else 1.0
    gray = np.clip(registered.image / max(float(bright), 1e-6), 0, 1)
    lesion = None if registered.seg is None else registered.seg > 0
    cut = _middle(template)
    if lesion is not None and lesion.any():
        sizes = [lesion.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
        cut = np.array([size.argmax() for size in sizes])
    panels = []
    for axis in range(3):
        panel = np.repeat(_enlarged(_plane(gray, axis, cut))[..., None] * 255, 3, axis=2)
        panel = panel.astype(np.uint8)
        outlines = [(template.mask, TEMPLATE_COLOR), (inside, BRAIN_COLOR)]
        for mask, color in [*outlines, *([(lesion, LESION_COLOR)] if lesion is not None else [])]:
            plane = _enlarged(_plane(mask, axis, cut))
            panel[plane & ~ndimage.binary_erosion(plane, iterations=LINE)] = color
        panels.append(panel)
    height = max(panel.shape[0] for panel in panels)
    padded = [
        np.pad(p, (((height - p.shape[0]) // 2, -((p.shape[0] - height) // 2)), (0, 0), (0, 0)))
        for p in panels
    ]
    return np.concatenate(padded, axis=1)


def _enlarged(plane: np.ndarray) -> np.ndarray:
    return plane.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)


def write_page(out: Path, table: pd.DataFrame) -> Path:
    """Write ``quality.html``: failed subjects as text, then flagged ones, then the others.

    Parameters
    ----------
    out
        Prepared data folder, with the pictures in ``quality``.
    table
        The manifest, with the columns ``key``, ``flags`` and ``error``.
    """
    failed = table[table["error"] != ""]
    good = table[table["error"] == ""].sort_values(["set", "subject"])
    good = good.sort_values("flags", key=lambda flags: flags == "", kind="stable")
    flagged = int((good["flags"] != "").sum())
    lines = [
        "<!doctype html><meta charset='utf-8'><title>Quality control</title>",
        f"<style>{_STYLE}</style><h1>Quality control</h1>",
        f"<p>{len(good)} subjects registered, {flagged} stand out, {len(failed)} failed. Outlines: "
        f"{_legend('template', TEMPLATE_COLOR)}, {_legend('brain of the scan', BRAIN_COLOR)}, "
        f"{_legend('lesion', LESION_COLOR)}.</p>",
    ]
    for _, row in failed.iterrows():
        name = html.escape(f"{row['set']} {row['subject']}: {row['error']}")
        lines.append(f"<p class='failed'>{name}</p>")
    lines += [_figure(row) for _, row in good.iterrows()]
    with write_atomic(out / "quality.html") as temporary:
        Path(temporary).write_text("\n".join(lines), encoding="utf-8")
    return out / "quality.html"


def _middle(template: Template) -> np.ndarray:
    """Voxel at :data:`CUT_MM`; the center of the brain in a template that has none there."""
    cut = np.rint(np.linalg.solve(template.affine, [*CUT_MM, 1.0])[:3]).astype(int)
    if (cut >= 0).all() and (cut < template.mask.shape).all() and template.mask[tuple(cut)]:
        return cut
    return np.rint(ndimage.center_of_mass(template.mask)).astype(int)


def _plane(volume: np.ndarray, axis: int, cut: np.ndarray) -> np.ndarray:
    """A plane as a picture: up is up, or the front; the left is left."""
    return np.take(volume, int(cut[axis]), axis=axis).T[::-1]


def _figure(row: pd.Series) -> str:
    flag = html.escape(str(row["flags"]))
    numbers = f"overlap {row['dice']:.3f}, contrast {row['contrast']:.2f}"
    if row["lesion_ml"]:
        numbers += f", lesion {row['lesion_ml']:.1f} ml"
    caption = html.escape(f"{row['set']} {row['subject']}")
    source = html.escape(quote(row["picture"]), quote=True)
    return (
        f"<figure><a href='{source}'><img loading='lazy' src='{source}' alt='{caption}'></a>"
        f"<figcaption>{caption}<br>"
        f"{numbers}{f'<br><span class=flag>{flag}</span>' if flag else ''}</figcaption></figure>"
    )


def _legend(text: str, color: tuple[int, int, int]) -> str:
    return f"<span style='color: rgb{color}'>{text}</span>"
