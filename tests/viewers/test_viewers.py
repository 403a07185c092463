"""Each viewer: complete in itself, small, labeled, and true to its data."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from sadm_utils import viewers
from sadm_utils.draem.synthesis import blend
from sadm_utils.errors import UserError
from sadm_utils.viewers.pack import unpacked
from sadm_utils.viewers.viewer import MAX_BYTES, Viewer
from tests.viewers.examples import BETAS, all_viewers, brain

NAMES = ("slices", "threshold", "fusion", "noise", "masks", "anomalies")
every_viewer = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def made() -> dict[str, Viewer]:
    return all_viewers()


class Elements(HTMLParser):
    """All start tags with their attributes, and the tags that enclose them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str], list[str]]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {k: v or "" for k, v in attrs}, list(self.open)))
        if tag not in ("img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "elements must nest"

    def all(self, tag: str) -> list[tuple[dict[str, str], list[str]]]:
        return [(attrs, around) for name, attrs, around in self.found if name == tag]


@every_viewer
def test_a_notebook_gets_html_and_a_picture(made: dict[str, Viewer], name: str) -> None:
    bundle = made[name]._repr_mimebundle_()
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert bundle["image/png"] in bundle["text/html"], "print shows the same picture"


@every_viewer
def test_nothing_is_requested_and_nothing_clashes(made: dict[str, Viewer], name: str) -> None:
    html = made[name].html()
    assert not re.search(r"https?://|(?:src|href)=[\"'](?!data:)|@import|url\(", html)
    assert not re.search(r"<[^>]*\sid=", html), "an id may be on the page once"
    assert len(html.encode()) < MAX_BYTES == 1_000_000


@every_viewer
def test_every_part_has_a_name(made: dict[str, Viewer], name: str) -> None:
    viewer, elements = made[name], Elements(made[name].html())
    assert not elements.open
    ((still, _),) = elements.all("img")
    assert still["alt"] == viewer.alt
    assert [attrs["aria-label"] for attrs, _ in elements.all("canvas")] == [
        f"{panel.title}: {viewer.alt}" for panel in viewer.panels
    ]
    assert all(attrs["role"] == "img" for attrs, _ in elements.all("canvas"))
    inputs = elements.all("input")
    assert len(inputs) == len(viewer.sliders)
    for (attrs, around), slider in zip(inputs, viewer.sliders, strict=True):
        assert around[-1] == "label" and attrs["type"] == "range"
        assert attrs["aria-valuetext"] == slider.texts[slider.start]
        assert int(attrs["max"]) == len(slider.texts) - 1 and len(set(slider.texts)) > 1


@every_viewer
def test_layers_find_their_arrays_and_sliders(made: dict[str, Viewer], name: str) -> None:
    viewer = made[name]
    sliders = {s.name: len(s.texts) for s in viewer.sliders}
    used = set()
    for panel in viewer.panels:
        for layer in panel.layers:
            places = [layer, layer.get("where") or {}]
            if layer["kind"] == "verdict":
                places.append({"array": layer["truth"], "by": layer["truthBy"]})
            for place in (p for p in places if "array" in p):
                array, by = viewer.arrays[place["array"]], place["by"]
                assert array.dtype == np.uint8
                assert array.shape == (*(sliders[s] for s in by), *panel.shape)
                used |= {place["array"], *by, place.get("above"), place.get("opacity")}
            used |= {layer["by"]} if layer["kind"] == "curve" else set()
    assert set(viewer.arrays) | set(sliders) <= used, "what nobody draws is not sent"


def test_two_on_a_page_share_one_script(made: dict[str, Viewer]) -> None:
    one, other = made["slices"].html(), made["noise"].html()
    last = [html.rsplit("<script>", 1)[1] for html in (one, other)]
    assert last[0] == last[1] and "window.sadmViewers" in last[0]


def test_data_cannot_end_the_script(made: dict[str, Viewer]) -> None:
    b = brain()
    planes = {"</script><b>": b["image"][:, :, 4], "b": b["image"][:, :, 5]}
    html = viewers.anomaly_viewer(planes["b"], planes, planes, alt='a "quoted" <alt>').html()
    elements = Elements(html)
    assert not elements.all("b")
    data = re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)[1]
    assert json.loads(data)["texts"]["scale"] == list(planes)


def test_the_page_stays_light() -> None:
    noise = np.random.default_rng(0).random((120, 120, 60), dtype=np.float32)
    viewer = viewers.slice_viewer(noise, noise, alt="x")
    with pytest.raises(UserError, match="1 MB: give it fewer slices"):
        viewer.html()


def test_every_weight_has_its_map_and_result(made: dict[str, Viewer]) -> None:
    viewer = made["fusion"]
    assert [s.texts for s in viewer.sliders] == [[f"β = {b:g}" for b in BETAS]]
    (line, *_), (layer,) = viewer.readings, viewer.panels[-1].layers
    drawn = layer["lines"][0]
    assert drawn["name"] == line.label == "⌈Dice⌉" and layer["x"] == list(BETAS)
    assert [f"{y:.3f}" for y in drawn["y"]] == list(line.texts)
    assert len(viewer.legend) == 5, "no two meanings share a color"
    marked = viewer.arrays["marked"]
    assert len(np.unique(marked.reshape(len(BETAS), -1), axis=0)) > 1


def test_laying_a_texture_is_the_blend_of_the_package() -> None:
    import torch

    rng, b = np.random.default_rng(2), brain()
    image, brain_mask = b["image"][:, :, 4], b["mask"][:, :, 4]
    field, texture = rng.uniform(-1, 1, image.shape), rng.random(image.shape)
    viewer = viewers.anomaly_viewer(
        image, {"a": field, "b": -field}, {"a": texture, "b": texture}, brain_mask, alt="x"
    )
    held = {name: unpacked(entry) for name, entry in viewer.spec()["arrays"].items()}
    stop = 6  # τ = 0.3
    mask = held["levels"][0] > stop
    shown = held["image"] + 0.7 * mask * (held["texture"][0].astype(float) - held["image"])
    expected_mask = (field > np.float32(0.3)) & (brain_mask > 0)
    parts = (torch.from_numpy(v.astype(np.float32)) for v in (image, texture, expected_mask))
    expected = 255 * blend(*parts, torch.tensor(0.7)).numpy()
    assert np.abs(shown[::-1].T - expected).max() <= 1
    assert mask.sum() == expected_mask.sum() > 20
