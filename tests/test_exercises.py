"""Every chapter has three to five exercises, and each solution is folded and can fail."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from sadm_utils.execute import PACKAGE
from sadm_utils.exercises import FOLDED, KINDS, exercises_of, main

NOTEBOOKS = sorted((PACKAGE.parent / "notebooks").glob("0[1-9]*.ipynb"))
LONGEST = 25
every_chapter = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


@every_chapter
def test_a_chapter_has_three_to_five_from_predicting_to_changing_the_method(path: Path) -> None:
    kinds = [exercise.kind for exercise in exercises_of(path)]
    assert 3 <= len(kinds) <= 5 and set(kinds) <= set(KINDS)
    assert kinds[0] == KINDS[0] and kinds[-1] == KINDS[-1]


@every_chapter
def test_every_solution_is_folded_short_and_asserts(path: Path) -> None:
    for exercise in exercises_of(path):
        assert exercise.folded, f"{exercise.title}: tag its cells {FOLDED}"
        assert exercise.assertions, f"{exercise.title}: no assertion with a message"
        assert all(len(s.splitlines()) <= LONGEST for s in exercise.solution), exercise.title


@every_chapter
def test_every_chapter_has_boxes_that_warn_and_that_look_at_the_released_code(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    assert ":::{admonition} Pitfall" in text
    titles = [line for line in text.splitlines() if line.startswith(":::{admonition}")]
    assert any("released code" in title for title in titles)


def test_an_exercise_without_a_solution_or_an_assertion_is_seen(tmp_path: Path) -> None:
    cells = [
        new_markdown_cell("## Exercises\n\nWords.\n\n### One\n\n*Predict, then run.* What?"),
        new_code_cell("assert 1 == 1", metadata={"tags": [FOLDED]}),
        new_markdown_cell(":::{admonition} Answer\nYes.\n:::"),
        new_markdown_cell("### Two\n\nNo kind."),
        new_code_cell("assert 1 == 1, 'no'"),
        new_markdown_cell("### Three\n\n*Change a setting.* To what?"),
        new_markdown_cell("## Summary\n\n### Not an exercise"),
        new_code_cell("print()"),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "n.ipynb")
    one, two, three = exercises_of(tmp_path / "n.ipynb")
    assert (one.title, one.kind, one.folded, one.assertions) == ("One", KINDS[0], True, 0)
    assert (two.kind, two.folded, two.assertions) == ("", False, 1)
    assert (three.kind, three.folded) == (KINDS[1], False)


def test_the_command_prints_the_numbers(capsys: pytest.CaptureFixture) -> None:
    main()
    lines = capsys.readouterr().out.splitlines()
    for path in NOTEBOOKS:
        (line,) = [line for line in lines if line.startswith(path.stem)]
        assert int(line.split()[1]) == len(exercises_of(path))
