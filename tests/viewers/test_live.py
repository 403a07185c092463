"""The widgets compute what their sliders say, without a page or a kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator

import ipywidgets as widgets
import numpy as np
import pytest

from sadm_utils.evaluation.metrics import best_dice, confusion_at, volume_metrics
from sadm_utils.sadm.fusion import fuse
from sadm_utils.viewers import live
from tests.viewers.examples import SHAPE, brain


def parts(widget: widgets.Widget) -> Iterator[widgets.Widget]:
    """A widget and all that it holds."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from parts(child)


def slider(box: widgets.Widget, label: str) -> widgets.Widget:
    (found,) = [w for w in parts(box) if getattr(w, "description", "") == label]
    return found


def shown(box: widgets.Widget) -> tuple[bytes, str]:
    """The first picture, and the words above it."""
    found = list(parts(box))
    picture = next(w for w in found if isinstance(w, widgets.Image))
    return picture.value, next(w for w in found if isinstance(w, widgets.HTML)).value


def check_every_slider(box: widgets.Widget) -> None:
    """A slider that is moved changes the picture."""
    sliders = [w for w in parts(box) if isinstance(w, widgets.IntSlider | widgets.FloatSlider)]
    assert sliders
    for each in sliders:
        before, value = shown(box)[0], each.value
        each.value = each.min if value > (each.min + each.max) / 2 else each.max
        assert shown(box)[0] != before, each.description
        each.value = value
        assert shown(box)[0] == before, "the same stop gives the same picture"


def test_slices() -> None:
    b = brain()
    box = live.slice_viewer(b["image"], b["residual"], b["seg"])
    slider(box, "slice").value = 4
    assert shown(box)[1] == "slice 4"
    slider(box, "slice").value = 5
    slider(box, "opacity of the map").value = 0.1
    check_every_slider(box)


def test_threshold_says_the_dice_of_the_package() -> None:
    b = brain()
    score = fuse(b["residual"], b["supervised"])
    box = live.threshold_viewer(b["image"], score, b["seg"], b["mask"], confusion_at, start=0.5)
    moved = slider(box, "threshold")
    moved.value = 0.4
    expected = confusion_at(score, b["seg"], moved.value, b["mask"])
    assert f"Dice {expected.dice:.3f}, precision {expected.precision:.3f}" in shown(box)[1]
    slider(box, "slice").value = 4
    check_every_slider(box)


def test_fusion_says_the_metrics_of_the_package() -> None:
    b = brain()
    box = live.fusion_viewer(
        b["image"], b["residual"], b["supervised"], b["seg"], fuse, volume_metrics
    )
    slider(box, "weight β").value = 0.25
    expected = best_dice(fuse(b["residual"], b["supervised"], 0.25), b["seg"])[0]
    assert f"⌈Dice⌉ {expected:.3f}" in shown(box)[1]
    check_every_slider(box)


def test_noise_asks_for_the_level_of_the_slider() -> None:
    plane, asked = brain()["image"][:, :, 4], []

    def noised(t: int) -> np.ndarray:
        asked.append(t)
        return np.clip(plane + t / 1000, 0, 1)

    box = live.noise_viewer(plane, noised, lambda t: plane * (1 - t / 2000), last=900)
    slider(box, "noise level t").value = 250
    assert asked == [500, 250]
    check_every_slider(box)


def test_masks_are_drawn_for_ratio_and_seed() -> None:
    plane = brain()["image"][:, :, 4]

    def draw(ratio: float, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).random((1, 1, 2, 2)) > ratio

    box = live.mask_viewer(plane, draw, lambda seen: np.full(SHAPE[:2], 0.3 + seen.mean() / 2))
    slider(box, "mask ratio").value = 0.5
    seen = int(draw(0.5, 0).sum())
    assert shown(box)[1] == f"{seen} of 4 patches visible"
    check_every_slider(box)


def test_anomalies_are_made_for_scale_and_seed() -> None:
    plane = brain()["image"][:, :, 4]

    def make(scale: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([scale, seed])
        return rng.uniform(-1, 1, plane.shape), rng.random(plane.shape)

    box = live.anomaly_viewer(plane, make, scales=4)
    share = float(re.search(r"covers (.*) %", shown(box)[1])[1])
    assert share == pytest.approx(100 * (make(2, 0)[0] > 0.3).mean(), abs=0.06)
    check_every_slider(box)
