"""Every page of the built site in a real browser, with the network off and from ``file://``."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from sadm_utils.cddpm.training import load_cddpm
from sadm_utils.data.examples import example_brain
from sadm_utils.data.stage import open_data
from sadm_utils.evaluation.metrics import best_dice, confusion_at
from sadm_utils.evaluation.scoring import compute_maps
from sadm_utils.evaluation.stage import finished_networks
from sadm_utils.execute import PACKAGE
from sadm_utils.publish import read_records
from sadm_utils.runs import open_run
from sadm_utils.sadm.fusion import fuse
from sadm_utils.sadm.training import load_network
from sadm_utils.site_size import PAGE_LIMIT, page_sizes, shared_size, size_words
from sadm_utils.viewers.pack import unpacked
from sadm_utils.viewers.threshold import slider_edges
from tests.browser.conftest import DARK, DESKTOP, LIGHT, PHONE, OpenPage
from tests.browser.on_page import broken_viewers, rates_at, spec_of, viewers_of_notebook

pytestmark = pytest.mark.browser
SERIOUS = ("serious", "critical")
# What is wider than its box: (what it is, by how many pixels, its text).
TOO_WIDE = """() => {
    const out = [];
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth > width + 1)
        out.push('the page scrolls sideways by '
            + (document.documentElement.scrollWidth - width) + ' px');
    const scrolls = e => ['auto', 'scroll', 'hidden'].includes(getComputedStyle(e).overflowX);
    for (const e of document.querySelectorAll(
            'article :is(img, svg, table, pre, p, li, h1, h2, h3, mjx-container, input, button)')) {
        const box = e.getBoundingClientRect();
        if (!box.width || box.right <= width + 1) continue;
        let parent = e;
        while (parent.tagName !== 'ARTICLE' && !scrolls(parent)) parent = parent.parentElement;
        if (parent.tagName === 'ARTICLE')
            out.push(e.tagName + ' ends at ' + Math.round(box.right) + ' px: '
                + (e.textContent || e.alt || '').trim().slice(0, 60));
    }
    return out;
}"""
IMAGES = """() => [...document.images].filter(i => i.closest('article')).map(i => ({
    source: i.getAttribute('src').slice(0, 80), alt: i.alt.trim(), loaded: i.naturalWidth > 0,
    decoration: i.getAttribute('role') === 'presentation'}))"""
WIDE_CODE = """() => [...document.querySelectorAll('article pre')]
    .filter(e => e.scrollWidth > e.clientWidth + 1 && !e.closest('.cell_output'))
    .map(e => (e.scrollWidth - e.clientWidth) + ' px: ' + e.textContent.split('\\n')
        .reduce((a, b) => a.length > b.length ? a : b))"""
# What goes on beyond its box fades there, and a figure that was drawn for a phone has no box.
UNMARKED = """() => [...document.querySelectorAll(
        'article :is(.pst-scrollable-table-container, .wide-figure, pre, div.math mjx-container)')]
    .filter(e => ['auto', 'scroll'].includes(getComputedStyle(e).overflowX)
        && e.scrollWidth > e.clientWidth + 2 && !e.classList.contains('more'))
    .map(e => e.tagName + ' ' + e.className + ': ' + e.textContent.trim().slice(0, 40))
    .concat([...document.querySelectorAll('.wide-figure img.fits-phone')].map(i => i.alt))"""
SHOWN_RUN = "() => document.querySelector('p.shown-run')?.innerText ?? ''"
MATH_FAILED = "() => document.querySelectorAll('mjx-merror, [data-mml-node=merror]').length"


Findings = dict[str, dict[str, list[Any]]]


@pytest.fixture(scope="module")
def found(open_page: OpenPage, pages: list[str]) -> Findings:
    """One round over all pages: for each kind of finding, the pages that have any."""
    findings: Findings = defaultdict(dict)

    def note(kind: str, page: str, seen: list[Any]) -> None:
        if seen:
            findings[kind][page] = seen

    for page in pages:
        visit = open_page(page)
        tab = visit.tab
        note("axe light", page, serious_findings(tab))
        images = tab.evaluate(IMAGES)
        note("alt", page, [i["source"] for i in images if not _described(i)])
        note("not loaded", page, [i["source"] for i in images if not i["loaded"]])
        note("math", page, [1] * tab.evaluate(MATH_FAILED))
        note("wide", page, tab.evaluate(TOO_WIDE))
        note("wide code", page, tab.evaluate(WIDE_CODE))
        note("viewers", page, broken_viewers(tab) + missing_viewers(tab, page))
        run = tab.evaluate(SHOWN_RUN)
        note("run", page, [] if "profile" in run and " on " in run else [run or "no word of it"])
        tab.emulate_media(color_scheme=DARK)  # only colors change
        tab.wait_for_selector("html[data-theme=dark]", state="attached")
        note("axe dark", page, serious_findings(tab, ["color-contrast", "link-in-text-block"]))
        tab.emulate_media(color_scheme=LIGHT)
        tab.set_viewport_size({"width": PHONE, "height": 844})
        tab.wait_for_timeout(100)
        note("phone", page, tab.evaluate(TOO_WIDE))
        note("unmarked", page, tab.evaluate(UNMARKED))
        note("console", page, visit.errors)
        note("external", page, visit.external)
        tab.close()
    return findings


def missing_viewers(tab: Any, page: str) -> list[str]:
    """What to say of a page that shows fewer viewers than its notebook makes."""
    source = PACKAGE.parent / Path(page).with_suffix(".ipynb")
    wanted = viewers_of_notebook(source) if source.exists() else 0
    there = tab.locator(".sadm-viewer").count()
    return [] if there == wanted else [f"{there} viewers, and {wanted} in the notebook"]


def _described(image: dict[str, Any]) -> bool:
    """An alternative text is words, not the name of a file."""
    words = image["alt"].split()
    return image["decoration"] or (len(words) >= 3 and not words[0].endswith(".png"))


def serious_findings(tab: Any, rules: list[str] | None = None) -> list[str]:
    """What axe-core finds serious or critical: the rule, the place, and the reason."""
    # Its preload would read the style sheets once more, which a page on the disk may not.
    options: dict[str, Any] = {"resultTypes": ["violations"], "preload": False}
    if rules:
        options["runOnly"] = {"type": "rule", "values": rules}
    violations = Axe().run(tab, options=options).response["violations"]
    return [
        f"{v['id']} at {' '.join(map(str, node['target']))}: {node.get('failureSummary', '')}"
        for v in violations
        if v["impact"] in SERIOUS
        for node in v["nodes"]
    ]


KINDS = {
    "console": "console errors",
    "external": "requests to the network",
    "alt": "images without an alternative text",
    "not loaded": "images that do not load",
    "axe light": "serious accessibility findings, light",
    "axe dark": "serious accessibility findings, dark",
    "wide": f"parts wider than the page at {DESKTOP} px",
    "wide code": f"lines of code that scroll at {DESKTOP} px",
    "phone": f"parts wider than the page at {PHONE} px",
    "unmarked": f"parts that are cut at {PHONE} px without a sign of it",
    "viewers": "viewers that do not work",
    "run": "pages that do not say which run they show",
    "math": "formulas that MathJax could not set",
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_page_has(kind: str, found: Findings) -> None:
    listed = [
        f"{page}: {item}" for page, items in found[kind].items() for item in dict.fromkeys(items)
    ]
    assert not listed, f"{KINDS[kind]}:\n" + "\n".join(listed)


def test_the_checks_see_what_is_wrong(browser: Any) -> None:
    tab = browser.new_page(viewport={"width": 390, "height": 600})
    tab.set_content(
        '<html lang="en"><title>x</title><article><img src="data:," alt="a.png">'
        '<p style="color:#999; background:#fff">faint</p><table><tr><td style="min-width:600px">'
        "wide</td></tr></table><pre style='overflow:auto;width:50px'>long long long</pre>"
    )
    assert any("color-contrast" in line for line in serious_findings(tab))
    assert [i for i in tab.evaluate(IMAGES) if not _described(i) and not i["loaded"]]
    assert any("TABLE" in line for line in tab.evaluate(TOO_WIDE))
    assert tab.evaluate(WIDE_CODE)
    assert any(line.startswith("PRE") for line in tab.evaluate(UNMARKED))
    tab.close()


def test_search_finds_a_word_of_the_book(open_page: OpenPage) -> None:
    visit = open_page("search.html?q=residual")
    visit.tab.wait_for_selector("#search-results li a")
    titles = visit.tab.locator("#search-results li a").all_inner_texts()
    assert len(titles) >= 3 and not visit.errors and not visit.external
    visit.tab.close()


def test_dark_and_light_follow_the_system_and_the_button(open_page: OpenPage) -> None:
    colors = {}
    for scheme in (LIGHT, DARK):
        visit = open_page("book/index.html", DESKTOP, scheme)
        read = "() => getComputedStyle(document.body).backgroundColor"
        colors[scheme] = visit.tab.evaluate(read)
        if scheme == LIGHT:
            button = visit.tab.locator("button.theme-switch-button:visible").first
            for _ in range(3):  # auto, light, dark in turns
                button.click()
                colors.setdefault("clicked", set()).add(visit.tab.evaluate(read))
            visit.tab.evaluate("() => localStorage.clear()")
        visit.tab.close()
    assert colors[LIGHT] != colors[DARK] and colors["clicked"] == {colors[LIGHT], colors[DARK]}


def test_the_threshold_of_chapter_6_shows_the_dice_of_the_package(
    open_page: OpenPage, site: Path
) -> None:
    """Ten thresholds: counted in the page's own levels, and in a map made anew by the run."""
    visit = open_page("notebooks/06_evaluation.html")
    viewer = visit.tab.locator(".sadm-viewer:has([data-rate=dice])")
    spec = spec_of(viewer)
    level, truth = (unpacked(spec["arrays"][name]) for name in ("levels", "truth"))
    start = int(viewer.locator("input[name=threshold]").input_value())
    score, lesion, mask = map_of_chapter_6(site.parent)
    edges = slider_edges(score[mask | (lesion > 0)], best_dice(score, lesion)[1], None)
    texts = spec["texts"]["threshold"]
    assert len(edges) == len(texts) and abs(edges[start] / float(texts[start]) - 1) < 1e-3
    stops = sorted({start, *range(0, len(edges), len(edges) // 10)})
    shown = [rates_at(viewer, stop) for stop in stops]
    for stop, rates in zip(stops, shown, strict=True):
        packed, made = (
            confusion_at(level, truth, stop + 1), confusion_at(score, lesion, edges[stop], mask)
        )  # fmt: skip
        for name, value in rates.items():
            assert value == pytest.approx(getattr(packed, name), abs=0, nan_ok=True), (name, stop)
            # The map was made again, and rounds otherwise on another machine.
            assert value == pytest.approx(getattr(made, name), abs=2e-3, nan_ok=True), (name, stop)
    assert len(stops) >= 10 and len({rates["dice"] for rates in shown}) >= 5
    visit.tab.close()


def map_of_chapter_6(run_dir: Path) -> tuple[Any, Any, Any]:
    """Anomaly map, lesion and brain mask of the running example, as notebook 06 makes them."""
    (record,) = read_records([run_dir / "executed" / "06_evaluation.ipynb"])
    given = record["parameters"]
    run = open_run(
        given["PROFILE"], run_dir, given.get("DATA_DIR", ""), given.get("SEED", 0),
        given.get("OVERRIDES"),
    )  # fmt: skip
    volumes = example_brain(run, open_data(run))
    image, mask, seg = (volumes.volume(0, part) for part in ("image", "mask", "seg"))
    name = next(key for key in finished_networks(run) if key[1] == "residual")
    networks = {name: load_network(run, *name)}
    maps = compute_maps(
        image, mask, load_cddpm(run), networks, run.config.evaluation, run.seed, seg
    )
    return fuse(maps.residual, maps.supervised[name]), maps.seg, maps.mask > 0


def test_notebooks_can_be_downloaded(open_page: OpenPage, site: Path, pages: list[str]) -> None:
    for page in [p for p in pages if p.startswith("notebooks/")]:
        visit = open_page(page)
        links = visit.tab.evaluate(
            "() => [...document.querySelectorAll('a[href$=\".ipynb\"]')].map(a => a.href)"
        )
        links = [link for link in links if link.startswith("file:")]  # not those to Colab
        assert links and all(Path(link.removeprefix("file://")).is_file() for link in links), page
        visit.tab.close()


def test_a_table_of_sentences_is_read_by_row_on_a_phone(open_page: OpenPage) -> None:
    visit = open_page("book/paper_code_book.html", PHONE)
    box = visit.tab.locator(".stacked-table").first
    assert box.evaluate("e => e.scrollWidth <= e.clientWidth")
    row = box.locator("tbody tr").first
    tops = row.evaluate("e => [...e.cells].map(c => c.getBoundingClientRect().top)")
    assert tops == sorted(set(tops)) and len(tops) == 5, "one cell below the other"
    names = row.evaluate("e => [...e.cells].map(c => getComputedStyle(c, '::before').content)")
    assert names[0] == "none" and names[1:4] == ['"paper"', '"released code"', '"this book"']
    assert row.get_by_role("cell").count() == 5, "a screen reader still finds a table"
    visit.tab.set_viewport_size({"width": DESKTOP, "height": 900})
    assert row.evaluate("e => new Set([...e.cells].map(c => c.offsetTop)).size") == 1
    visit.tab.close()


def test_the_size_of_what_pages_share_is_what_a_browser_loads(
    open_page: OpenPage, site: Path
) -> None:
    visit = open_page("notebooks/04_cddpm_training.html")
    asked = {Path(url.partition("?")[0].removeprefix("file://")) for url in visit.requests}
    visit.tab.close()
    shared = [path for path in asked if (site / "_static") in path.parents and path.is_file()]
    loaded = sum(path.stat().st_size for path in shared)
    assert loaded == pytest.approx(shared_size(site), rel=0.05), sorted(p.name for p in shared)


def test_pages_are_small(site: Path) -> None:
    print(f"\n[site] {size_words(site)}")
    for size in page_sizes(site)[:5]:
        print(f"[site] {size.total / 1e6:5.2f} MB  {size.page}")
    assert {s.page: s.total for s in page_sizes(site) if s.total > PAGE_LIMIT} == {}
