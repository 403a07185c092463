"""A picture has the panels of all methods with their own colors, and words that are counted."""

import numpy as np
import pytest

from sadm_utils.results.pictures import COLUMNS, hit_rate, in_order, seen_words, slice_panels
from sadm_utils.sweep.slices import Picture

SADM, AE, PLAIN = ("SADM_res", "draem"), ("AE", ""), ("Intensity_med", "")


@pytest.fixture
def picture() -> Picture:
    """A lesion of four pixels; SADM_res finds all of it, AE one pixel, the threshold none."""
    image, lesion = np.full((8, 6, 3), 0.5), np.zeros((8, 6), np.float32)
    lesion[2:4, 2:4] = 1
    found = Picture("s1", 1, image[:, :, 1], lesion)
    own = np.zeros((8, 6, 3))
    own[0, :3, 1] = own[2, 2, 1] = 4.0
    found.add(PLAIN, 1 - np.repeat(lesion[..., None], 3, 2))
    found.add(SADM, np.repeat(lesion[..., None], 3, 2))
    found.add(AE, own, image)
    return found


def test_rows_are_in_the_order_of_the_paper(picture):
    picture.maps["Intensity", ""] = picture.image  # the scan itself needs no panel
    assert list(in_order(picture.maps)) == [AE, SADM, PLAIN]


def test_hits_are_counted_among_as_many_pixels_as_the_lesion_has(picture):
    hits = {row: hit_rate(plane, picture.annotation) for row, plane in picture.maps.items()}
    assert hits == {SADM: 1.0, AE: 0.25, PLAIN: 0.0}
    text = seen_words(picture)
    assert text.endswith("is 100\u00a0% (SADM_res (draem)), the smallest 0\u00a0% (Intensity_med).")


def test_maps_that_share_a_place_are_counted(picture):
    picture.maps["Unet", "draem"] = picture.maps["Unet_res", "draem"] = picture.maps[PLAIN]
    picture.maps["DDPM", ""] = picture.maps[SADM]
    assert "100\u00a0% (2 maps), the smallest 0\u00a0% (3 maps)." in seen_words(picture)


def test_nothing_is_said_without_a_lesion(picture):
    assert seen_words(Picture("s", 0, picture.image, 0 * picture.annotation, picture.maps)) == ""


def test_panels_have_titles_and_their_own_colors(picture):
    axes = [ax for ax in slice_panels(picture).axes if ax.images]
    titles = [ax.get_title() for ax in axes]
    assert titles == ["image", "AE", "SADM_res (draem)", "Intensity_med", "AE: x̂"]
    tops = [ax.images[0].get_clim() for ax in axes]
    assert tops[0] == tops[-1] == (0, 1) and tops[1] == (0, picture.tops[AE]) and tops[1][1] > 3
    assert [ax.images[0].get_cmap().name for ax in axes] == ["gray", *["inferno"] * 3, "gray"]
    assert all(len(ax.collections) == 1 for ax in axes), "the outline"
    np.testing.assert_array_equal(axes[2].images[0].get_array(), picture.maps[SADM].T)


def test_reconstructions_begin_a_line(picture):
    places = {ax.get_title(): ax.get_subplotspec() for ax in slice_panels(picture).axes}
    assert places["AE: x̂"].rowspan.start == 1 and places["AE: x̂"].colspan.start == 0
    for k in range(COLUMNS):
        picture.add((f"m{k}", ""), np.ones((8, 6, 3)))
    places = {ax.get_title(): ax.get_subplotspec() for ax in slice_panels(picture).axes}
    assert places["m4"].rowspan.start == 1 and places["AE: x̂"].rowspan.start == 2
