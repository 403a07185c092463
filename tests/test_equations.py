"""Every displayed equation is on the map, and what the map says of it exists."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from sadm_utils.baselines.ae import Autoencoder
from sadm_utils.baselines.dae import DenoisingAutoencoder
from sadm_utils.config import load_config
from sadm_utils.data.preprocess import MNI_BRAIN_CENTER_MM, in_mni_space
from sadm_utils.data.register import dice
from sadm_utils.device import generator
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


# Equations that no other test compares with the formula itself.


@pytest.mark.parametrize("axis", range(3))
def test_a_voxel_lies_where_the_affine_says(axis: int) -> None:
    index, brain = np.array([2, 3, 4]), np.zeros((6, 6, 6), bool)
    brain[tuple(index)] = True
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = np.array(MNI_BRAIN_CENTER_MM) - [1 * 2, 2 * 3, 3 * 4]
    for off, near in ((0.0, True), (9.0, True), (11.0, False), (-9.0, True), (-11.0, False)):
        moved = affine.copy()
        moved[axis, 3] += off
        assert in_mni_space(brain, moved, tolerance_mm=10.0) == near


def test_overlap_by_hand() -> None:
    one, two = np.array([1, 1, 1, 0, 0], bool), np.array([0, 1, 1, 1, 1], bool)
    assert dice(one, two) == pytest.approx(2 * 2 / (3 + 4))
    assert dice(one, one) == 1 and dice(one, ~one) == 0


def test_loss_of_the_autoencoder_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config("smoke")
    method, image = Autoencoder(config), torch.rand(2, 1, *config.slice_shape)
    monkeypatch.setattr(method.encode, "forward", lambda x: x + 1)
    monkeypatch.setattr(method.decode, "forward", lambda z: z - 1.25)
    assert float(method.loss({"image": image}, generator(0))) == pytest.approx(0.25, rel=1e-4)


def test_loss_of_the_denoising_autoencoder_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    config, seen = load_config("smoke"), []
    method, image = DenoisingAutoencoder(config), torch.rand(2, 1, *config.slice_shape)
    monkeypatch.setattr(method.unet, "forward", lambda _, x: seen.append(x) or image - 0.5)
    batch = {"image": image, "mask": torch.ones_like(image)}
    assert float(method.loss(batch, generator(3))) == pytest.approx(0.5**2, rel=1e-4)
    assert torch.equal(seen[0], method.corrupt(image, batch["mask"], generator(3)))
    assert not torch.equal(seen[0], image)
