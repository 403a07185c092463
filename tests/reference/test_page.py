"""The page "Paper, released code, this book": its tables are generated, and name real tests."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sadm_utils.config import Config
from sadm_utils.errors import UserError
from sadm_utils.evaluation.metrics import volume_metrics
from sadm_utils.records import read_header
from sadm_utils.reference.choices import CHOICES
from sadm_utils.reference.defects import DEFECTS, Case, load_cases, measure
from sadm_utils.reference.page import CHOICES_MARK, DEFECTS_MARK, NO_MAPS, fill_page

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "book" / "paper_code_book.md"
STEP = {
    name: value.squeeze()
    for name, value in np.load(ROOT / "tests" / "golden" / "test_step.npz").items()
}


@pytest.mark.parametrize("choice", CHOICES, ids=lambda c: c.topic)
def test_every_choice_names_a_test_that_exists(choice):
    file, name = choice.test.split("::")
    functions = ast.parse((ROOT / file).read_text()).body
    assert name in {node.name for node in functions if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("choice", CHOICES, ids=lambda c: c.topic)
def test_every_choice_is_said_with_todays_settings(choice):
    row = choice.row(Config())
    assert all(row) and not re.search(r"[{}]", "".join(row))


def test_a_choice_that_is_switched_is_told_in_words():
    config = Config()
    (choice,) = [c for c in CHOICES if "draem.brain_only" in c.book]
    texts = []
    for switch in (True, False):
        draem = replace(config.draem, brain_only=switch)
        texts.append(choice.row(replace(config, draem=draem))[3])
    assert texts == ["inside the brain only", "anywhere"]


def golden_case() -> Case:
    parts = (STEP[name] for name in ("orig", "final", "mask", "seg", "score_map"))
    return Case(*parts)


def perfect_case() -> Case:
    case = golden_case()
    return Case(case.image, case.image, case.mask, case.seg, case.seg.astype(float))


def test_defects_of_the_released_test_step():
    rows = {defect.name: numbers for defect, *numbers in measure([golden_case()])}
    assert set(rows) == {defect.name for defect in DEFECTS}
    exact = volume_metrics(STEP["score_map"], STEP["seg"])["best_dice"]
    halving = 100 * float(STEP["metric_BestDicePerVol"])
    assert rows["⌈Dice⌉"] == pytest.approx([halving, 100 * exact, 100 * exact - halving])
    released, corrected, _ = rows["Specificity"]
    assert released < 75 and corrected > 99
    released, corrected, _ = rows["False-positive rate"]
    assert released > 30 and corrected < 1
    released, corrected, _ = rows["Hausdorff distance"]
    assert corrected == 2 * released
    assert rows["Dice of slices"][0] != rows["Dice of slices"][1]


def test_a_perfect_map_is_perfect_only_by_the_corrected_rules():
    rows = {defect.name: numbers for defect, *numbers in measure([perfect_case()])}
    assert rows["Specificity"] == [0, 100, 100]
    assert rows["Dice of slices"] == [100, 100, 0]


def test_without_a_lesion_there_is_nothing_to_measure():
    case = golden_case()
    healthy = Case(case.image, case.reconstruction, case.mask, 0 * case.seg, case.score)
    with pytest.raises(UserError, match="lesion"):
        measure([healthy])


def test_page_is_filled_from_a_run(finished_dir: Path):
    text = PAGE.read_text()
    assert CHOICES_MARK in text and DEFECTS_MARK in text
    page = fill_page(text, finished_dir)
    assert page == fill_page(text, finished_dir), "the same numbers each time"
    assert "<!--" not in page and NO_MAPS not in page
    for row in (*(c.topic for c in CHOICES), *(d.name for d in DEFECTS)):
        assert f"| {row} |" in page
    cases = load_cases(finished_dir)
    assert len(cases) == 5 and cases[0].voxel_mm == 6.0  # MSLUB has one test subject
    settings = read_header(finished_dir / "evaluation" / "config.yaml").settings
    assert cases[0].median == settings["evaluation"]["median"]
    assert all(case.score.shape == case.seg.shape for case in cases)


def test_run_without_an_evaluation_says_so(tmp_path: Path):
    assert NO_MAPS in fill_page(DEFECTS_MARK, tmp_path)
    assert fill_page("# Any other page", tmp_path) == "# Any other page"
