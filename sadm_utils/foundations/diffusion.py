"""Figures of the page "Diffusion in ten minutes"."""

from __future__ import annotations

from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import ndimage

from sadm_utils import device
from sadm_utils.cddpm.noise import STANDARD_DEVIATION, gaussian_noise
from sadm_utils.cddpm.schedule import cosine_betas, signal_and_noise_rates
from sadm_utils.cddpm.simplex import simplex_noise
from sadm_utils.foundations.brains import pair, window
from sadm_utils.viz.slices import CONTOUR, largest_slice
from sadm_utils.viz.style import new_figure, styled

Drawn = tuple[Figure, str]
SALT = 71
DRAW = 6  # a field whose mean is near zero, so that pictures are not all white
STEPS = (1, 100, 250, 500, 750, 1000)  # the paper's count, from 1; an index is one less
TESTED = (250, 500, 750)


@cache
def rates() -> tuple[np.ndarray, np.ndarray]:
    """Factors of the image and of the noise at each of the 1000 steps."""
    signal, noise = signal_and_noise_rates(cosine_betas())
    return signal.numpy(), noise.numpy()


def noised(x: np.ndarray, step: int, field: np.ndarray) -> np.ndarray:
    """x_t on the scale of the image, which leaves [0, 1] at high noise; (X, Y)."""
    signal, noise = (rate[step - 1] for rate in rates())
    return (signal * (2 * x - 1) + noise * field + 1) / 2


def field(shape: tuple[int, int], kind: str = "simplex", draw: int = DRAW) -> np.ndarray:
    """A noise field of one slice, the same each time; (X, Y)."""
    make = simplex_noise if kind == "simplex" else gaussian_noise
    return make(1, *shape, device.generator(0, SALT, draw))[0, 0].numpy()


def sick_slice() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The slice with most tumor, the same of the healthy twin, and the lesion; all (X, Y)."""
    p = pair()
    k, w = largest_slice(p.seg), window(p.mask)
    return p.image[*w, k], p.twin[*w, k], p.seg[*w, k]


@styled
def draw_forward() -> Drawn:
    """One slice on its way into the noise."""
    x, _, lesion = sick_slice()
    noise = field(x.shape)
    figure, axes = new_figure(2, 3, (5.2, 4.6))
    for ax, step in zip(axes.flat, STEPS, strict=True):
        _slice(ax, noised(x, step, noise), f"t = {step}", lesion)
    return figure, (
        "The forward process, with simplex noise; the tumor is outlined. Steps are counted from 1 "
        "here; in the code step t has the index t − 1."
    )


@styled
def draw_schedule() -> Drawn:
    """The two factors of the mixture over the steps."""
    signal, noise = rates()
    figure, axes = new_figure(1, 1, (5.0, 2.7))
    ax, steps = axes[0, 0], np.arange(1, 1001)
    ax.plot(steps, signal, label="√ᾱ, of the image")
    ax.plot(steps, noise, label="√(1 − ᾱ), of the noise")
    for step in TESTED:
        ax.axvline(step, color="0.7", linewidth=0.8, zorder=0)
    ax.set(xlabel="step t", ylabel="factor", ylim=(0, 1.03))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    factors = ", ".join(f"{signal[step - 1]:.2f}" for step in TESTED)
    shares = ", ".join(f"{100 * signal[step - 1] ** 2:.0f} %" for step in TESTED)
    return figure, (
        f"The schedule. At t = {', '.join(map(str, TESTED))} (thin lines), where this book tests, "
        f"the image has the factor {factors}, so {shares} of its variance is left."
    )


@styled
def draw_hiding() -> Drawn:
    """The tumor under two kinds of noise of one strength, and both blurred."""
    x, _, lesion = sick_slice()
    p = pair()
    inside = p.mask[*window(p.mask), largest_slice(p.seg)] > 0
    clean = ndimage.gaussian_filter(x, 1.5)[inside]
    figure, axes = new_figure(2, 2, (4.6, 5.6))
    contrasts = []
    for row, kind in zip(axes, ("Gaussian", "simplex"), strict=True):
        noise = field(x.shape, kind.lower())
        noise = noise * STANDARD_DEVIATION / noise.std()
        mixed = noised(x, 500, noise)
        soft = ndimage.gaussian_filter(mixed, 1.5)
        _slice(row[0], mixed, kind, lesion)
        _slice(row[1], soft, "blurred", lesion)
        contrasts.append(np.corrcoef(soft[inside], clean)[0, 1])
    return figure, (
        "The tumor (outlined) at t = 500, under two kinds of noise of the same strength. Blurring "
        "removes most Gaussian noise. With the blurred slice without noise, the blurred Gaussian "
        f"mixture has a correlation of {contrasts[0]:.2f} inside the brain, the simplex mixture "
        f"{contrasts[1]:.2f}."
    )


@styled
def draw_painter() -> Drawn:
    """What a perfect painter would make of the noised slice, and what is left over."""
    x, twin, lesion = sick_slice()
    figure, axes = new_figure(2, 2, (4.6, 5.6))
    _slice(axes[0, 0], x, "$x$")
    _slice(axes[0, 1], noised(x, 500, field(x.shape)), "$x_t$, noised")
    _slice(axes[1, 0], twin, r"$\hat x$, painted")
    reach = np.abs(x - twin).max()
    axes[1, 1].imshow((x - twin).T, origin="lower", cmap="coolwarm", vmin=-reach, vmax=reach)
    axes[1, 1].contour((lesion > 0).T, levels=[0.5], colors="black", linewidths=1)
    axes[1, 1].set(xticks=[], yticks=[], title=r"$x - \hat x$, left over")
    axes[1, 1].spines[:].set_visible(False)
    return figure, (
        "The idea, with a painter who never errs: below left is the *healthy twin*, the same "
        "simulated brain without its tumor. Below right, blue is darker than the twin and red "
        "brighter; the lines beside the lesion are tissue that the tumor has pushed aside. No "
        "model is that good; [chapter 4](../notebooks/04_cddpm_training.ipynb) shows a real one."
    )


@styled
def draw_forgotten() -> Drawn:
    """Two slices from different heights, and what noise leaves of the difference."""
    p = pair()
    w, middle = window(p.mask), largest_slice(p.seg)
    slices = [p.twin[*w, middle + offset] for offset in (8, -8)]
    noise = field(slices[0].shape, draw=5)
    figure, axes = new_figure(2, 3, (5.2, 4.6))
    for row, x in zip(axes, slices, strict=True):
        _slice(row[0], x, "$x$")
        for ax, step in zip(row[1:], (250, 750), strict=True):
            _slice(ax, noised(x, step, noise), f"t = {step}")
    left = 100 * rates()[0][749]
    return figure, (
        "Two slices of one healthy brain, 48 mm apart, under the same noise. At t = 750 their "
        f"difference is down to {left:.0f} % (the factor √ᾱ): the outline, and with it roughly the "
        "height, can still be guessed; folds and brightness cannot. The condition says what the "
        "noise has hidden."
    )


def _slice(ax: Axes, plane: np.ndarray, title: str, lesion: np.ndarray | None = None) -> None:
    ax.imshow(plane.T, origin="lower", cmap="gray", vmin=0, vmax=1)
    if lesion is not None:
        ax.contour((lesion > 0).T, levels=[0.5], colors=CONTOUR, linewidths=1)
    ax.set(xticks=[], yticks=[], title=title)
    ax.spines[:].set_visible(False)
