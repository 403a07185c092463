"""Figures with sliders, for readers without a kernel and readers with one.

Each function returns a :class:`~sadm_utils.viewers.viewer.Viewer`: HTML that carries its data, its
style and its script (no library, no request, at most 1 MB), and a static picture for print.
:mod:`sadm_utils.viewers.live` has the same six as ipywidgets, which compute with the reader's own
data while a kernel runs.

Volumes are (X, Y, Z) and slices (X, Y), as everywhere in the book; `alt` says what is to be seen.
"""

from sadm_utils.viewers.anomalies import anomaly_viewer
from sadm_utils.viewers.fusion import fusion_viewer
from sadm_utils.viewers.masks import mask_viewer
from sadm_utils.viewers.noise import noise_viewer
from sadm_utils.viewers.slices import slice_viewer
from sadm_utils.viewers.threshold import threshold_viewer
from sadm_utils.viewers.viewer import Viewer

__all__ = [
    "Viewer",
    "anomaly_viewer",
    "fusion_viewer",
    "mask_viewer",
    "noise_viewer",
    "slice_viewer",
    "threshold_viewer",
]
