"""The grid of methods shows each method's own map of the slice with the most lesion."""

import numpy as np
import pytest

from sadm_utils import viz

SHAPE = (6, 5, 4)


def case(seed: int, z: int):
    """A random volume, and a lesion that is largest in slice ``z``."""
    seg = np.zeros(SHAPE)
    seg[1, 1, 0] = seg[2:4, 2:4, z] = 1
    return np.random.default_rng(seed).random(SHAPE), seg


def shown(ax) -> np.ndarray:
    return np.asarray(ax.images[0].get_array())


def test_one_subject_is_a_line_of_methods():
    image, seg = case(0, 2)
    maps = {"AE": 5 * image, "SADM": image**2}
    figure = viz.method_grid(image, seg, maps)
    assert [ax.get_title() for ax in figure.axes] == ["image", "AE", "SADM"]
    for ax, volume in zip(figure.axes, (image, *maps.values()), strict=True):
        np.testing.assert_allclose(shown(ax), volume[:, :, 2].T, rtol=1e-6)
        assert len(ax.collections) == 1, "the lesion is outlined"
    tops = [ax.images[0].get_clim()[1] for ax in figure.axes]
    assert tops[0] == 1 and tops[1] == pytest.approx(np.percentile(5 * image, 99.8))


def test_each_subject_has_its_own_slice_and_its_reconstructions_below():
    (a, seg_a), (b, seg_b) = case(1, 1), case(2, 3)
    maps = {"AE": [a, b], "Unet": [1 - a, 1 - b]}
    figure = viz.method_grid(
        [a, b], [seg_a, seg_b], maps, reconstructions={"AE": [a / 2, b / 2]},
        row_titles=["tumor", "stroke"],
    )  # fmt: skip
    axes = np.array(figure.axes).reshape(4, 3)
    np.testing.assert_allclose(shown(axes[2, 2]), 1 - b[:, :, 3].T, rtol=1e-6)
    np.testing.assert_allclose(shown(axes[1, 1]), a[:, :, 1].T / 2, rtol=1e-6)
    assert not axes[1, 0].images and not axes[1, 2].images, "nothing is rebuilt there"
    assert [axes[0, 0].get_ylabel(), axes[2, 0].get_ylabel()] == ["tumor", "stroke"]
    assert axes[2, 1].get_title() == ""


def test_every_method_needs_a_map_of_every_subject():
    (a, seg_a), (b, seg_b) = case(1, 1), case(2, 3)
    with pytest.raises(ValueError, match="AE has 1 maps for 2 subjects"):
        viz.method_grid([a, b], [seg_a, seg_b], {"AE": [a]})
