"""How much a reader's browser has to load: the size of each page with all that it shows."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

# A page with all it loads has to come over a slow connection, too (3 MB = 3 · 10⁶ bytes). MathJax
# and the theme are loaded once for all pages, and counted in no page but in the site.
PAGE_LIMIT = 3 * 10**6
SHARED = "_static/"
LOADED = re.compile(r"""<(?:img|script|iframe|source|video)\b[^>]*?\bsrc\s*=\s*["']([^"']+)["']""")


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


def _size_of(path: Path, site: Path) -> PageSize:
    page = path.relative_to(site).as_posix()
    found = set()
    for address in LOADED.findall(path.read_text(errors="replace")):
        parts = urlsplit(address)
        if not parts.scheme and parts.path:
            target = posixpath.normpath(posixpath.join(posixpath.dirname(page), parts.path))
            if not target.startswith(SHARED):
                found.add(site / unquote(target))
    loaded = sum(file.stat().st_size for file in found if file.is_file())
    return PageSize(page, path.stat().st_size, loaded)


def size_words(site: Path) -> str:
    """One line: size of the site, number of pages, and the largest page."""
    files = [path for path in site.rglob("*") if path.is_file()]
    pages = page_sizes(site)
    largest = pages[0]
    return (
        f"{_megabytes(sum(f.stat().st_size for f in files))} in {len(pages)} pages, "
        f"the largest {largest.page} with {_megabytes(largest.total)}"
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
