"""The parameters of DRAEM's anomalies as sliders: scale of the noise, threshold, opacity.

The page holds a field and a texture for each scale, nothing more: masks are levels of the field,
and the blend x + β·M·(A − x) is what laying a texture over an image at an opacity does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sadm_utils.viewers.layers import Panel, Slider, flat, picture, where
from sadm_utils.viewers.pack import exact_edges, levels, on_screen, shades
from sadm_utils.viewers.viewer import Viewer
from sadm_utils.viz.slices import _array, show_slices
from sadm_utils.viz.style import styled

THRESHOLDS = tuple(n / 20 for n in range(17))
OPACITIES = tuple(n / 10 for n in range(11))


def anomaly_viewer(
    image: Any,
    noise: Mapping[str, Any],
    texture: Mapping[str, Any],
    brain: Any = None,
    *,
    alt: str,
    thresholds: Sequence[float] = THRESHOLDS,
    start: tuple[float, float] = (0.3, 0.7),
) -> Viewer:
    """Three sliders: the scale of the noise, the threshold τ, and the opacity β.

    Parameters
    ----------
    image : array (X, Y)
        A healthy slice in [0, 1]; tensors may have leading axes of length 1, here and below.
    noise, texture
        Name of each scale to its Perlin field, about −1 to 1, and to its texture in [0, 1].
    brain : array (X, Y), optional
        Brain mask: anomalies are restricted to it.
    alt
        What is to be seen, for those who cannot see it.
    thresholds
        Stops of τ; a pixel belongs to the mask M if ``noise > τ``.
    start
        τ and β to start at: the nearest stops.
    """
    names, edges, image = list(noise), exact_edges(thresholds), _array(image)
    inside = np.ones(image.shape, bool) if brain is None else _array(brain) > 0
    fields, textures = (np.stack([_array(m[n]) for n in names]) for m in (noise, texture))
    arrays = {
        "image": on_screen(shades(image, (0, 1))),
        "noise": on_screen(shades(fields, (-1, 1))),
        "levels": on_screen(levels(fields, edges, strict=True) * inside).astype(np.uint8),
        "texture": on_screen(shades(textures, (0, 1))),
    }
    near = [int(np.abs(np.subtract(stops, value)).argmin())
            for stops, value in zip((edges, OPACITIES), start, strict=True)]  # fmt: skip
    sliders = [
        Slider("scale", "cells of the noise", names, len(names) // 2),
        Slider("threshold", "threshold τ", [f"τ = {edge:.2f}" for edge in edges], near[0]),
        Slider("opacity", "opacity β", [f"β = {v:.1f}" for v in OPACITIES], near[1], OPACITIES),
    ]
    mask, shape = where("levels", ["scale"], "threshold"), arrays["image"].shape
    blend = picture("texture", ["scale"], opacity="opacity", where=mask)
    panels = [
        Panel("Perlin noise", [picture("noise", ["scale"])], shape),
        Panel("mask M", [flat(mask, "#ffffff")], shape),
        Panel("texture A", [picture("texture", ["scale"])], shape),
        Panel("anomalous slice x′", [picture("image"), blend], shape),
    ]
    tau, beta = edges[near[0]], OPACITIES[near[1]]
    still = _still(image, fields, textures, inside, names, tau, beta)
    return Viewer(alt, arrays, sliders, panels, still)


@styled
def _still(
    image: np.ndarray, fields: np.ndarray, textures: np.ndarray, inside: np.ndarray,
    names: list[str], tau: float, beta: float,
) -> Figure:  # fmt: skip
    """Every scale at one threshold and one opacity: noise, mask, anomalous slice."""
    masks = (fields > tau) & inside
    results = image + beta * masks * (textures - image)
    rows = [list((fields + 1) / 2), list(masks), list(results)]
    labels = ["noise", f"M, τ = {tau:.2f}", f"x′, β = {beta:.1f}"]
    return show_slices(rows, names, row_titles=labels, panel=1.5)
