"""Figures of volumes: the right plane, upright, with the right outlines."""

import numpy as np
import pytest

from sadm_utils.viz.volumes import gallery, lesion_slice, three_planes

AFFINE = np.array([[2.0, 0, 0, -10], [0, 2, 0, -20], [0, 0, 2, -30], [0, 0, 0, 1]])


def test_three_planes_cut_where_the_affine_says():
    volume = np.random.default_rng(0).random((8, 9, 10))
    figure = three_planes(volume, AFFINE, (-4, -10, -22))  # voxel 3, 5, 4
    shown = [ax.images[0].get_array() for ax in figure.axes]
    for got, plane in zip(shown, (volume[3], volume[:, 5], volume[:, :, 4]), strict=True):
        np.testing.assert_allclose(got, plane.T, rtol=1e-6)
    assert figure.axes[2].images[0].get_extent() == [-11, 5, -21, -3]
    assert figure.axes[0].get_title() == "sagittal, x = -4 mm"


def test_gallery_outlines_only_its_own_lesions():
    lesion = np.zeros((6, 6))
    lesion[2:4, 2:4] = 1
    rows = [[np.ones((6, 6)), None], [np.zeros((6, 6)), lesion]]
    figure = gallery(rows, ["a", "b"], ["one", "two"], lesions=[[lesion, None], [None, None]])
    counts = [(len(ax.images), len(ax.collections)) for ax in figure.axes]
    assert counts == [(1, 1), (0, 0), (1, 0), (1, 0)]
    assert figure.axes[0].get_title() == "a" and figure.axes[2].get_ylabel() == "two"
    captioned = gallery(rows, captions=[["p", "q"], ["r", "s"]])
    assert captioned.axes[3].get_title() == "s"


def test_lesion_slice_is_the_one_with_the_most_lesion():
    volume, seg = np.random.default_rng(1).random((4, 4, 5)), np.zeros((4, 4, 5))
    seg[0, 0, 1] = seg[:2, 0, 3] = 1
    image, mask = lesion_slice(volume, seg)
    assert mask.sum() == 2 and image == pytest.approx(volume[:, :, 3])
