"""Pictures of whole volumes and of rows of slices with their own lesions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sadm_utils.viz.slices import _array, _bare, _draw, _grid, largest_slice
from sadm_utils.viz.style import PALETTE, new_figure, styled

PLANES = (("sagittal", "x"), ("coronal", "y"), ("axial", "z"))


@styled
def three_planes(
    volume: Any, affine: np.ndarray, position: Sequence[float], *, panel: float = 2.8
) -> Figure:
    """Cut a volume at a position in millimeters: sagittal, coronal and axial, with a cross.

    Parameters
    ----------
    volume : array (X, Y, Z)
        Axes in RAS order.
    affine : array (4, 4)
        Voxel indices to millimeters; without rotation, as after registration.
    position : (x, y, z)
        In millimeters. Axes of the figure are in millimeters, too.
    """
    array, affine = _array(volume), np.asarray(affine, dtype=float)
    center = np.linalg.solve(affine, [*position, 1])[:3].round().astype(int)
    center = np.clip(center, 0, np.array(array.shape) - 1)
    low = (affine @ [-0.5, -0.5, -0.5, 1])[:3]
    high = (affine @ [*np.array(array.shape) - 0.5, 1])[:3]
    top = float(np.percentile(array, 99.8)) or 1.0
    figure, axes = new_figure(1, 3, (3 * panel, panel + 0.5))
    for axis, (ax, (name, letter)) in enumerate(zip(axes[0], PLANES, strict=True)):
        across, up = (k for k in range(3) if k != axis)
        plane = np.take(array, center[axis], axis=axis)
        extent = (low[across], high[across], low[up], high[up])
        ax.imshow(plane.T, origin="lower", cmap="gray", vmin=0, vmax=top, extent=extent)
        ax.axvline(position[across], color=PALETTE[1], linewidth=0.8)
        ax.axhline(position[up], color=PALETTE[1], linewidth=0.8)
        ax.set(title=f"{name}, {letter} = {position[axis]:g} mm", xlabel=f"{'xyz'[across]} (mm)")
        ax.set_ylabel(f"{'xyz'[up]} (mm)")
    return figure


@styled
def gallery(
    rows: Sequence[Sequence[Any]],
    titles: Sequence[str] = (),
    row_titles: Sequence[str] = (),
    *,
    lesions: Sequence[Sequence[Any]] | None = None,
    kinds: str | Sequence[str] = "image",
    captions: Sequence[Sequence[str]] | None = None,
    limits: tuple[float, float] | None = None,
    panel: float = 1.6,
) -> Figure:
    """Rows of slices, each with a lesion outline and a caption of its own.

    Parameters
    ----------
    rows : list of lists of arrays
        Slices (X, Y); tensors may have leading axes of length 1; None leaves a panel empty.
    titles, row_titles : sequence of str
        Above the columns of the first row, and left of the rows.
    lesions : list of lists of arrays, optional
        Masks of the same layout; None for none.
    kinds : str or one str a row
        How a row is drawn, see :func:`sadm_utils.viz.show_slices`.
    captions : list of lists of str, optional
        Titles of single panels; they replace ``titles``.
    """
    kinds = [kinds] * len(rows) if isinstance(kinds, str) else list(kinds)
    first = next(_array(item) for row in rows for item in row if item is not None)
    columns = max(map(len, rows))
    count = len(rows) if captions is not None else int(bool(titles))
    figure, axes = _grid(len(rows), columns, first, panel, count)
    for ax in axes.ravel():
        _bare(ax)
    for r, row in enumerate(rows):
        for c, item in enumerate(row):
            if item is None:
                continue
            title = titles[c] if r == 0 and c < len(titles) else ""
            if captions is not None:
                title = captions[r][c]
            lesion = None if lesions is None or lesions[r][c] is None else _array(lesions[r][c])
            _draw(axes[r, c], _array(item), kinds[r], limits, lesion, title)
        if r < len(row_titles):
            axes[r, 0].set_ylabel(row_titles[r])
    return figure


def lesion_slice(volume: Any, seg: Any) -> tuple[np.ndarray, np.ndarray]:
    """The axial slice with the most lesion: image and mask, both (X, Y)."""
    index = largest_slice(seg)
    return np.asarray(volume)[:, :, index], np.asarray(seg)[:, :, index]
