"""Read the pages of the book as a reader does: find terms, links and words in running text.

As a program it links each glossary term at its first use on every page:

    python tests/prose.py --link
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).resolve().parent.parent
# Words of the glossary that are everyday English, too: which sense is meant, no program can tell.
EVERYDAY = {
    "annotation", "batch", "condition", "contrast", "fold", "Intensity", "kernel", "loss",
    "network", "run", "stage", "training", "truth", "vector", "volume",
    "SADM",  # the name of the book: a link on each page would say nothing
}  # fmt: skip
# Pages that are made of terms, or that talk about them.
EXEMPT = {"book/glossary", "book/changelog", "book/bibliography", "book/style", "book/notation"}
KEPT_FENCES = ("admonition", "note", "tip", "warning")
NOT_AFTER = {"residual": r"(?!\s+(?:block|branch|network)s?)"}


@dataclass(frozen=True)
class Piece:
    """A page of Markdown, or one Markdown cell of a notebook."""

    page: str  # as in _toc.yml
    cell: int | None
    text: str


def page_names() -> list[str]:
    """All pages of the table of contents, in order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    parts = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    return [toc["root"], *parts]


def page_path(name: str) -> Path:
    """The source of a page."""
    return ROOT / f"{name}.{'ipynb' if name.startswith('notebooks/') else 'md'}"


def pieces(name: str) -> list[Piece]:
    """The Markdown of a page in order."""
    path = page_path(name)
    if path.suffix == ".md":
        return [Piece(name, None, path.read_text())]
    cells = nbformat.read(path, as_version=4).cells
    return [
        Piece(name, number, cell.source)
        for number, cell in enumerate(cells)
        if cell.cell_type == "markdown"
    ]


def glossary() -> list[str]:
    """The terms of the glossary, longest first."""
    text = (ROOT / "book" / "glossary.md").read_text()
    block = text.split("```{glossary}\n")[1].split("```")[0]
    terms = [line.strip() for line in block.splitlines() if line.strip() and line[0] != " "]
    return sorted(terms, key=len, reverse=True)


def running_text(text: str, headings_and_tables: bool = False) -> str:
    """Blank out all that is not running text, and keep every character in its place.

    Headings and tables (unless asked for), code, math, figures, captions, comments, links, roles
    and the titles of boxes are no running text; the bodies of boxes are.
    """

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    kept = "|".join(KEPT_FENCES)
    text = re.sub(rf"^(`{{3,}}|:{{3,}})(?!\{{(?:{kept})\}})[^\n]*\S[^\n]*\n.*?^\1[ \t]*$", blank,
                  text, flags=re.DOTALL | re.MULTILINE)  # fmt: skip
    kept_too = () if headings_and_tables else (r"^#+ [^\n]*$", r"^[ \t]*\|[^\n]*$")
    for pattern in (
        *kept_too,
        r"<!--.*?-->",
        r"\$\$.*?\$\$",
        r"^(?:`{3,}|:{3,})[^\n]*$",  # what opens or closes a box
        r"^:[\w-]+:[^\n]*$",
        r"^\([\w-]+\)=$",
        r"^\*(?!\*)[^*]+\*$(?=\n\n|\n?\Z)",  # a caption: a paragraph in italics
        r"\{[\w:]+\}`[^`]*`",
        r"`[^`\n]*`",
        r"\$[^$]*\$",
        r"!?\[[^\]]*\]\([^)]*\)",
        r"https?://\S+",
    ):
        text = re.sub(pattern, blank, text, flags=re.DOTALL | re.MULTILINE)
    return text


def pattern_of(term: str) -> re.Pattern[str]:
    """Where a text speaks of a term, in the singular or plural."""
    flags = 0 if term != term.lower() else re.IGNORECASE
    words = r"\s+".join(map(re.escape, term.split()))
    body = rf"(?<![\w⌈-]){words}(?:e?s)?(?![\w⌉-]){NOT_AFTER.get(term, '')}"
    return re.compile(body, flags)


def uses(text: str, terms: list[str]) -> Iterator[tuple[str, re.Match[str]]]:
    """(term, match) of each use in running text; a longer term hides the shorter one inside it."""
    prose = running_text(text)
    for term in terms:
        for match in pattern_of(term).finditer(prose):
            yield term, match
        prose = pattern_of(term).sub(lambda m: "\0" * len(m[0]), prose)


def linked(text: str, terms: list[str]) -> Iterator[tuple[str, int]]:
    """(term, position) of each link to the glossary."""
    names = {term.lower(): term for term in terms}
    for match in re.finditer(r"\{term\}`([^`<]*?)\s*(?:<([^>`]*)>)?`", text):
        target = " ".join((match[2] or match[1]).split()).lower()
        yield names.get(target, target), match.start()


def unlinked(name: str, terms: list[str]) -> dict[str, tuple[int | None, re.Match[str]]]:
    """Terms whose first use on a page is no link: the cell and place of that use."""
    known: set[str] = set()
    missing: dict[str, tuple[int | None, re.Match[str]]] = {}
    for piece in pieces(name):
        events = [(place, term, None) for term, place in linked(piece.text, terms)]
        events += [(match.start(), term, match) for term, match in uses(piece.text, terms)]
        for _, term, match in sorted(events, key=lambda event: event[0]):
            if match is not None and term not in known and term not in EVERYDAY:
                missing[term] = (piece.cell, match)
            known.add(term)
    return missing


def link_page(name: str, terms: list[str]) -> int:
    """Link what is not linked, in place; return how many."""
    missing = unlinked(name, terms)
    path = page_path(name)
    notebook = nbformat.read(path, as_version=4) if path.suffix == ".ipynb" else None
    places = sorted(missing.items(), key=lambda item: item[1][1].start(), reverse=True)
    for term, (cell, match) in places:
        text = path.read_text() if notebook is None else notebook.cells[cell].source
        found = text[match.start() : match.end()]
        same = " ".join(found.split()).lower() == term.lower()
        role = f"{{term}}`{found}`" if same else f"{{term}}`{found} <{term}>`"
        text = text[: match.start()] + role + text[match.end() :]
        if notebook is None:
            path.write_text(text)
        else:
            notebook.cells[cell].source = text
    if notebook is not None and places:
        nbformat.write(notebook, path)
    return len(places)


if __name__ == "__main__":
    for page in page_names():
        if page not in EXEMPT:
            count = link_page(page, glossary()) if "--link" in sys.argv else 0
            left = ", ".join(unlinked(page, glossary()))
            print(f"{page}: {count} linked{'; not linked: ' + left if left else ''}")
