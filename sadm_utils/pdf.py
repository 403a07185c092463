"""The whole book as one PDF, printed by Chromium from the pages of the built site.

The articles of all pages become one document: its ids are made unique, its links point into it,
what is folded is opened. It is printed twice, as the page numbers in the table of contents are
known only after the first time.
"""

from __future__ import annotations

import html
import os
import posixpath
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from sadm_utils.browser import NO_PLAYWRIGHT, chromium
from sadm_utils.errors import UserError
from sadm_utils.progress import Monitor, clock
from sadm_utils.publish import footer, read_records

PRINTED, SHEET = "print.html", "print.css"
# What helps on a screen only.
SCREEN_ONLY = (
    "script, .headerlink, button, noscript, .prev-next-footer, .toctree-wrapper, "
    ".screen-only, .tailored-toc"
)
# The line under every page, and below it the link to a PDF, if there is one already.
FOOTER = re.compile(r'(<p class="shown-run">.*?</p>)(?:\s*<p class="book-pdf">.*?</p>)?', re.DOTALL)
PAGE_NUMBER = (
    '<div style="width: 100%; text-align: center; font-size: 8pt; color: #555">'
    '<span class="pageNumber"></span></div>'
)
SETTINGS: dict[str, Any] = {
    "format": "A4",
    "margin": {"top": "18mm", "bottom": "20mm", "left": "18mm", "right": "18mm"},
    "print_background": True,
    "display_header_footer": True,
    "header_template": "<span></span>",
    "footer_template": PAGE_NUMBER,
    "outline": True,
    "tagged": True,
}
READY = """async () => {
    if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
    await document.fonts.ready;
    for (const image of document.images) {
        image.loading = 'eager';
        await image.decode().catch(() => 0);
    }
}"""
FILL_IN = """numbers => {
    for (const place of document.querySelectorAll('.book-contents .number'))
        place.textContent = numbers[place.dataset.page] ?? '';
}"""


def print_book(run_dir: Path) -> None:
    """Print the site of a run to PDF, link it there, and say where it is and how large."""
    from pypdf import PdfReader

    with Monitor(lambda seconds: f"[pdf] {clock(seconds)}") as monitor:
        output = build_pdf(run_dir)
    pages, size = len(PdfReader(str(output)).pages), output.stat().st_size / 2**20
    link_pdf(run_dir / "book", output, pages)
    print(f"[pdf] {pages} pages, {size:.1f} MiB, printed in {clock(monitor.seconds)}:\n  {output}")


def link_pdf(site: Path, printed: Path, count: int) -> None:
    """Put a copy of the PDF into the site it was printed from, and a link to it under every page.

    A site that is built anew has neither, so no link is dead and no PDF is older than its site.
    """
    shutil.copyfile(printed, site / printed.name)
    words = f"The whole book as one PDF</a>: {count} pages, {printed.stat().st_size / 1e6:.1f} MB."
    for path in site.rglob("*.html"):
        up = "../" * (len(path.relative_to(site).parts) - 1)
        line = f'\n<p class="book-pdf"><a href="{up}{printed.name}">{words}</p>'
        text = path.read_text(encoding="utf-8")
        linked = FOOTER.sub(lambda found, line=line: found[1] + line, text)
        if linked != text:
            path.write_text(linked, encoding="utf-8")


def build_pdf(run_dir: Path) -> Path:
    """Print the site of a run to ``run_dir/book.pdf``; return its path.

    Raises
    ------
    UserError
        If the run has no site, or there is no Chromium, Playwright or pypdf.
    """
    site = run_dir / "book"
    if not (site / "index.html").exists():
        raise UserError(f"{site} holds no site: run `make book` or `make site` first.")
    try:
        import pypdf  # noqa: F401
    except ImportError:
        raise UserError(NO_PLAYWRIGHT.replace("Playwright", "pypdf")) from None
    staged = run_dir / "site"
    config = yaml.safe_load((staged / "_config.yml").read_text())
    toc = yaml.safe_load((staged / "_toc.yml").read_text())
    records = read_records(sorted((run_dir / "executed").glob("[0-9]*.ipynb")))
    cover = cover_page(config["title"], config["author"], footer(records), config["copyright"])
    page, output = site / PRINTED, run_dir / "book.pdf"
    temporary = output.with_suffix(".tmp.pdf")
    try:
        page.write_text(assemble(site, toc, cover))
        with chromium() as browser:
            print_twice(page, temporary, browser)
        os.replace(temporary, output)
    finally:
        page.unlink(missing_ok=True)
        temporary.unlink(missing_ok=True)
    return output


def pages_in_order(toc: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(caption of the part, page without suffix) in the order of the table of contents."""
    pages = [("", toc["root"])]
    for part in toc["parts"]:
        pages += [(part["caption"], entry["file"]) for entry in part["chapters"]]
    return pages


def cover_page(title: str, author: str, run: str, rights: str) -> str:
    """HTML of the first page."""
    return (
        f'<section class="cover"><h1>{html.escape(title)}</h1><p>{html.escape(author)}</p>'
        f'{run}<p class="rights">© {html.escape(str(rights))}</p></section>'
    )


def assemble(site: Path, toc: Mapping[str, Any], cover: str) -> str:
    """One HTML document, to lie in ``site``: cover, contents, and the article of every page."""
    from bs4 import BeautifulSoup

    order = pages_in_order(toc)
    known = {page for _, page in order}
    contents, chapters, head, part = [], [], "", ""
    for caption, page in order:
        soup = BeautifulSoup((site / f"{page}.html").read_text(), "html.parser")
        head = head or _head(soup, page)
        article = soup.select_one("article.bd-article")
        if article is None:
            raise UserError(f"{site / page}.html holds no article: build the site again.")
        _fit(article, page, known)
        if caption != part:
            part = caption
            contents.append(f'<li class="part">{html.escape(part)}</li>')
        contents.append(_contents_line(article, page))
        chapters.append(f'<section class="chapter" id="{_anchor(page)}">{article}</section>')
    return (
        f'<!DOCTYPE html><html lang="en" data-theme="light" data-mode="light"><head>{head}</head>'
        f'<body class="printed">{cover}<nav class="book-contents"><h1>Contents</h1>'
        f"<ul>{''.join(contents)}</ul></nav>{''.join(chapters)}</body></html>"
    )


def _head(soup: Any, page: str) -> str:
    """Style sheets, MathJax and its settings, as seen from the top folder of the site."""
    kept = ['<meta charset="utf-8">', f"<title>{html.escape(_book_title(soup))}</title>"]
    for tag in soup.head.find_all(["link", "script"]):
        math = tag.name == "script" and (
            "MathJax" in tag.get_text() or "mathjax" in tag.get("src", "")
        )
        if math or (tag.name == "link" and "stylesheet" in tag.get("rel", [])):
            for name in ("href", "src"):
                if tag.get(name):
                    tag[name] = _from_top(tag[name], page)
            kept.append(str(tag))
    return "".join([*kept, f'<link rel="stylesheet" href="_static/{SHEET}">'])


def _book_title(soup: Any) -> str:
    return soup.title.get_text().split("—")[-1].strip() if soup.title else ""


def _contents_line(article: Any, page: str) -> str:
    """The chapter's title with a place for its page number; the number is a link's text."""
    heading = article.find("h1")
    title = heading.get_text(" ", strip=True) if heading else page
    target = _anchor(page)
    return (
        f'<li><a href="#{target}"><span>{html.escape(title)}</span>'
        f'<span class="number" data-page="{target}">000</span></a></li>'
    )


def _fit(article: Any, page: str, known: set[str]) -> None:
    """Make an article part of the one document, in place."""
    for tag in article.select(SCREEN_ONLY):
        tag.decompose()
    for tag in article.find_all("details"):
        tag["open"] = ""
    for tag in article.find_all(id=True):
        tag["id"] = _anchor(page, tag["id"])
    for name in ("for", "aria-describedby", "aria-labelledby"):
        for tag in article.find_all(attrs={name: True}):
            tag[name] = _anchor(page, tag[name])
    for tag in article.find_all(src=True):
        tag["src"] = _from_top(tag["src"], page)
    for tag in article.find_all("a", href=True):
        if target := _link(tag["href"], page, known):
            tag["href"] = target
        else:
            del tag["href"]


def _link(address: str, page: str, known: set[str]) -> str:
    """A link as the document needs it: into itself, or to the network; empty if to neither."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return address
    target = _from_top(parts.path, page) if parts.path else f"{page}.html"
    stem = target.removesuffix(".html")
    if target.endswith(".html") and stem in known:
        return f"#{_anchor(stem, unquote(parts.fragment))}"
    return ""


def _from_top(address: str, page: str) -> str:
    """A relative address on ``page`` as seen from the top folder of the site."""
    if urlsplit(address).scheme or address.startswith(("#", "//")):
        return address
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), address))


def _anchor(page: str, fragment: str = "") -> str:
    """An id that no other page has. Chromium keeps ids of plain letters as names in the PDF."""
    stem = re.sub(r"[^A-Za-z0-9]+", "-", page)
    return f"{stem}--{fragment}" if fragment else stem


def print_twice(page: Path, output: Path, browser: Any) -> dict[str, int]:
    """Print a document to PDF, with page numbers in its contents.

    Returns
    -------
    The page number, from 1, of every place that a link leads to; chapters are among them.
    """
    from pypdf import PdfReader

    context = browser.new_context(offline=True)
    try:
        tab = context.new_page()
        tab.set_default_timeout(300_000)
        tab.goto(page.as_uri())
        tab.evaluate(READY)
        tab.pdf(path=str(output), **SETTINGS)
        numbers = _pages_of_names(PdfReader(str(output)))
        tab.evaluate(FILL_IN, numbers)
        tab.pdf(path=str(output), **SETTINGS)
    finally:
        context.close()
    return numbers


def _pages_of_names(reader: Any) -> dict[str, int]:
    """Page number, from 1, of each place in a PDF that a link leads to."""
    found = {}
    for name, place in reader.named_destinations.items():
        number = reader.get_destination_page_number(place)
        if number is not None:
            found[str(name).lstrip("/")] = number + 1
    return found
