"""The look of every figure in the book, in one place.

* **Orientation.** A slice is an array (X, Y) in NIfTI order, X to the patient's right, Y to the
  front. It is drawn transposed with the origin below: front up, the patient's left on the left
  (neurological convention, as in nilearn).
* **Color.** Okabe and Ito's eight colors, which color-blind readers can tell apart; gray for
  images, perceptually uniform maps for scores. Figures have an opaque white background, so they
  stay readable on a dark page.
* **Figures are returned, not shown.** Put the call on the last line of a cell, or pass the result
  to ``display``. They are closed in pyplot, so a notebook never shows one twice.
"""

from sadm_utils.viz.curves import beta_curve, loss_curve, result_bars
from sadm_utils.viz.methods import method_grid
from sadm_utils.viz.slices import (
    compare_methods,
    largest_slice,
    noise_levels,
    overlay,
    show_slices,
)
from sadm_utils.viz.style import MARKERS, PALETTE, STYLE, new_figure, use_style

__all__ = [
    "MARKERS",
    "PALETTE",
    "STYLE",
    "beta_curve",
    "compare_methods",
    "largest_slice",
    "loss_curve",
    "method_grid",
    "new_figure",
    "noise_levels",
    "overlay",
    "result_bars",
    "show_slices",
    "use_style",
]
