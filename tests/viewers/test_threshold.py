"""The threshold viewer counts what `sadm_utils.evaluation.metrics` counts, at every stop."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sadm_utils import viewers
from sadm_utils.evaluation.metrics import best_dice, confusion_at
from sadm_utils.sadm.fusion import fuse
from sadm_utils.viewers import pack
from sadm_utils.viewers.threshold import rates, slider_edges
from sadm_utils.viewers.viewer import Viewer
from tests.viewers.examples import brain, threshold


def held(viewer: Viewer) -> tuple[np.ndarray, np.ndarray]:
    """Levels and lesion as the page unpacks them."""
    arrays = viewer.spec()["arrays"]
    return pack.unpacked(arrays["levels"]), pack.unpacked(arrays["truth"]) > 0


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_every_stop_has_the_dice_of_the_package(kind: type) -> None:
    b = brain()
    score = fuse(b["residual"], b["supervised"]).astype(kind)
    if kind is np.float64:
        score = score + 1e-9 * np.random.default_rng(0).random(score.shape) * (score > 0)
    best = best_dice(score, b["seg"], b["mask"])[1]
    viewer = viewers.threshold_viewer(
        b["image"], score, b["seg"], b["mask"], start=float(best), alt="x"
    )
    edges = slider_edges(score[(b["mask"] > 0) | (b["seg"] > 0)], float(best), None)
    level, lesion = held(viewer)
    assert len(edges) == len(viewer.sliders[0].texts) > 100
    for stop, edge in enumerate(edges):
        expected, found = confusion_at(score, b["seg"], edge, b["mask"]), rates(level, lesion, stop)
        for name, value in found.items():
            assert np.array_equal(value, getattr(expected, name), equal_nan=True), (name, stop)


def test_the_masks_are_those_of_the_scores() -> None:
    b = brain()
    viewer = viewers.threshold_viewer(
        b["image"], b["residual"], b["seg"], b["mask"], thresholds=[0.1, 0.3, 0.7], alt="x"
    )
    level, _ = held(viewer)
    part = pack.box((b["residual"] >= np.float32(0.1)) | (b["seg"] > 0) | (b["image"] > 0))
    for stop, edge in enumerate((0.1, 0.3, 0.7)):
        marked = (b["residual"] >= np.float32(edge)) & (b["mask"] > 0)
        assert np.array_equal(level > stop, pack.slices_on_screen(marked[part]))


def test_without_a_mask_the_background_counts_too() -> None:
    b = brain()
    score = b["residual"] + 0.5  # now the background scores, too
    viewer = viewers.threshold_viewer(b["image"], score, b["seg"], thresholds=[0.4, 0.9], alt="x")
    level, lesion = held(viewer)
    assert rates(level, lesion, 0)["dice"] == confusion_at(score, b["seg"], 0.4).dice
    assert (level > 0).sum() == score.size


def test_the_map_is_drawn_to_its_brightest_color() -> None:
    viewer = threshold()
    (layer,) = [x for p in viewer.panels for x in p.layers if x.get("array") == "levels"]
    highest = viewer.arrays["levels"].max()
    assert 0.5 * highest < layer["top"] <= highest < 255


def test_it_starts_where_it_is_told() -> None:
    slider = threshold().sliders[0]
    assert slider.texts[slider.start] == "0.5"


def test_undefined_rates_are_nan() -> None:
    level, lesion = np.array([1, 1, 0]), np.array([True, False, False])
    assert math.isnan(rates(level, lesion, 1)["precision"])
    nothing = rates(level, ~lesion & False, 0)
    assert math.isnan(nothing["dice"]) and math.isnan(nothing["recall"])
    assert nothing["precision"] == 0


def test_a_map_without_scores_is_refused() -> None:
    b = brain()
    with pytest.raises(ValueError, match="nothing to threshold"):
        viewers.threshold_viewer(b["image"], 0 * b["image"], b["seg"], b["mask"], alt="x")
