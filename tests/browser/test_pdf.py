"""The PDF of the built site: every chapter is in it, on the page that its contents name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pypdf import PdfReader

from sadm_utils.pdf import assemble, pages_in_order, print_twice

pytestmark = pytest.mark.browser


def test_contents_name_the_pages_of_the_chapters(site: Path, browser: Any, tmp_path: Path) -> None:
    toc = yaml.safe_load((site.parent / "site" / "_toc.yml").read_text())
    page, output = site / "print.html", tmp_path / "book.pdf"
    page.write_text(assemble(site, toc, '<section class="cover"><h1>Cover</h1></section>'))
    try:
        numbers = print_twice(page, output, browser)
    finally:
        page.unlink()
    reader = PdfReader(str(output))
    count = len(reader.pages)
    print(f"\n[pdf] {count} pages, {output.stat().st_size / 2**20:.1f} MiB")
    chapters = pages_in_order(toc)
    starts = [numbers[re.sub(r"[^A-Za-z0-9]+", "-", name)] for _, name in chapters]
    assert starts == sorted(set(starts)) and count >= len(chapters) + 2
    contents = "\n".join(reader.pages[i].extract_text() for i in range(1, starts[0] - 1))
    assert all(re.search(rf"\b{start}\b", contents) for start in starts)
