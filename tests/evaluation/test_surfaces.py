"""Distances between surfaces by hand, and against distance transforms."""

import numpy as np
import pytest
from scipy import ndimage

from sadm_utils.evaluation.surfaces import (
    average_surface_distance,
    find_surface,
    hausdorff,
    surface_metrics,
)


def two_masks() -> tuple[np.ndarray, np.ndarray]:
    """One voxel, and the same voxel with another one five further along the last axis."""
    a, b = np.zeros((2, 12, 12, 12), np.uint8)
    a[2, 2, 2] = b[2, 2, 2] = b[2, 2, 7] = 1
    return a, b


def blobs(seed: int) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(18, 15, 12)), 1.5)
    return noise > np.quantile(noise, 0.85)


def test_surface_of_a_cube_is_all_but_its_center():
    cube = np.zeros((7, 7, 7), bool)
    cube[2:5, 2:5, 2:5] = True
    points = {tuple(p) for p in find_surface(cube).points}
    assert points == {tuple(p) for p in np.argwhere(cube)} - {(3, 3, 3)}
    # Beyond the volume is outside: a full volume has a surface too.
    assert len(find_surface(np.ones((3, 3, 3))).points) == 26
    np.testing.assert_array_equal(
        find_surface(cube, (1, 2, 3)).points.max(axis=0), [4, 8, 12]
    )


def test_hausdorff_by_hand():
    a, b = two_masks()
    assert hausdorff(a, b) == 5 and hausdorff(b, a) == 5 and hausdorff(a, a) == 0
    assert hausdorff(a, b, spacing=(1, 1, 3)) == 15
    far = np.roll(a, 5, axis=2)
    assert hausdorff(a, far) == 5 and hausdorff(a, far, spacing=2.0) == 10
    # From b the distances are 0 and 5, and 95 % of the way between them is 4.75.
    assert hausdorff(a, b, percentile=95) == pytest.approx(4.75)


def test_average_distance_by_hand():
    a, b = two_masks()
    # From a: 0. From b: 0 and 5. Three points in all.
    assert average_surface_distance(a, b) == pytest.approx(5 / 3)
    assert average_surface_distance(a, b, (1, 1, 3)) == pytest.approx(5)
    assert average_surface_distance(b, b) == 0


def test_without_one_of_the_masks_there_is_no_distance():
    a, b = two_masks()
    for pair in ((a, 0 * a), (0 * a, b), (0 * a, 0 * b)):
        assert np.isnan(hausdorff(*pair)) and np.isnan(average_surface_distance(*pair))
    found = surface_metrics(find_surface(0 * a), find_surface(b))
    assert np.isnan(found["hd95"]) and np.isnan(found["assd"])
    with pytest.raises(ValueError, match="shapes"):
        hausdorff(a, b[:5])


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_distance_transforms(seed):
    a, b, spacing = blobs(seed), blobs(seed + 10), (1.0, 2.0, 3.0)
    edges = [m & ~ndimage.binary_erosion(m) for m in (a, b)]
    to_b, to_a = (ndimage.distance_transform_edt(~e, sampling=spacing) for e in edges[::-1])
    one, other = to_b[edges[0]], to_a[edges[1]]
    assert hausdorff(a, b, spacing) == pytest.approx(max(one.max(), other.max()))
    found = surface_metrics(find_surface(a, spacing), find_surface(b, spacing))
    expected = max(np.percentile(one, 95), np.percentile(other, 95))
    assert found["hd95"] == pytest.approx(expected) == hausdorff(a, b, spacing, 95)
    assert found["assd"] == pytest.approx(np.r_[one, other].mean())
