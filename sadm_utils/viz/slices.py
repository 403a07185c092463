"""Pictures of brains: slices, score maps over them, methods side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sadm_utils.viz.style import new_figure, styled

CONTOUR = "#56D4FF"
# What an array holds decides how it is drawn: (color map, limits); None: from the data.
KINDS: dict[str, tuple[str, tuple[float, float] | None]] = {
    "image": ("gray", (0.0, 1.0)),
    "mask": ("gray", (0.0, 1.0)),
    "score": ("inferno", None),
    "probability": ("inferno", (0.0, 1.0)),
    "noise": ("gray", None),
    "signed": ("coolwarm", None),
}


def _array(values: Any) -> np.ndarray:
    """Turn a volume, slice or tensor with leading axes of length 1 into a numpy array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().float().numpy()
    values = np.asarray(values)
    while values.ndim > 2 and values.shape[0] == 1:
        values = values[0]
    if values.ndim not in (2, 3):
        raise ValueError(f"need a slice (X, Y) or a volume (X, Y, Z), got shape {values.shape}")
    return values.astype(np.float32)


def _slice(values: Any, index: int | None) -> np.ndarray:
    """Pick one axial slice: ``index``, by default the middle one."""
    values = _array(values)
    if values.ndim == 2:
        return values
    return values[:, :, values.shape[2] // 2 if index is None else index]


def largest_slice(seg: Any) -> int:
    """Index of the axial slice with the most lesion (of the middle one without any)."""
    area = (_array(seg) > 0).sum(axis=(0, 1))
    return int(np.argmax(area)) if area.any() else len(area) // 2


def _spread(volume: np.ndarray, count: int) -> np.ndarray:
    """Indices of ``count`` axial slices, evenly spaced over those that are not empty."""
    filled = np.flatnonzero(np.ptp(volume, axis=(0, 1)))
    low, high = (filled[0], filled[-1]) if filled.size else (0, volume.shape[2] - 1)
    inset = 0.08 * (high - low)
    return np.linspace(low + inset, high - inset, count).round().astype(int)


def _limits(values: np.ndarray, kind: str) -> tuple[float, float]:
    fixed = KINDS[kind][1]
    if fixed is not None:
        return fixed
    if kind == "score":
        return 0.0, float(np.percentile(values, 99.8)) or 1.0
    if kind == "signed":
        reach = float(np.abs(values).max()) or 1.0
        return -reach, reach
    return float(values.min()), float(values.max())


def _draw(
    ax: Axes,
    plane: np.ndarray,
    kind: str = "image",
    limits: tuple[float, float] | None = None,
    seg: np.ndarray | None = None,
    title: str = "",
) -> Any:
    """Draw one slice upright, with the lesion's outline; return the matplotlib image."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; choose one of {', '.join(KINDS)}")
    low, high = _limits(plane, kind) if limits is None else limits
    drawn = ax.imshow(plane.T, origin="lower", cmap=KINDS[kind][0], vmin=low, vmax=high)
    if seg is not None and np.any(seg > 0) and not np.all(seg > 0):
        color = "black" if kind == "signed" else CONTOUR
        ax.contour((seg > 0).T, levels=[0.5], colors=color, linewidths=1.2)
    _bare(ax)
    ax.set_title(title)
    return drawn


def _bare(ax: Axes) -> None:
    """Take ticks and frame away, but keep room for a label on the left."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def _grid(
    rows: int, columns: int, plane: np.ndarray, panel: float, titles: int = 1, bar: float = 0.0
) -> tuple[Figure, Any]:
    """A grid of panels of ``panel`` inches, at most 11 inches wide, shaped like the slice.

    ``titles`` counts the rows with a title, ``bar`` is the room beside a panel in inches.
    """
    panel = min(panel, 11 / columns - bar)
    height = rows * (panel * plane.shape[1] / plane.shape[0] + 0.04) + 0.24 * titles
    return new_figure(rows, columns, ((panel + bar) * columns, height))


@styled
def show_slices(
    volumes: Any,
    titles: Sequence[str] = (),
    *,
    kind: str | Sequence[str] = "image",
    index: int | None = None,
    count: int = 6,
    seg: Any = None,
    limits: tuple[float, float] | None = None,
    row_titles: Sequence[str] = (),
    colorbar: bool = False,
    panel: float = 1.8,
) -> Figure:
    """Show slices in a grid of rows and columns.

    Parameters
    ----------
    volumes : array, list of arrays, or list of lists of arrays
        One volume (X, Y, Z): ``count`` of its slices, evenly spaced. A list: one panel each, in a
        row. A list of lists: rows of panels. Arrays are (X, Y) or (X, Y, Z), tensors may have
        leading axes of length 1; None leaves a panel empty.
    titles, row_titles : sequence of str
        Above the columns, and left of the rows.
    kind : str or one str a column
        "image" and "mask" (gray, 0 to 1), "score" (inferno from 0), "probability" (inferno, 0 to
        1), "noise" (gray, own range), "signed" (blue below 0, red above).
    index : int, optional
        The axial slice of volumes; by default the middle one.
    seg : array, optional
        Lesion mask, outlined in every panel.
    limits : (low, high), optional
        One range for all panels; needed to compare scores by eye.
    colorbar : bool
        Add one to every panel.
    """
    if not isinstance(volumes, (list, tuple)):
        volume = _array(volumes)
        if volume.ndim == 2:
            return show_slices([volume], titles, kind=kind, seg=seg, limits=limits, panel=panel)
        chosen = _spread(volume, count)
        lesions = [None if seg is None else _slice(seg, int(k)) for k in chosen]
        grid, outlines = [[volume[:, :, k] for k in chosen]], [lesions]
        titles = titles or [f"slice {k}" for k in chosen]
    else:
        nested = isinstance(volumes[0], (list, tuple))
        rows = [list(row) for row in volumes] if nested else [list(volumes)]
        grid = [[None if item is None else _slice(item, index) for item in row] for row in rows]
        outlines = [[None if seg is None else _slice(seg, index)] * len(row) for row in grid]
    columns = max(len(row) for row in grid)
    kinds = [kind] * columns if isinstance(kind, str) else list(kind)
    first = next(plane for row in grid for plane in row if plane is not None)
    figure, axes = _grid(
        len(grid), columns, first, panel, bool(titles), bar=0.55 if colorbar else 0.0
    )
    for r, row in enumerate(grid):
        for c in range(columns):
            ax = axes[r, c]
            _bare(ax)
            if c >= len(row) or row[c] is None:
                continue
            title = titles[c] if r == 0 and c < len(titles) else ""
            drawn = _draw(ax, row[c], kinds[c], limits, outlines[r][c], title)
            if colorbar:
                figure.colorbar(drawn, ax=ax, shrink=0.8)
        if r < len(row_titles):
            axes[r, 0].set_ylabel(row_titles[r])
    return figure


@styled
def overlay(
    image: Any, score: Any, seg: Any = None, *, index: int | None = None, title: str = "",
    limits: tuple[float, float] | None = None, panel: float = 4.0,
) -> Figure:  # fmt: skip
    """Lay a score map (or a mask) over the image; low scores are transparent.

    ``seg`` is outlined; with it and no ``index`` the slice with the most lesion is shown.
    """
    if index is None and seg is not None and _array(seg).ndim == 3:
        index = largest_slice(seg)
    plane, heat = _slice(image, index), _slice(score, index)
    low, high = _limits(_array(score), "score") if limits is None else limits
    figure, axes = _grid(1, 1, plane, panel, bar=0.9)
    ax = axes[0, 0]
    _draw(ax, plane, title=title)
    opacity = np.clip((heat - low) / max(high - low, 1e-9), 0, 1) ** 0.7
    drawn = ax.imshow(
        heat.T, origin="lower", cmap="inferno", vmin=low, vmax=high, alpha=0.85 * opacity.T
    )
    if seg is not None and (lesion := _slice(seg, index) > 0).any():
        ax.contour(lesion.T, levels=[0.5], colors=CONTOUR, linewidths=1.5)
    figure.colorbar(drawn, ax=ax, shrink=0.8, label="anomaly score")
    return figure


@styled
def compare_methods(
    image: Any,
    maps: Mapping[str, Any],
    seg: Any = None,
    *,
    reconstruction: Any = None,
    index: int | None = None,
    panel: float = 1.9,
    columns: int = 6,
) -> Figure:
    """One subject, all methods: image, reconstruction, and the score map of every method.

    Every map has its own scale from 0 to its 99.8th percentile over the volume, as methods differ
    in scale and Dice does not care. The lesion is outlined; by default its largest slice is shown.
    A row has at most ``columns`` panels.
    """
    if index is None and seg is not None and _array(seg).ndim == 3:
        index = largest_slice(seg)
    panels = [("image", _slice(image, index), "image", None)]
    if reconstruction is not None:
        panels.append(("reconstruction", _slice(reconstruction, index), "image", None))
    for name, score in maps.items():
        panels.append((name, _slice(score, index), "score", _limits(_array(score), "score")))
    lesion = None if seg is None else _slice(seg, index)
    rows = max(1, -(-len(panels) // columns))
    columns = -(-len(panels) // rows)
    figure, axes = _grid(rows, columns, panels[0][1], panel, titles=rows)
    for ax in axes.ravel():
        _bare(ax)
    for ax, (title, plane, kind, limits) in zip(axes.ravel(), panels, strict=False):
        _draw(ax, plane, kind, limits, lesion, title)
    return figure


@styled
def noise_levels(
    noisy: Mapping[int, Any], reconstructions: Mapping[int, Any] | None = None, image: Any = None,
    *, index: int | None = None, panel: float = 1.8,
) -> Figure:  # fmt: skip
    """The image at several diffusion times t, and below what the model makes of it.

    ``noisy`` and ``reconstructions`` map t to arrays in image space [0, 1]; noise beyond is cut.
    """
    first = [] if image is None else [image]
    titles = ([""] if image is None else ["image"])[: len(first)] + [f"t = {t}" for t in noisy]
    rows, labels = [[*first, *noisy.values()]], ["noisy"]
    if reconstructions is not None:
        rows.append([*[None] * len(first), *(reconstructions[t] for t in noisy)])
        labels.append("reconstructed")
    figure = show_slices(rows, titles, index=index, panel=panel)
    for row, label in enumerate(labels):
        figure.axes[row * len(rows[0]) + len(first)].set_ylabel(label)
    return figure
