"""From arrays of floats to the bytes that a viewer carries: planes of 8 bits, small in a page."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

MAX_STOPS = 255
"""Stops of a slider over thresholds: levels from 0 to this number fit into 8 bits."""


def plain(values: Any) -> np.ndarray:
    """A volume or slice as a numpy array of its own precision: a comparison must not round it."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values)


def on_screen(planes: np.ndarray) -> np.ndarray:
    """Turn slices (…, X, Y) into rows as a screen has them (…, Y, X): the front (high Y) above."""
    return np.ascontiguousarray(np.swapaxes(planes, -1, -2)[..., ::-1, :])


def slices_on_screen(volume: np.ndarray) -> np.ndarray:
    """Turn a volume (X, Y, Z) into its axial slices as a screen has them, (Z, Y, X)."""
    return on_screen(np.moveaxis(volume, 2, 0))


def shades(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Scale values to uint8: ``limits`` become 0 and 255, what lies beyond is cut."""
    low, high = limits
    return np.rint(255 * np.clip((values - low) / max(high - low, 1e-9), 0, 1)).astype(np.uint8)


def exact_edges(thresholds: Sequence[float] | np.ndarray) -> np.ndarray:
    """Thresholds, rising and without repeats, rounded to numbers that float32 holds, as float64.

    A score in float32 then compares with them in the same way in single and double precision.

    Raises
    ------
    ValueError
        If there are none, more than `MAX_STOPS`, or one that is not finite.
    """
    edges = np.unique(np.asarray(thresholds, np.float64).astype(np.float32)).astype(np.float64)
    if not 1 <= edges.size <= MAX_STOPS or not np.isfinite(edges).all():
        raise ValueError(f"a slider has 1 to {MAX_STOPS} finite thresholds, not {edges.size}")
    return edges


def levels(values: np.ndarray, edges: np.ndarray, strict: bool = False) -> np.ndarray:
    """How many of the rising ``edges`` each value reaches, as uint8.

    So ``levels > k`` is exactly ``values >= edges[k]``, or with ``strict`` ``values > edges[k]``:
    a page with the levels knows the mask of every threshold, and loses nothing.
    """
    side = "left" if strict else "right"
    return np.searchsorted(edges, values, side=side).astype(np.uint8)


def box(filled: np.ndarray, margin: int = 1) -> tuple[slice, slice, slice]:
    """The smallest box around the cells of a volume that are true, and ``margin`` cells in X, Y."""
    slices = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        index = np.flatnonzero(filled.any(axis=others))
        low, high = (index[0], index[-1] + 1) if index.size else (0, filled.shape[axis])
        wider = margin if axis < 2 else 0
        slices.append(slice(max(int(low) - wider, 0), min(int(high) + wider, filled.shape[axis])))
    return tuple(slices)


def packed(array: np.ndarray) -> dict[str, Any]:
    """An array of uint8 for a page: its shape, and its differences deflated, in base64."""
    flat = np.ascontiguousarray(array, np.uint8).ravel()
    steps = np.diff(flat, prepend=np.uint8(0))  # wraps at 256, and back in the page
    data = base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode()
    return {"shape": list(array.shape), "data": data}


def unpacked(entry: dict[str, Any]) -> np.ndarray:
    """What the page makes of `packed`: the same array."""
    steps = np.frombuffer(zlib.decompress(base64.b64decode(entry["data"])), np.uint8)
    return np.cumsum(steps, dtype=np.uint8).reshape(entry["shape"])
