"""A Sphinx extension: pages that load nothing from the network.

MathJax is copied into the site from the wheel of ``sphinx-mathjax-offline`` (one file of it), and
the scripts of thebe, which would load a kernel client from a content network, are left out.
"""

from __future__ import annotations

import shutil
from importlib.metadata import files
from pathlib import Path
from typing import Any

MATHJAX = "mathjax/tex-svg.js"


def setup(app: Any) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.config.mathjax_path = MATHJAX
    app.connect("html-page-context", _drop_thebe, priority=900)
    app.connect("build-finished", _copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _drop_thebe(app: Any, page: str, template: str, context: dict, doctree: Any) -> None:
    def is_thebe(script: Any) -> bool:
        body = getattr(script, "attributes", {}).get("body") or ""
        return "thebe" in str(getattr(script, "filename", script)) or "thebe" in body

    context["script_files"] = [s for s in context.get("script_files", []) if not is_thebe(s)]


def _copy_mathjax(app: Any, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        target = Path(app.outdir) / "_static" / MATHJAX
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(mathjax_file(), target)


def mathjax_file() -> Path:
    """Path of the one-file MathJax in the installed wheel."""
    wheel = files("sphinx-mathjax-offline") or []
    return Path(str(next(f for f in wheel if str(f).endswith(MATHJAX)).locate()))
