"""Imports point one way: base, then the chapters in order, then prediction, then steering."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest

from sadm_utils.execute import CHAPTERS, FURTHER_ROOMS, PACKAGE, STEERING_MODULES

ROOT = PACKAGE.parent
BASE = (
    "errors",
    "limits",
    "config",
    "device",
    "records",
    "processes",
    "batch_norm",
    "stages",
    "runs",
    "parameters",
    "report",
    "optim",
    "epochs",
    "training",
    "launch",
    "viz",
    "viewers",
)
ABOVE = (("predict",), ("baselines",), ("failures",), STEERING_MODULES)
ORDER = [BASE, *[(chapter,) for chapter in CHAPTERS], *ABOVE]
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}


def imported_rooms(source: str) -> set[str]:
    """First-level parts of the package that a source imports, also inside functions."""
    rooms = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            rooms |= {parts[1] for parts in names if parts[0] == "sadm_utils" and parts[1:]}
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= 1, "a relative import stays in its room"
            parts = (node.module or "").split(".")
            if parts[0] == "sadm_utils" and not node.level:
                rooms |= {parts[1]} if parts[1:] else {alias.name for alias in node.names}
    return rooms


MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.relative_to(PACKAGE) != Path("__init__.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_module_imports_only_from_below(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert room in LEVEL, f"give {room} a place in ORDER"
    for other in imported_rooms(path.read_text()):
        assert LEVEL[other] <= LEVEL[room], f"{path.name} imports {other}, which comes later"


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebook_imports_only_from_its_chapter_and_below(path: Path) -> None:
    number = int(path.stem.split("_")[0])
    highest = min(number, len(CHAPTERS))
    further = [LEVEL[room] for room, first in FURTHER_ROOMS.items() if number >= first]
    highest = max([highest, *further])
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            source = "\n".join(x for x in cell.source.splitlines() if x[:1] not in "%!" or not x)
            for room in imported_rooms(source):
                assert LEVEL[room] <= highest, f"{path.name} imports {room} of a later chapter"


def test_the_check_sees_an_import_from_a_later_chapter() -> None:
    rooms = imported_rooms("def f():\n    from sadm_utils.sadm.fusion import fuse\n")
    assert rooms == {"sadm"} and LEVEL["sadm"] > LEVEL["cddpm"] > LEVEL["data"] > LEVEL["runs"]
