"""The viewers in Chromium, from a file, with the network off: sliders move pictures and numbers."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sadm_utils.evaluation.metrics import confusion_at
from sadm_utils.sadm.fusion import fuse
from sadm_utils.viewers.pack import box, on_screen
from sadm_utils.viewers.threshold import slider_edges
from tests.browser.on_page import broken_viewers, viewers_of_notebook
from tests.viewers.examples import all_viewers, brain, threshold

pytestmark = pytest.mark.browser
NAMES = ("slices", "threshold", "fusion", "noise", "masks", "anomalies")
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Viewers</title>
<meta name="viewport" content="width=device-width"><body>{}</body></html>"""
# Which cells of a gray picture have a color, by the pixel in the middle of each.
COLORED = """(canvas, [rows, columns]) => {
  const copy = document.createElement("canvas");
  const w = (copy.width = canvas.width) / columns, h = (copy.height = canvas.height) / rows;
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  return [...Array(rows).keys()].map((y) => [...Array(columns).keys()].map((x) => {
    const [r, g, b] = context.getImageData((x + 0.5) * w, (y + 0.5) * h, 1, 1).data;
    return r !== g || g !== b;
  }));
}"""
PIXELS = "root => [...root.querySelectorAll('canvas')].map(c => c.toDataURL()).join()"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Chromium, the one on the path or Playwright's; where it must be there, not a skip."""
    must = os.environ.get("SADM_REQUIRE_BROWSER") == "1"
    sync_api = pytest.importorskip("playwright.sync_api") if not must else None
    if sync_api is None:
        from playwright import sync_api
    program = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=program, args=["--disable-gpu"])
        except sync_api.Error as error:
            if must:
                raise
            pytest.skip(f"no Chromium here: {error}")
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All six viewers on one page."""
    path = tmp_path_factory.mktemp("page") / "viewers.html"
    figures = (f'<div data-name="{n}">{v.html()}</div>' for n, v in all_viewers().items())
    path.write_text(PAGE.format("\n".join(figures)))
    return path


@pytest.fixture(scope="module")
def tab(chromium: Any, file: Path) -> Iterator[Any]:
    """The page, opened once; complaints and requests are in ``tab.said``."""
    context = chromium.new_context(viewport={"width": 1000, "height": 900}, offline=True)
    page = context.new_page()
    page.said = []
    page.on("console", lambda line: page.said.append(line.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda r: page.said.append(r.url) if r.url.startswith("http") else None)
    page.goto(file.as_uri())
    page.wait_for_function(
        "document.querySelectorAll('.sadm-viewer[data-state=ready]').length === 6", timeout=20_000
    )
    yield page
    context.close()


def viewer_of(tab: Any, name: str) -> Any:
    return tab.locator(f"[data-name={name}] .sadm-viewer")


def settle(tab: Any) -> None:
    """Wait until what a slider has asked for is drawn."""
    tab.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")


@pytest.mark.parametrize("name", NAMES)
def test_every_slider_changes_the_picture_by_key(tab: Any, name: str) -> None:
    viewer = viewer_of(tab, name)
    sliders = viewer.get_by_role("slider")
    assert sliders.count() >= 1
    for number in range(sliders.count()):
        slider = sliders.nth(number)
        low = slider.input_value() == slider.get_attribute("max")
        before = viewer.evaluate(PIXELS), slider.get_attribute("aria-valuetext")
        slider.focus()
        for _ in range(3):
            slider.press("ArrowLeft" if low else "ArrowRight")
        settle(tab)
        after = viewer.evaluate(PIXELS), slider.get_attribute("aria-valuetext")
        assert before[0] != after[0], "the picture has not changed"
        assert before[1] != after[1], "a screen reader would not know"


@pytest.mark.parametrize("name", NAMES)
def test_a_slider_answers_to_a_pointer_and_disturbs_no_other(tab: Any, name: str) -> None:
    others = {n: viewer_of(tab, n).evaluate(PIXELS) for n in NAMES if n != name}
    viewer = viewer_of(tab, name)
    slider = viewer.get_by_role("slider").first
    slider.press("Home")
    settle(tab)
    before = viewer.evaluate(PIXELS)
    place = slider.bounding_box()
    slider.click(position={"x": 0.6 * place["width"], "y": place["height"] / 2})
    settle(tab)
    assert viewer.evaluate(PIXELS) != before
    assert all(viewer_of(tab, n).evaluate(PIXELS) == pixels for n, pixels in others.items())


def test_the_threshold_shows_the_dice_of_the_package(tab: Any) -> None:
    b = brain()
    score = fuse(b["residual"], b["supervised"])
    edges = slider_edges(score[(b["mask"] > 0) | (b["seg"] > 0)], 0.5, None)
    viewer = viewer_of(tab, "threshold")
    slider, seen = viewer.get_by_role("slider", name="threshold"), set()
    for stop in range(0, len(edges), len(edges) // 10):
        slider.fill(str(stop))
        settle(tab)
        truth = confusion_at(score, b["seg"], edges[stop], b["mask"])
        for name in ("dice", "precision", "recall"):
            output, expected = viewer.locator(f"[data-rate={name}]"), getattr(truth, name)
            assert float(output.get_attribute("data-value")) == expected, (name, stop)
            assert output.inner_text() == f"{expected:.3f}"
        seen.add(truth.dice)
    assert len(seen) >= 10, "ten different values were compared"


def test_what_is_colored_is_what_scores(tab: Any) -> None:
    b, made, stop, k = brain(), threshold(), 60, 4
    score = fuse(b["residual"], b["supervised"])
    edges = slider_edges(score[(b["mask"] > 0) | (b["seg"] > 0)], 0.5, None)
    viewer = viewer_of(tab, "threshold")
    viewer.get_by_role("slider", name="threshold").fill(str(stop))
    viewer.get_by_role("slider", name="slice").fill(str(made.sliders[1].texts.index(f"slice {k}")))
    settle(tab)
    colored = viewer.locator("canvas").first.evaluate(COLORED, list(made.panels[0].shape))
    marked = (score >= edges[stop]) & (b["mask"] > 0) | (b["seg"] > 0)
    part = box((score >= edges[0]) | (b["seg"] > 0) | (b["image"] > 0))
    assert np.array_equal(np.array(colored), on_screen(marked[part][:, :, k - part[2].start]))


def test_it_is_readable_on_a_phone_in_the_dark_and_on_paper(chromium: Any, file: Path) -> None:
    context = chromium.new_context(
        viewport={"width": 390, "height": 800}, color_scheme="dark", has_touch=True, offline=True
    )
    page = context.new_page()
    page.goto(file.as_uri())
    page.wait_for_function(
        "document.querySelectorAll('.sadm-viewer[data-state=ready]').length === 6", timeout=20_000
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    sizes = page.evaluate(
        "[...document.querySelectorAll('.sadm-viewer :is(span, figcaption, output)')]"
        ".map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= 14
    stills = page.locator(".sadm-viewer .still")
    assert not stills.first.is_visible()
    slider = viewer_of(page, "slices").get_by_role("slider").first
    before = viewer_of(page, "slices").evaluate(PIXELS)
    place = slider.bounding_box()
    page.touchscreen.tap(place["x"] + 0.1 * place["width"], place["y"] + place["height"] / 2)
    settle(page)
    assert viewer_of(page, "slices").evaluate(PIXELS) != before
    page.emulate_media(media="print")
    assert all(stills.nth(n).is_visible() for n in range(6))
    assert not page.locator("canvas").first.is_visible()
    context.close()


def test_without_scripts_there_is_a_picture(chromium: Any, file: Path) -> None:
    context = chromium.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(file.as_uri())
    assert all(still.is_visible() for still in page.locator(".still").all())
    assert not page.locator("input").first.is_visible()
    context.close()


def test_it_starts_where_a_notebook_inserts_it(chromium: Any, tmp_path: Path) -> None:
    """JupyterLab sets the HTML of an element and then makes its scripts anew, in place."""
    (tmp_path / "empty.html").write_text(PAGE.format(""))
    page = chromium.new_page()
    page.goto((tmp_path / "empty.html").as_uri())
    for _ in range(2):  # the same figure twice on a page
        page.evaluate(
            """html => {
              const host = document.createElement("div");
              host.innerHTML = html;
              for (const script of host.querySelectorAll("script")) {
                const again = document.createElement("script");
                for (const { name, value } of script.attributes) again.setAttribute(name, value);
                again.textContent = script.textContent;
                script.replaceWith(again);
              }
              document.body.append(host);
            }""",
            threshold().html(),
        )
    page.wait_for_function(
        "document.querySelectorAll('.sadm-viewer[data-state=ready]').length === 2", timeout=20_000
    )
    first, second = page.locator(".sadm-viewer").all()
    before = second.evaluate(PIXELS)
    first.get_by_role("slider").first.press("Home")
    settle(page)
    assert first.evaluate(PIXELS) != before == second.evaluate(PIXELS)
    page.close()


def test_the_check_of_pages_finds_a_viewer_that_is_broken(chromium: Any, tmp_path: Path) -> None:
    whole = threshold().html()
    cut = re.sub(r'"data":"\w{20}', '"data":"', whole, count=1)
    still = whole.replace("for (const layer of view.spec.panels[n])", "for (const layer of [])")
    dead = whole.replace("window.sadmViewers();", "")
    found, said = {}, {}
    for name, html in {"whole": whole, "cut": cut, "still": still, "dead": dead}.items():
        assert name == "whole" or html != whole, name
        (tmp_path / f"{name}.html").write_text(PAGE.format(html))
        page, lines = chromium.new_page(), []
        page.on("console", lambda line, to=lines: to.append(line.type))
        page.goto((tmp_path / f"{name}.html").as_uri())
        found[name], said[name] = broken_viewers(page), lines
        page.close()
    assert found["whole"] == [] == said["whole"]
    assert found["cut"][0].startswith("failed: ") and "error" in said["cut"]
    assert [line.split()[1] for line in found["still"]] == ["threshold", "slice"]
    assert found["dead"][0].startswith("never started: ")


def test_viewers_of_a_notebook_are_counted_from_its_cells() -> None:
    notebooks = Path(__file__).parents[2] / "notebooks"
    counts = [viewers_of_notebook(path) for path in sorted(notebooks.glob("*.ipynb"))]
    assert counts == [0, 1, 1, 1, 0, 3, 0, 0, 0]


def test_nobody_complained_and_nothing_was_requested(tab: Any) -> None:
    assert tab.said == []
