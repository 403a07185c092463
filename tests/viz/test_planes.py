"""Pictures of a whole scan show what they are told to show."""

import numpy as np
import pytest

from sadm_utils.viz.planes import scan_and_map, score_limit, three_planes


@pytest.fixture
def volumes() -> tuple[np.ndarray, np.ndarray]:
    image = np.linspace(0, 1, 12 * 10 * 8, dtype=np.float32).reshape(12, 10, 8)
    score = np.zeros(image.shape, np.float32)
    score[3:6, 4:8, 1:6] = 0.5
    score[4, 5, 3] = 1.0
    return image, score


def test_slices_lie_where_the_score_is(volumes):
    image, score = volumes
    figure = scan_and_map(image, image, score, threshold=0.4, columns=3)
    assert [ax.get_title() for ax in figure.axes[:3]] == ["slice 1", "slice 3", "slice 5"]
    assert [figure.axes[3 * row].get_ylabel() for row in range(3)][2] == "anomaly map"
    drawn = figure.axes[1].images[0].get_array()
    np.testing.assert_array_equal(drawn, image[:, :, 3].T)
    heat = figure.axes[7].images[1].get_array()
    np.testing.assert_array_equal(heat, score[:, :, 3].T)
    assert figure.axes[7].collections, "the threshold is outlined"


def test_planes_cross_at_the_point_in_millimeters(volumes):
    image, score = volumes
    figure = three_planes(image, score, (4, 5, 3), (1.0, 2.0, 3.0))
    axes = figure.axes[:3]
    assert [ax.get_title() for ax in axes] == ["sagittal", "coronal", "axial"]
    assert [ax.get_aspect() for ax in axes] == [1.5, 3.0, 2.0]
    for ax, plane in zip(axes, (score[4], score[:, 5], score[:, :, 3]), strict=True):
        np.testing.assert_array_equal(ax.images[1].get_array(), plane.T)
        lines = [line.get_xydata()[0] for line in ax.lines]
        assert plane.T[int(lines[1][1]), int(lines[0][0])] == 1.0


def test_color_scale_does_not_alarm_below_the_threshold(volumes):
    assert score_limit(volumes[1], threshold=2.0) == 4.0
    assert score_limit(np.zeros((3, 3, 3))) == 1.0
    assert 0.5 <= score_limit(volumes[1]) <= 1.0
