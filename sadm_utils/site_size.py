"""How much a reader's browser has to load: the size of each page with all that it shows.

A page's size is that of its own HTML and of its own pictures and data. What all pages share (style,
scripts, MathJax) is no part of it: a browser loads that once, with the first page. It is counted
and named beside the page sizes, so a first visit costs the sum of the two.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

# A page with all of its own has to come over a slow connection, too (3 MB = 3 · 10⁶ bytes).
PAGE_LIMIT = 3 * 10**6
SHARED = "_static/"
LOADED = re.compile(r"""<(?:img|script|iframe|source|video)\b[^>]*?\bsrc\s*=\s*["']([^"']+)["']""")
LINKED = re.compile(r"""<link\b[^>]*?\bhref\s*=\s*["']([^"']+)["'][^>]*>""")


@dataclass(frozen=True)
class PageSize:
    """Bytes of a page's own HTML and of the pictures and data that only it loads."""

    page: str
    html: int
    loaded: int

    @property
    def total(self) -> int:
        """What a first visit costs beside the files that all pages share."""
        return self.html + self.loaded


def page_sizes(site: Path) -> list[PageSize]:
    """The pages of a built site, the largest first."""
    sizes = [_size_of(path, site) for path in sorted(site.rglob("*.html"))]
    return sorted(sizes, key=lambda size: -size.total)


def shared_size(site: Path) -> int:
    """Bytes of style sheets and scripts that pages share: of the page that asks for most of them.

    What style sheets ask for in turn is not in it: a font of icons.
    """
    return max(
        (_bytes_of(_files_of(path, site, True)) for path in site.rglob("*.html")), default=0
    )


def _size_of(path: Path, site: Path) -> PageSize:
    page = path.relative_to(site).as_posix()
    return PageSize(page, path.stat().st_size, _bytes_of(_files_of(path, site, False)))


def _files_of(path: Path, site: Path, shared: bool) -> set[Path]:
    """The files that a page loads: those that it shares with others, or those of its own."""
    page, text = path.relative_to(site).as_posix(), path.read_text(errors="replace")
    sheets = [found[1] for found in LINKED.finditer(text) if "stylesheet" in found[0]]
    found = set()
    for address in [*LOADED.findall(text), *sheets]:
        parts = urlsplit(address)
        if not parts.scheme and parts.path:
            target = posixpath.normpath(posixpath.join(posixpath.dirname(page), parts.path))
            if target.startswith(SHARED) == shared:
                found.add(site / unquote(target))
    return found


def _bytes_of(files: set[Path]) -> int:
    return sum(file.stat().st_size for file in files if file.is_file())


def size_words(site: Path) -> str:
    """One line: size of the site, number of pages, the largest page, and what all share."""
    files = [path for path in site.rglob("*") if path.is_file()]
    pages = page_sizes(site)
    largest = pages[0]
    return (
        f"{_megabytes(sum(f.stat().st_size for f in files))} in {len(pages)} pages, "
        f"the largest {largest.page} with {_megabytes(largest.total)}, "
        f"plus {_megabytes(shared_size(site))} shared by all pages, loaded once"
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
