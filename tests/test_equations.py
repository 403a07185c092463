"""Every displayed equation is on the map, and what the map says of it exists."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from sadm_utils.equations import (
    EQUATIONS,
    MARK,
    Equation,
    displayed,
    fill_equations,
    names_in,
    resolve,
)
from sadm_utils.execute import PACKAGE

ROOT = PACKAGE.parent
PAGES = [*sorted((ROOT / "notebooks").glob("*.ipynb")), ROOT / "book" / "protocols.md"]
every_equation = pytest.mark.parametrize("equation", EQUATIONS, ids=lambda e: e.label)


def path_of(page: Path) -> str:
    return page.relative_to(ROOT).with_suffix("").as_posix()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_displayed_equation_is_on_the_map_in_its_order(page: Path) -> None:
    labels = [label for label, _ in displayed(path_of(page))]
    assert labels == [e.label for e in EQUATIONS if e.path == path_of(page)]


@every_equation
def test_symbols_are_in_the_formula_and_names_in_the_code(equation: Equation) -> None:
    latex = dict(displayed(equation.path))[equation.label]
    known = names_in(equation.function)
    for symbol, name in equation.symbols:
        assert symbol in latex, f"{symbol} is not in {latex}"
        assert name in known, f"{name} is not in sadm_utils.{equation.function}"


@every_equation
def test_the_test_exists_and_its_file_uses_what_computes_the_equation(equation: Equation) -> None:
    file, function = equation.test.split("::")
    source = (ROOT / "tests" / file).read_text(encoding="utf-8")
    defined = {n.name for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)}
    assert function in defined
    module = ".".join(["sadm_utils", *equation.function.split(".")[:2]])
    assert module in source or module.rpartition(".")[0] in source


def test_labels_are_unique_and_every_function_is_documented() -> None:
    assert len({e.label for e in EQUATIONS}) == len(EQUATIONS)
    for equation in EQUATIONS:
        assert callable(resolve(equation.function))
    with pytest.raises(AttributeError, match="no_such"):
        resolve("draem.synthesis.no_such")


def test_an_equation_without_a_label_is_seen(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("$$a$$\n\n$$\nb\n$$ (eq-b)\n")
    assert displayed("page", tmp_path) == [("", "a"), ("eq-b", "b")]


def test_the_page_lists_them_all() -> None:
    page = fill_equations((ROOT / "book" / "equations.md").read_text(encoding="utf-8"))
    assert MARK not in page and page.count("$$") == 2 * len(EQUATIONS)
    for equation in EQUATIONS:
        (file, name), (test_file, claim) = equation.place, equation.held_by
        assert (ROOT / file).exists() and (ROOT / test_file).exists()
        assert f"{{eq}}`{equation.label}`" in page and f"`{name}` in `{file}`" in page
        assert f"`{test_file}`: *{claim}*" in page
    assert fill_equations("no mark") == "no mark"
