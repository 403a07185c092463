"""The noise level as a slider: the input, what is left of it, and what the model makes of that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sadm_utils.viewers.layers import Panel, Slider, outline, picture, where
from sadm_utils.viewers.pack import on_screen, shades
from sadm_utils.viewers.viewer import Viewer
from sadm_utils.viz.slices import CONTOUR, _array, _slice, show_slices
from sadm_utils.viz.style import styled


def noise_viewer(
    image: Any,
    noisy: Mapping[int, Any],
    reconstructions: Mapping[int, Any],
    seg: Any = None,
    *,
    alt: str,
    start: int = 500,
) -> Viewer:
    """One slider: the noise level t. Input, noised input, reconstruction, and their difference.

    Parameters
    ----------
    image : array (X, Y)
        A slice in [0, 1]; tensors may have leading axes of length 1, here and below.
    noisy, reconstructions
        Level t to a slice in image space [0, 1], for the same levels; noise beyond is cut.
    seg : array (X, Y), optional
        Lesion mask, outlined.
    alt
        What is to be seen, for those who cannot see it.
    start
        The level to start at: the nearest stop.
    """
    times = list(noisy)
    image = _array(image)
    lesion = np.zeros(image.shape, bool) if seg is None else _array(seg) > 0
    noised, rebuilt = (np.stack([_array(m[t]) for t in times]) for m in (noisy, reconstructions))
    residual = np.abs(image - rebuilt)
    top = float(np.percentile(residual, 99.8)) or 1.0
    arrays = {
        "image": on_screen(shades(image, (0, 1))),
        "noisy": on_screen(shades(noised, (0, 1))),
        "rebuilt": on_screen(shades(rebuilt, (0, 1))),
        "residual": on_screen(shades(residual, (0, top))),
        "lesion": on_screen(lesion).astype(np.uint8),
    }
    stop = int(np.abs(np.asarray(times) - start).argmin())
    slider = Slider("t", "noise level t", [f"t = {t}" for t in times], stop)
    shape, edge = arrays["image"].shape, outline(where("lesion"), CONTOUR)
    panels = [
        Panel("input x", [picture("image"), edge], shape),
        Panel("noised x_t", [picture("noisy", ["t"])], shape),
        Panel("reconstruction x̂", [picture("rebuilt", ["t"]), edge], shape),
        Panel("residual |x − x̂|", [picture("residual", ["t"], "score"), edge], shape),
    ]
    legend = {CONTOUR: "outline of the lesion"} if lesion.any() else {}
    still = _still(image, noised, rebuilt, residual, times, lesion)
    return Viewer(alt, arrays, [slider], panels, still, legend=legend)


@styled
def _still(
    image: np.ndarray, noised: np.ndarray, rebuilt: np.ndarray, residual: np.ndarray,
    times: list[int], lesion: np.ndarray,
) -> Figure:  # fmt: skip
    """The input, and five levels of noise with what the model makes of each."""
    chosen = np.unique(np.linspace(0, len(times) - 1, 5).round().astype(int))
    rows = [[image, *noised[chosen]], [None, *rebuilt[chosen]]]
    seg = _slice(lesion, None) if lesion.any() else None
    titles = ["input x", *(f"t = {times[n]}" for n in chosen)]
    return show_slices(rows, titles, seg=seg, row_titles=["noised", "rebuilt"], panel=1.6)
