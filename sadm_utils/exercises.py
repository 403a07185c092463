"""The exercises of the notebooks: found by their form, counted, and listed by a command.

An exercise is a ``###`` heading in the section "Exercises" of a notebook. It begins with its kind
in italics, and a folded solution follows: code cells with the tag ``hide-cell``, at least one
assertion with a message among them. ``python -m sadm_utils.exercises`` prints how many each
chapter has.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat

from sadm_utils.runs import project_root

KINDS = ("Predict, then run", "Change a setting", "Change the method")
FOLDED = "hide-cell"


@dataclass(frozen=True)
class Exercise:
    """One exercise: its ``title`` and ``kind``, the sources of its ``solution``, and whether all
    of these are ``folded``."""

    title: str
    kind: str
    solution: tuple[str, ...]
    folded: bool

    @property
    def assertions(self) -> int:
        """Assertions of the solution that say what is wrong if they fail."""
        trees = [ast.parse(source) for source in self.solution]
        found = [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Assert)]
        return sum(node.msg is not None for node in found)


def exercises_of(path: Path) -> list[Exercise]:
    """The exercises of a notebook, in order; none if it has no such section."""
    cells = nbformat.read(path, as_version=4).cells
    section = [
        bool(re.search(r"^## Exercises$", c.source, re.MULTILINE))
        if c.cell_type == "markdown" and re.search(r"^## ", c.source, re.MULTILINE) else None
        for c in cells
    ]  # fmt: skip
    found: list[tuple[str, list[nbformat.NotebookNode]]] = []
    inside = False
    for cell, starts in zip(cells, section, strict=True):
        inside = inside if starts is None else starts
        if inside and cell.cell_type == "markdown" and "### " in cell.source:
            found.append((cell.source[cell.source.index("### ") :], []))
        elif inside and cell.cell_type == "code":
            assert found, f"{path.name}: code before the first exercise"
            found[-1][1].append(cell)
    return [_exercise(text, code) for text, code in found]


def _exercise(text: str, code: list[nbformat.NotebookNode]) -> Exercise:
    title, _, rest = text.partition("\n")
    kind = re.match(r"\s*\*([^*]+?)\.\*", rest)
    folded = bool(code) and all(FOLDED in cell.metadata.get("tags", []) for cell in code)
    sources = tuple(cell.source for cell in code)
    return Exercise(title.removeprefix("### "), kind[1] if kind else "", sources, folded)


def main() -> None:
    """Print the number of exercises of every notebook, by kind."""
    print(f"{'notebook':<24}{'exercises':>10}" + "".join(f"{kind:>20}" for kind in KINDS))
    for path in sorted((project_root() / "notebooks").glob("[0-9]*.ipynb")):
        kinds = [e.kind for e in exercises_of(path)]
        counts = "".join(f"{kinds.count(kind):>20}" for kind in KINDS)
        print(f"{path.stem:<24}{len(kinds):>10}{counts}")


if __name__ == "__main__":
    main()
