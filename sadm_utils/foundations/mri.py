"""Figures of the page "Brain MRI and NIfTI"."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.figure import Figure
from scipy import ndimage

from sadm_utils.data.io import load_nifti, orientation_of
from sadm_utils.data.phantom import simulate_subject
from sadm_utils.data.scanner import scan_again
from sadm_utils.foundations.brains import SEED, healthy, pair, scaled, window
from sadm_utils.viz.slices import CONTOUR, largest_slice, show_slices
from sadm_utils.viz.style import new_figure, styled

Drawn = tuple[Figure, str]
# Gray values of fluid, gray and white matter, and of the lesion, in three contrasts: by rule.
TISSUES_T1 = (0.15, 0.6, 0.9)
CONTRASTS: dict[str, tuple[tuple[float, float, float], float]] = {
    "T2": ((0.95, 0.6, 0.38), 0.85),
    "FLAIR": ((0.08, 0.62, 0.48), 0.95),
}
SIZES_MM = (2.0, 3.0, 6.0)


def draw_contrasts() -> Drawn:
    """One slice as T1, and recolored by rule as T2 and FLAIR."""
    p = pair(voxel_mm=2.0)
    k, w = largest_slice(p.seg), window(p.mask)
    x, lesion = p.image[*w, k], p.seg[*w, k] > 0
    inside = p.mask[*w, k] > 0
    shown = {"T1": x}
    for name, (tissues, bright) in CONTRASTS.items():
        recolored = np.interp(x, TISSUES_T1, tissues)
        inner = ndimage.gaussian_filter(lesion.astype(float), 0.7)
        shown[name] = ((1 - inner) * recolored + inner * bright) * inside
    figure = show_slices(list(shown.values()), list(shown), panel=1.8)
    return figure, (
        "One head, three *contrasts*. T1 is the phantom; T2 and FLAIR are recolored from it by "
        "rule, to show what changes places: fluid, gray matter, white matter, and the lesion."
    )


@styled
def draw_voxels() -> Drawn:
    """The same anatomy in voxels of three sizes."""
    figure, axes = new_figure(1, len(SIZES_MM), (5.4, 2.5))
    words = []
    fine = pair(voxel_mm=SIZES_MM[0])
    height = fine.affine[2, 3] + SIZES_MM[0] * largest_slice(fine.seg)  # z in mm
    for ax, size in zip(axes[0], SIZES_MM, strict=True):
        p = pair(voxel_mm=size)
        k, (wx, wy) = int(round((height - p.affine[2, 3]) / size)), window(p.mask, 1)
        _gray(ax, p.image[wx, wy, k], f"{size:g} mm")
        ax.contour(p.seg[wx, wy, k].T, levels=[0.5], colors=CONTOUR, linewidths=1.2)
        words.append(f"{int(p.seg.sum()):,}\u00a0voxels of {size:g}\u00a0mm")
    volume = fine.seg.sum() * SIZES_MM[0] ** 3 / 1000
    return figure, (
        f"One tumor of {volume:.0f}\u00a0ml (outlined) is {', '.join(words[:-1])} or {words[-1]}. "
        "2 mm is the paper's size, 3 mm that of the demo."
    )


@styled
def draw_orientation() -> Drawn:
    """A slice as it lies in a scanner's file, and the head with axes in millimeters."""
    subject = simulate_subject("tumor", SEED, 0, 3.0)
    with TemporaryDirectory() as folder:
        files = scan_again(subject, Path(folder), zooms=(3.0, 3.0, 3.0))
        native, seg = load_nifti(files["image"]), load_nifti(files["seg"])
    figure, axes = new_figure(1, 2, (5.4, 3.1))
    k = largest_slice(seg.array)
    plane = native.array[:, :, k]
    axes[0, 0].imshow(plane.T, origin="lower", cmap="gray")
    codes = orientation_of(native.affine)
    axes[0, 0].set(title=f"the array of a file: {codes}", xlabel="index i", ylabel="index j")
    k = largest_slice(subject.seg)
    low = (subject.affine @ [-0.5, -0.5, -0.5, 1])[:2]
    high = (subject.affine @ [*np.array(subject.image.shape) - 0.5, 1])[:2]
    extent = (low[0], high[0], low[1], high[1])
    axes[0, 1].imshow(subject.image[:, :, k].T, origin="lower", cmap="gray", extent=extent)
    axes[0, 1].set(title="registered: RAS, MNI", xlabel="x in mm", ylabel="y in mm")
    return figure, (
        f"The same head. Left, the numbers in the order of the file: its axes point to {codes}, so "
        "the face looks down, and left and right are swapped. Right, the same head after "
        "registration (next section), drawn in millimeters: x grows to the right, y to the front."
    )


@styled
def draw_registration() -> Drawn:
    """A nodding head and the template's outline, from the side."""
    p = pair()
    nodded = ndimage.rotate(p.image, 16, axes=(1, 2), reshape=False, order=1)
    nodded = ndimage.shift(nodded, (0, -4, 3), order=1)
    middle = p.image.shape[0] // 2 - 2
    outline = ndimage.binary_fill_holes(p.mask[middle] > 0)
    figure, axes = new_figure(1, 2, (5.0, 2.3))
    for ax, volume, title in zip(
        axes[0], (nodded, p.image), ("as scanned", "registered"), strict=True
    ):
        _gray(ax, volume[middle], title)
        ax.contour(outline.T, levels=[0.5], colors=CONTOUR, linewidths=1.2)
    return figure, (
        "A head that nods, from the side, with the outline of where it belongs: for this picture, "
        "the left head was made from the right one by turning and shifting it. *Registration* "
        "turns, moves and stretches a head until it fits."
    )


@styled
def draw_units() -> Drawn:
    """Histograms of three subjects, raw and scaled."""
    figure, axes = new_figure(1, 2, (5.4, 2.5))
    peaks = []
    for index in range(3):
        image, mask = healthy(index)
        raw, unit = image[mask > 0], scaled(image, mask)[mask > 0]
        axes[0, 0].hist(raw, 80, density=True, histtype="step", linewidth=1.5)
        axes[0, 1].hist(unit, 80, density=True, histtype="step", linewidth=1.5)
        peaks.append(f"{np.percentile(raw, 99):.0f}")
    axes[0, 0].set(title="as scanned", xlabel="value in the file", yticks=[])
    axes[0, 1].set(title="scaled", xlabel="intensity", yticks=[])
    return figure, (
        "Three healthy subjects. Their 99th percentiles, about the white matter, are "
        f"{', '.join(peaks[:-1])} and {peaks[-1]} as scanned, and 1 after scaling. The left hump "
        "is fluid, the middle gray matter, the right white matter."
    )


def _gray(ax, plane: np.ndarray, title: str) -> None:
    ax.imshow(plane.T, origin="lower", cmap="gray", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[], title=title)
    ax.spines[:].set_visible(False)
