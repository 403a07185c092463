"""A Sphinx extension: pages that load nothing from the network, and open from the disk.

MathJax is copied into the site from the wheel of ``sphinx-mathjax-offline`` (one file of it), and
the scripts of thebe, which would load a kernel client from a content network, are left out. The
button to Colab, if there is one, leads to the published copy of a notebook.
"""

from __future__ import annotations

import re
import shutil
from importlib.metadata import files
from pathlib import Path
from typing import Any

MATHJAX = "mathjax/tex-svg.js"
# Colab opens notebooks from a branch: the workflow `pages` pushes the site to this one, with copies
# that install the book in their first cell (sadm_utils/publish.py).
PUBLISHED_BRANCH, COLAB_FOLDER = "gh-pages", "colab"
FONT_PRELOAD = re.compile(r'<link rel="preload" as="font"[^>]*>\s*')


def setup(app: Any) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.config.mathjax_path = MATHJAX
    app.connect("html-page-context", _drop_thebe, priority=900)
    app.connect("html-page-context", _lead_to_copies, priority=900)
    app.connect("build-finished", _copy_mathjax)
    app.connect("build-finished", _drop_font_preloads)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _drop_thebe(app: Any, page: str, template: str, context: dict, doctree: Any) -> None:
    def is_thebe(script: Any) -> bool:
        body = getattr(script, "attributes", {}).get("body") or ""
        return "thebe" in str(getattr(script, "filename", script)) or "thebe" in body

    context["script_files"] = [s for s in context.get("script_files", []) if not is_thebe(s)]


def _lead_to_copies(app: Any, page: str, template: str, context: dict, doctree: Any) -> None:
    branch = app.config.html_theme_options.get("repository_branch", "")
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if button.get("text") == "Colab":
                button["url"] = colab_link(button["url"], branch)


def colab_link(url: str, branch: str) -> str:
    """Turn the theme's Colab link to the repository's notebook into one to the published copy."""
    return url.replace(
        f"/blob/{branch}/notebooks/", f"/blob/{PUBLISHED_BRANCH}/{COLAB_FOLDER}/"
    )


def _copy_mathjax(app: Any, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        target = Path(app.outdir) / "_static" / MATHJAX
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(mathjax_file(), target)


def _drop_font_preloads(app: Any, error: Exception | None) -> None:
    """Icons are drawn as SVG; a font asked for in advance is an error of a page on the disk."""
    if error is None and app.builder.format == "html":
        for page in Path(app.outdir).rglob("*.html"):
            text = page.read_text(encoding="utf-8")
            page.write_text(FONT_PRELOAD.sub("", text), encoding="utf-8")


def mathjax_file() -> Path:
    """Path of the one-file MathJax in the installed wheel."""
    wheel = files("sphinx-mathjax-offline") or []
    return Path(str(next(f for f in wheel if str(f).endswith(MATHJAX)).locate()))
