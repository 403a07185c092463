"""What a page holds is what Python had: levels, planes, and the bytes between them."""

from __future__ import annotations

import numpy as np
import pytest

from sadm_utils.viewers import pack


def test_levels_know_the_mask_of_every_threshold() -> None:
    rng = np.random.default_rng(0)
    edges = pack.exact_edges(np.linspace(0.1, 0.9, 9))
    values = rng.choice(np.r_[edges, rng.random(50)], 500).astype(np.float32)
    weak, strong = pack.levels(values, edges), pack.levels(values, edges, strict=True)
    assert (np.isin(values, edges.astype(np.float32))).sum() > 20, "ties are what is at stake"
    for k, edge in enumerate(edges):
        assert np.array_equal(weak > k, values >= edge)
        assert np.array_equal(strong > k, values > edge)


@pytest.mark.parametrize("bad", [[], [0.1, np.nan], np.arange(300)])
def test_a_slider_has_some_thresholds_but_not_too_many(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="thresholds"):
        pack.exact_edges(bad)


def test_edges_rise_and_survive_single_precision() -> None:
    edges = pack.exact_edges([0.3, 0.1, 0.1])
    assert edges.tolist() == [float(np.float32(0.1)), float(np.float32(0.3))]


def test_arrays_come_back_from_the_page() -> None:
    array = np.random.default_rng(0).integers(0, 256, (3, 4, 5)).astype(np.uint8)
    assert np.array_equal(pack.unpacked(pack.packed(array)), array)


def test_smooth_planes_are_small() -> None:
    smooth = np.tile(np.arange(100, dtype=np.uint8), (20, 50, 1))
    assert len(pack.packed(smooth)["data"]) < smooth.size / 50


def test_the_front_is_above_and_the_right_is_right() -> None:
    plane = np.zeros((3, 4))
    plane[2, 3] = 1  # high X (right), high Y (front)
    assert pack.on_screen(plane)[0, 2] == 1
    volume = np.zeros((3, 4, 5))
    volume[2, 3, 1] = 1
    assert pack.slices_on_screen(volume)[1, 0, 2] == 1


def test_the_box_keeps_every_filled_cell() -> None:
    volume = np.zeros((8, 8, 8), bool)
    volume[3:5, 2, 6] = True
    assert pack.box(volume) == (slice(2, 6), slice(1, 4), slice(6, 7))
    assert pack.box(np.zeros((2, 2, 2), bool)) == (slice(0, 2),) * 3
