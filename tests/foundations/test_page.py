"""The figures of the pages "Foundations": each is drawn, has a text, and its numbers are right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sadm_utils.data.sources import releases
from sadm_utils.errors import UserError
from sadm_utils.evaluation.metrics import best_dice, confusion_at
from sadm_utils.execute import PACKAGE
from sadm_utils.foundations import diffusion, metrics
from sadm_utils.foundations.brains import pair
from sadm_utils.foundations.data_sets import HOLDS, MARK, fill_data_sets
from sadm_utils.foundations.page import FIGURES, fill_foundations
from sadm_utils.foundations.page import MARK as FIGURE

BOOK = PACKAGE.parent / "book"
WIDEST_INCHES = 5.6  # at the 358 pixels of a phone, letters of 10 points are 9 pixels high
LARGEST_BYTES = 250_000


def test_every_figure_is_on_one_page() -> None:
    pages = [page.read_text() for page in sorted(BOOK.glob("*.md"))]
    named = [name for text in pages for name in FIGURE.findall(text)]
    assert sorted(named) == sorted(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_drawn_small_and_described(name: str, tmp_path: Path) -> None:
    text = fill_foundations(f"before\n\n<!-- figure: {name} -->\n\nafter", tmp_path)
    assert text.startswith("before\n\n```{image} ") and text.endswith(".*\n\nafter")
    assert f":alt: {FIGURES[name].alt}\n" in text
    (file,) = tmp_path.glob("*.png")
    assert file.name in text and 5_000 < file.stat().st_size < LARGEST_BYTES
    figure, caption = FIGURES[name].draw()
    assert figure.get_figwidth() <= WIDEST_INCHES and caption.endswith(".")
    assert "nan" not in caption


def test_unknown_figure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'brains'.*choose one of contrasts"):
        fill_foundations("<!-- figure: brains -->", tmp_path)
    assert fill_foundations("no mark", tmp_path) == "no mark"


def test_numbers_over_the_thresholds_are_the_package_s() -> None:
    figure, _ = metrics.draw_threshold()
    titles = [ax.get_title() for ax in figure.axes]
    score, seg, _ = metrics.case()
    dice, limit = best_dice(score, seg)
    assert f"τ = {limit:.2f}" in titles[1] and titles[1].endswith(f"Dice {100 * dice:.0f} %")
    low = confusion_at(score, seg, 0.4 * limit)
    assert f"recall {100 * low.recall:.0f} %" in titles[0]


def test_one_threshold_for_all_is_worse_than_each_one_s_best() -> None:
    _, caption = metrics.draw_peeking()
    peeked = float(caption.split("⌈Dice⌉ ")[1].split(" %")[0])
    honest = float(caption.split("mean Dice is ")[1].split(" %")[0])
    assert honest < peeked <= 100


def test_noised_slice_follows_the_formula() -> None:
    x = np.full((4, 5), 0.25, np.float32)
    noise = np.ones((4, 5), np.float32)
    signal, rate = (part[499] for part in diffusion.rates())
    assert np.isclose(signal**2 + rate**2, 1, atol=1e-6)
    expected = (signal * -0.5 + rate + 1) / 2
    assert np.allclose(diffusion.noised(x, 500, noise), expected)


def test_pair_differs_in_and_around_the_lesion_only_by_the_illness() -> None:
    p = pair()
    inside, outside = (np.abs(p.image - p.twin)[where].mean() for where in (
        p.seg > 0, (p.mask > 0) & (p.seg == 0)))  # fmt: skip
    assert inside > 3 * outside and p.image.max() <= 1


def test_table_of_data_sets_has_license_access_and_citation() -> None:
    text = fill_data_sets(f"before\n{MARK}\nafter")
    bibliography = (BOOK / "references.bib").read_text()
    for release in releases():
        if release.key in HOLDS:
            (line,) = [x for x in text.splitlines() if x.startswith(f"| {release.title} |")]
            assert release.license in line and "](https://" in line
            assert f"{{{HOLDS[release.key][1]}," in bibliography and HOLDS[release.key][1] in line
    assert set(HOLDS) <= {release.key for release in releases()}
    assert fill_data_sets("no mark") == "no mark"
