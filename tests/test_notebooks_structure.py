"""Every notebook keeps to the same form: checked without executing anything."""

from __future__ import annotations

import ast
import re
import statistics
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

from sadm_utils.book import ANNOTATIONS, BASELINES, plan_book
from sadm_utils.execute import PACKAGE

ROOT = PACKAGE.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
COMMON = {"PROFILE": "demo", "DATA_DIR": "", "RUN_DIR": "", "SEED": 0, "OVERRIDES": {}}
MAX_OWN = 3
MAX_LINES, MEDIAN_LINES, P90_LINES = 40, 6, 20
MAX_COLUMNS = 87  # what a page of the site shows without scrolling

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[Any]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def parameters_of(path: Path) -> dict[str, Any]:
    """Names and default values of the one cell tagged ``parameters``."""
    (cell,) = [c for c in code_cells(path) if "parameters" in c.metadata.get("tags", [])]
    body = ast.parse(cell.source).body
    assert all(isinstance(node, ast.Assign) for node in body), "only plain assignments"
    return {node.targets[0].id: ast.literal_eval(node.value) for node in body}


def test_plan_toc_and_folder_name_the_same_notebooks() -> None:
    names = [path.stem for path in NOTEBOOKS]
    assert list(dict.fromkeys(run.notebook for run in plan_book({}))) == names
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    files = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    assert [f.removeprefix("notebooks/") for f in files if "notebooks/" in f] == names
    for file in [toc["root"], *(f for f in files if f.startswith("book/"))]:
        assert (ROOT / f"{file}.md").exists()


@every_notebook
def test_parameters_have_the_common_names_and_defaults(path: Path) -> None:
    found = parameters_of(path)
    assert {name: found.get(name, "missing") for name in COMMON} == COMMON
    assert len(found) - len(COMMON) <= MAX_OWN
    if path.stem == "05_sadm_training":
        assert found["ANNOTATIONS"] == next(iter(ANNOTATIONS))
    if path.stem == "08_baselines":
        assert found["METHODS"] == ", ".join(BASELINES)


@every_notebook
def test_nothing_executed_is_committed(path: Path) -> None:
    notebook = read(path)
    assert all(not c.outputs and c.execution_count is None for c in code_cells(path))
    assert "widgets" not in notebook.metadata and "papermill" not in notebook.metadata
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    assert len({cell["id"] for cell in notebook.cells}) == len(notebook.cells)


@every_notebook
def test_cells_are_short(path: Path) -> None:
    lines = sorted(
        sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code_cells(path)
    )
    assert lines[-1] <= MAX_LINES, f"longest cell has {lines[-1]} lines"
    assert statistics.median(lines) <= MEDIAN_LINES
    assert lines[int(0.9 * (len(lines) - 1))] <= P90_LINES


@every_notebook
def test_lines_fit_the_page(path: Path) -> None:
    lines = [line for cell in code_cells(path) for line in cell.source.splitlines()]
    assert not [line for line in lines if len(line) > MAX_COLUMNS]


@every_notebook
def test_title_first_and_only_one(path: Path) -> None:
    cells = read(path).cells
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
    text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert len(re.findall(r"^# ", text, flags=re.MULTILINE)) == 1
    levels = [len(m[1]) for m in re.finditer(r"^(#+) ", text, flags=re.MULTILINE)]
    steps = [b - a for a, b in zip(levels, levels[1:], strict=False)]
    assert all(step <= 1 for step in steps), "a heading level is skipped"


@pytest.mark.parametrize("path", NOTEBOOKS[:8], ids=lambda p: p.stem)
def test_every_chapter_shows_the_example_brain(path: Path) -> None:
    cells = read(path).cells
    text = " ".join(" ".join(c.source.split()) for c in cells if c.cell_type == "markdown")
    assert "example brain" in text
    if path.stem[:2] not in ("02", "03"):  # these show the first subjects of all annotated lists
        code = "\n".join(c.source for c in code_cells(path))
        assert re.search(r"example_(brain|phantom)\(", code)


@every_notebook
def test_no_device_path_or_install_in_cells(path: Path) -> None:
    folders = "|".join(("work", "tmp", "root", "home", "Users"))
    for cell in read(path).cells:
        assert not re.search(rf"(?<![\w.}}])/(?:{folders})/", cell.source), cell.source
        if cell.cell_type == "code":
            assert "cuda" not in cell.source.lower()
            assert "pip install" not in cell.source
            assert not re.search(r"^from \S+ import \*", cell.source, flags=re.MULTILINE)


def test_the_text_tells_readers_the_same_parameters() -> None:
    text = (ROOT / "book" / "how_to_use.md").read_text()
    own = ["ANNOTATIONS", *ANNOTATIONS, "SCAN", "MASK", "METHODS"]
    assert all(f"`{name}`" in text for name in [*COMMON, *own])
