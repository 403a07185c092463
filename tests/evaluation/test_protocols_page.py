"""The page of definitions names every metric, and functions and tests that exist."""

import importlib
import re
from pathlib import Path

import pytest

from sadm_utils.evaluation.detection import TOP_OF_SLICE, TOP_OF_VOLUME
from sadm_utils.evaluation.lesions import OVERLAP, SHARE, SIZES
from sadm_utils.evaluation.tables import METRIC_NAMES
from sadm_utils.execute import PACKAGE

PAGE = (PACKAGE.parent / "book" / "protocols.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.split("## Names, functions and tests")[1].splitlines()
    if line.startswith("| ") and not line.startswith("| name")
]


def test_table_has_every_metric_under_its_name_in_the_same_order() -> None:
    listed = [(row[1].strip("`"), row[0]) for row in ROWS if row[1] != "–"]
    assert listed == list(METRIC_NAMES.items())


def test_every_name_is_defined_in_bold_above_the_table() -> None:
    text = PAGE.split("## Names, functions and tests")[0].replace("\n", " ")
    text = re.sub(r"\{term\}`([^`<]+?)(?: <[^`]*)?`", r"\1", text)  # linked to the glossary
    for name in METRIC_NAMES.values():
        if name.startswith("lesion"):
            assert name.split(",")[0] in text
        else:
            assert f"**{name}**" in text, name
    assert all(f"**{size}**" in text for size in SIZES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_functions_and_tests_exist(row: list[str]) -> None:
    for name in re.findall(r"`([\w.]+)`", row[2]):
        module, function = name.split(".")
        assert hasattr(importlib.import_module(f"sadm_utils.evaluation.{module}"), function)
    for name in re.findall(r"`([\w.]+)`", row[3]):
        assert (Path(__file__).parent / name).exists()


def test_the_stated_constants_are_those_of_the_code() -> None:
    assert OVERLAP == 1 and "shares at least one voxel" in PAGE.replace("\n", " ")
    assert SHARE == 0.1 and "at least a tenth of it" in PAGE.replace("\n", " ")
    assert list(SIZES.values()) == [(0, 1), (1, 10), (10, float("inf"))]
    assert f"highest {100 * TOP_OF_VOLUME:g} %" in PAGE
    assert f"highest {100 * TOP_OF_SLICE:g} %" in PAGE
