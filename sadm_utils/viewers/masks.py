"""SparK's task as sliders: how much is hidden, where, and what the network paints there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sadm_utils.viewers.layers import Panel, Slider, picture, where
from sadm_utils.viewers.pack import on_screen, shades
from sadm_utils.viewers.viewer import Viewer
from sadm_utils.viz.slices import _array, show_slices
from sadm_utils.viz.style import styled


def mask_viewer(
    image: Any,
    visible: Mapping[str, Any],
    painted: Mapping[str, Any],
    *,
    alt: str,
    label: str = "hidden",
) -> Viewer:
    """Two sliders: the share that is hidden, and the draw. What is left, painted, and wrong.

    Parameters
    ----------
    image : array (X, Y)
        A slice in [0, 1].
    visible
        Name of each share to its draws (S, X, Y), > 0 where the image may be seen; the same
        number of draws for all.
    painted
        The same names to what the network paints (S, X, Y); only hidden pixels are shown.
    alt
        What is to be seen, for those who cannot see it.
    label
        What the first slider says.
    """
    image, names = _array(image), list(visible)
    seen = np.stack([_stack(visible[name]) for name in names]) > 0
    network = np.stack([_stack(painted[name]) for name in names])
    wrong = np.abs(network - image) * ~seen
    top = float(np.percentile(wrong, 99.8)) or 1.0
    arrays = {
        "image": on_screen(shades(image, (0, 1))),
        "visible": on_screen(seen).astype(np.uint8),
        "painted": on_screen(shades(network, (0, 1))),
        "wrong": on_screen(shades(wrong, (0, top))),
    }
    by, shape = ["share", "draw"], arrays["image"].shape
    sliders = [
        Slider("share", label, names, len(names) // 2),
        Slider("draw", "draw", [f"draw {n + 1}" for n in range(seen.shape[1])]),
    ]
    left = picture("image", where=where("visible", by))
    panels = [
        Panel("slice x", [picture("image")], shape),
        Panel("what is left", [left], shape),
        Panel("painted into the holes", [picture("painted", by), left], shape),
        Panel("error in the holes", [picture("wrong", by, "score")], shape),
    ]
    return Viewer(alt, arrays, sliders, panels, _still(image, seen, network, names))


def _stack(planes: Any) -> np.ndarray:
    """Draws as (S, X, Y): tensors may have an axis of channels, of length 1."""
    planes = planes.detach().cpu().numpy() if hasattr(planes, "detach") else np.asarray(planes)
    return planes.reshape(len(planes), *planes.shape[-2:]).astype(np.float32)


@styled
def _still(
    image: np.ndarray, seen: np.ndarray, network: np.ndarray, names: list[str]
) -> Figure:
    """The first draw of each share: what is left, and what is painted."""
    left = [image * draws[0] for draws in seen]
    filled = [np.where(v[0], image, p[0]) for v, p in zip(seen, network, strict=True)]
    rows = [[image, *left], [None, *filled]]
    return show_slices(rows, ["slice x", *names], row_titles=["left", "painted"], panel=1.6)
