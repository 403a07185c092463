"""The pages of a site as one document: unique ids, links that lead inside, nothing folded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sadm_utils.errors import UserError
from sadm_utils.pdf import assemble, build_pdf, cover_page, link_pdf, pages_in_order

TOC = {
    "root": "book/index",
    "parts": [{"caption": "Part <1>", "chapters": [{"file": "notebooks/01_a"}]}],
}
PAGE = """<html><head><title>{title} — The book</title>
<link rel="stylesheet" href="../_static/a.css"><script src="../_static/other.js"></script>
<script>window.MathJax = {{}}</script><script defer src="../_static/mathjax/tex-svg.js"></script>
</head><body><nav>menu</nav><article class="bd-article"><h1 id="top">{title}
<a class="headerlink" href="#top">#</a></h1>{body}<script>move()</script></article></body></html>"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    bodies = {
        "book/index": '<a href="../notebooks/01_a.html#top">on</a> <a href="#top">up</a>'
        '<a href="https://example.org/x#y">out</a> <a href="../search.html">search</a>',
        "notebooks/01_a": '<img src="../_images/a.png"><details><summary>s</summary>x</details>'
        '<a href="../book/index.html">back</a><button>press</button>',
    }
    for page, body in bodies.items():
        path = tmp_path / f"{page}.html"
        path.parent.mkdir(exist_ok=True)
        path.write_text(PAGE.format(title=f"Title of {page}", body=body))
    return tmp_path


def test_one_document_with_ids_and_links_of_its_own(site: Path) -> None:
    text = assemble(site, TOC, cover_page("The book", "Us", "<p>run</p>", "2026"))
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids)) and {"book-index", "notebooks-01-a--top"} <= set(ids)
    inside = re.findall(r'href="#([^"]+)"', text)
    assert set(inside) <= set(ids) and inside.count("notebooks-01-a--top") == 1
    assert 'href="https://example.org/x#y"' in text and "search.html" not in text
    assert 'src="_images/a.png"' in text and 'href="_static/a.css"' in text
    assert '<details open="">' in text


def test_screen_only_parts_stay_away_and_mathjax_comes_along(site: Path) -> None:
    text = assemble(site, TOC, "")
    for gone in ("menu", "move()", "headerlink", "<button", "other.js"):
        assert gone not in text
    assert "window.MathJax" in text and 'src="_static/mathjax/tex-svg.js"' in text
    assert "Part &lt;1&gt;" in text and text.count('class="number"') == 2


def test_every_page_links_to_the_pdf_that_lies_in_the_site(site: Path, tmp_path: Path) -> None:
    printed = tmp_path / "elsewhere" / "book.pdf"
    printed.parent.mkdir()
    pages = [site / "search.html", site / "book" / "index.html"]
    for page in pages:
        page.write_text('<footer><p class="shown-run">The run\nshown.</p></footer>')
    untouched = (site / "notebooks" / "01_a.html").read_text()
    for count in (7, 9):  # the second print replaces the link of the first
        printed.write_bytes(b"x" * 1_500_000)
        link_pdf(site, printed, count)
    for page in pages:
        text = page.read_text()
        links = re.findall(r'<p class="book-pdf"><a href="([^"]+)">', text)
        assert len(links) == 1 and (page.parent / links[0]).resolve() == site / "book.pdf"
        assert "PDF</a>: 9 pages, 1.5 MB." in text and text.endswith("</p></footer>")
    assert (site / "book.pdf").stat().st_size == 1_500_000
    assert (site / "notebooks" / "01_a.html").read_text() == untouched, "it has no such footer"


def test_order_is_that_of_the_contents() -> None:
    assert pages_in_order(TOC) == [("", "book/index"), ("Part <1>", "notebooks/01_a")]


def test_a_run_without_a_site_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no site"):
        build_pdf(tmp_path)
