"""The paper's numbers in the text of pages are those of :mod:`sadm_utils.results.paper`."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal

import pytest

from sadm_utils.results.paper import TEST_SETS, paper_values
from tests import prose

BEST, AUPRC = paper_values("best_dice"), paper_values("auprc")
SOURCES = {"–": "", "DRAEM": "draem", "PII": "pii", "BraTS21": "brats21", "ATLAS v2": "atlas_v2"}
TUMOR, STROKE, SYNTHETIC = TEST_SETS


def percent(fraction: float) -> str:
    """Percent with one digit, a half rounded up: 58.55 is 58.6."""
    exact = Decimal(str(round(100 * fraction, 2)))
    return str(exact.quantize(Decimal("0.1"), ROUND_HALF_UP))


def paper_table(page: str) -> list[list[str]]:
    """The cells of the table below "What the paper measured"."""
    (text,) = [p.text for p in prose.pieces(page) if "## What the paper measured" in p.text]
    section = re.split(r"^## ", text.split("## What the paper measured")[1], flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


@pytest.mark.parametrize("row", paper_table("notebooks/06_evaluation"), ids=lambda r: " ".join(r))
def test_chapter_6_has_the_papers_best_dice(row: list[str]) -> None:
    methods, source, *cells = row
    for cell, test_set in zip(cells, (TUMOR, STROKE), strict=True):
        for method, number in zip(methods.split(" / "), cell.split(" / "), strict=True):
            assert number == percent(BEST[(method, SOURCES[source]), test_set][0])


@pytest.mark.parametrize("row", paper_table("notebooks/08_baselines"), ids=lambda r: " ".join(r))
def test_chapter_8_has_the_papers_best_dice_and_auprc(row: list[str]) -> None:
    method, source, *cells = row
    for cell, test_set in zip(cells, TEST_SETS, strict=True):
        key = (method, SOURCES[source]), test_set
        assert cell == f"{percent(BEST[key][0])} / {percent(AUPRC[key][0])}"


def test_the_tables_are_as_long_as_expected() -> None:
    assert len(paper_table("notebooks/06_evaluation")) == 7
    assert len(paper_table("notebooks/08_baselines")) == 11


def test_the_welcome_page_has_the_papers_best_dice() -> None:
    (page,) = prose.pieces("book/index")
    opening = page.text.split("**SADM**")[0]
    rows = [
        ("cDDPM", "", TUMOR), ("cDDPM", "", STROKE), ("SADM_res", "draem", TUMOR),
        ("SADM_res", "draem", STROKE), ("SADM", "draem", TUMOR), ("SADM", "draem", STROKE),
        ("SADM_res", "brats21", TUMOR), ("SADM_res", "atlas_v2", STROKE),
    ]  # fmt: skip
    expected = [percent(BEST[(method, source), test_set][0]) for method, source, test_set in rows]
    assert re.findall(r"\d+\.\d", opening) == expected


def test_the_distance_of_the_two_best_in_chapter_6() -> None:
    text = " ".join(p.text for p in prose.pieces("notebooks/06_evaluation"))
    sentence = " ".join(text.split("In the paper it is, by")[1].split("*Set by set*")[0].split())
    gaps = []
    for source, test_set in (("brats21", TUMOR), ("atlas_v2", STROKE)):
        with_map, alone = (BEST[(m, source), test_set] for m in ("SADM_res", "Unet_res"))
        gaps.append(percent(with_map[0] - alone[0]))
    strokes = [f"{100 * mean:.2f}" for mean, _ in (with_map, alone)]
    assert re.findall(r"\d+\.\d+", sentence) == [*gaps, *strokes]
    assert min(with_map[1], alone[1]) > with_map[0] - alone[0]
