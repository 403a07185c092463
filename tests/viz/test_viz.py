"""Figures: they exist, are upright, opaque, and show what they were given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from sadm_utils import viz

SHAPE = (20, 24, 9)


def marked(x: int, y: int, z: int) -> np.ndarray:
    volume = np.zeros(SHAPE, np.float32)
    volume[x, y, z] = 1
    return volume


def pixels(figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def seg() -> np.ndarray:
    lesion = np.zeros(SHAPE, np.uint8)
    lesion[5:9, 10:16, 6] = 1
    return lesion


def test_a_marked_voxel_is_drawn_where_it_belongs():
    """Voxel x = 3 of 20 (left), y = 20 of 24 (front): left and up on the screen."""
    figure = viz.show_slices([marked(3, 20, 4)])
    image = pixels(figure)
    ax = figure.axes[0]
    column, height = ax.transData.transform((3, 20))
    row = image.shape[0] - height
    assert image[int(row), int(column), :3].min() == 255
    box = ax.get_window_extent()
    assert column < box.x0 + box.width / 2, "small x must be on the left"
    assert height > box.y0 + box.height / 2, "the front must be up"
    beside = image[int(row), int(column + 3 * box.width / SHAPE[0]), :3]
    assert beside.max() == 0, "the rest of the slice is black"


def test_index_selects_the_axial_slice():
    drawn = viz.show_slices([marked(3, 20, 7)], index=7).axes[0].images[0].get_array()
    assert drawn.shape == (24, 20) and drawn[20, 3] == 1
    assert viz.show_slices([marked(3, 20, 7)]).axes[0].images[0].get_array().max() == 0


def test_background_is_opaque_white_even_in_a_dark_theme():
    with plt.style.context("dark_background"):
        corner = pixels(viz.loss_curve(pd.DataFrame({"step": [0, 1], "loss": [1.0, 0.5]})))[0, 0]
    assert corner.tolist() == [255, 255, 255, 255]


def test_figures_are_left_to_the_caller():
    before = plt.get_fignums()
    viz.show_slices([marked(1, 1, 1)])
    assert plt.get_fignums() == before


def test_slices_of_one_volume_are_not_empty():
    volume = np.zeros((20, 24, 30))
    volume[5:15, 5:15, 12:20] = np.linspace(0, 1, 100).reshape(10, 10, 1)
    axes = viz.show_slices(volume, count=4).axes
    assert all(ax.images[0].get_array().max() == 1 for ax in axes)
    assert [ax.get_title() for ax in axes] == ["slice 13", "slice 15", "slice 16", "slice 18"]


def test_grids_of_slices():
    volume = np.random.default_rng(0).random(SHAPE)
    assert len(viz.show_slices(volume, count=5, seg=seg()).axes) == 5
    rows = [[volume, volume[:, :, 0]], [torch.rand(1, 1, 20, 24), None]]
    figure = viz.show_slices(
        rows, ["a", "b"], kind=["image", "score"], row_titles=["r1", "r2"], colorbar=True
    )
    assert [ax.get_title() for ax in figure.axes[:4]] == ["a", "b", "", ""]
    assert figure.axes[2].get_ylabel() == "r2"
    assert figure.axes[0].images[0].get_cmap().name == "gray"
    assert figure.axes[1].images[0].get_cmap().name == "inferno"
    assert not figure.axes[3].images
    with pytest.raises(ValueError, match="image, mask"):
        viz.show_slices([volume], kind="picture")
    with pytest.raises(ValueError, match="shape"):
        viz.show_slices([np.zeros(5)])


def test_overlay_shows_the_slice_with_the_lesion_and_its_outline():
    figure = viz.overlay(np.full(SHAPE, 0.5), seg() * 0.8, seg())
    base, heat = figure.axes[0].images
    assert heat.get_array().max() == pytest.approx(0.8) and base.get_array().shape == (24, 20)
    assert heat.get_alpha()[0, 0] == 0 and heat.get_alpha()[12, 6] > 0.5
    outline = np.vstack([path.vertices for path in figure.axes[0].collections[0].get_paths()])
    assert outline.min(axis=0).tolist() == [4.5, 9.5]
    assert outline.max(axis=0).tolist() == [8.5, 15.5]


def test_compare_methods_wraps_and_scales_every_map_itself():
    maps = {f"method {k}": seg() * (k + 1.0) for k in range(6)}
    figure = viz.compare_methods(np.zeros(SHAPE), maps, seg(), reconstruction=np.ones(SHAPE))
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["image", "reconstruction", *maps]
    assert figure.axes[7].images[0].get_clim() == (0, 6)
    empty = viz.compare_methods(np.zeros(SHAPE), {"m": np.zeros(SHAPE)}, np.zeros(SHAPE))
    assert len(empty.axes) == 2 and not empty.axes[0].collections


def test_noise_levels():
    noisy = {t: np.random.default_rng(t).normal(size=SHAPE) for t in (250, 500, 750)}
    figure = viz.noise_levels(noisy, noisy, image=np.zeros(SHAPE))
    assert [ax.get_title() for ax in figure.axes[:4]] == ["image", "t = 250", "t = 500", "t = 750"]
    assert figure.axes[5].get_ylabel() == "reconstructed" and len(figure.axes) == 8
    assert len(viz.noise_levels(noisy).axes) == 3


def test_loss_curve_skips_gaps():
    nan = float("nan")
    metrics = pd.DataFrame(
        {"step": [0, 1, 2], "train_loss": [3, nan, 1], "val_loss": [nan, 2, nan], "lr": 0.1}
    )
    ax = viz.loss_curve(metrics, log=True).axes[0]
    assert [line.get_xdata().tolist() for line in ax.lines] == [[0, 2], [1]]
    assert ax.get_yscale() == "log"
    with pytest.raises(ValueError, match="loss"):
        viz.loss_curve(metrics[["step", "lr"]])


def test_beta_curve_marks_the_best():
    figure = viz.beta_curve([0, 0.5, 1], {"draem → Brats21": [0.2, 0.6, 0.5]})
    line, ring = figure.axes[0].lines
    assert line.get_ydata().tolist() == pytest.approx([20, 60, 50])
    assert ring.get_xdata()[0] == 0.5
    pixels(figure)


def test_result_bars_show_mean_and_interval():
    rows = pd.DataFrame(
        [
            ("cDDPM", "", "Brats21", "best_dice", 0.5, 0.1, 0.4, 0.6, 9),
            ("SADM", "draem", "Brats21", "best_dice", 0.6, 0.1, 0.5, 0.7, 9),
            ("SADM", "draem", "ATLAS", "best_dice", 0.3, 0.1, float("nan"), float("nan"), 1),
            ("SADM", "draem", "ATLAS", "auprc", 0.3, 0.1, 0.2, 0.4, 9),
        ],
        columns=["method", "annotations", "test_set", "metric", "mean", "sd", "low", "high", "n"],
    )
    figure = viz.result_bars(rows)
    first, second = figure.axes
    assert [bar.get_width() for bar in first.patches] == [50, 60]
    assert first.lines[0].get_xdata() == pytest.approx([40, 60]) and not second.lines
    assert [tick.get_text() for tick in first.get_yticklabels()] == ["cDDPM", "SADM (draem)"]
    pixels(figure)


def test_use_style_sets_the_palette():
    with plt.rc_context():
        viz.use_style()
        assert plt.rcParams["axes.prop_cycle"].by_key()["color"] == list(viz.PALETTE)
