"""Correlation with the paper, and the methods that SADM does not beat."""

import pytest

from sadm_utils.results.agreement import (
    all_rivals,
    comparable,
    our_rivals,
    paper_rivals,
    rank_correlation,
)
from sadm_utils.results.measured import read_sweep
from sadm_utils.results.paper import METRICS, TEST_SETS, paper_rows
from tests.results.made_up import as_in_the_paper, write_sweep


def test_correlation_is_one_for_the_paper_s_order_and_minus_one_for_its_opposite(root):
    plain = as_in_the_paper()
    write_sweep(root, "same", lambda *key: plain(*key) ** 2, paper_rows())
    write_sweep(root, "opposite", lambda *key: 1 - plain(*key), paper_rows())
    same = rank_correlation(read_sweep("same"), "ATLAS", "best_dice")
    assert same.value == pytest.approx(1) and same.low == pytest.approx(1) and same.rows == 22
    opposite = rank_correlation(read_sweep("opposite"), "ATLAS", "auprc")
    assert opposite.value == pytest.approx(-1) and opposite.high == pytest.approx(-1)


def test_correlation_agrees_with_scipy_on_a_subset(root):
    from scipy.stats import spearmanr

    rows = [("AE", ""), ("DAE", ""), ("cDDPM", ""), ("Unet", "draem")]
    ours = dict(zip(rows, (0.3, 0.2, 0.5, 0.4), strict=True))
    write_sweep(root, "few", lambda v, row, s, m: ours[row], rows)
    found = rank_correlation(read_sweep("few"), "Brats21", "best_dice")
    expected = spearmanr([0.3, 0.2, 0.5, 0.4], [39.16, 55.93, 58.55, 40.75]).statistic
    assert found.value == pytest.approx(expected) and found.rows == 4
    write_sweep(root, "two", lambda v, row, s, m: ours[row], rows[:2])
    assert rank_correlation(read_sweep("two"), "Brats21", "best_dice") is None


def names(rivals):
    return [rival.row for rival in rivals]


def test_the_paper_s_rivals_are_those_that_its_table_shows():
    on_synthetic = paper_rivals("draem", "DRAEM", "best_dice")
    assert names(on_synthetic) == [("DRAEM-Net", "draem"), ("Unet_res", "draem")]
    assert on_synthetic[0].lead == pytest.approx(0.0305) and not on_synthetic[1].certain
    assert names(paper_rivals("atlas_v2", "ATLAS", "auprc")) == [
        ("Unet_res", "atlas_v2"), ("Unet", "atlas_v2"),
    ]  # fmt: skip
    assert names(paper_rivals("atlas_v2", "Brats21", "auprc")) == [("cDDPM", "")]
    assert paper_rivals("brats21", "Brats21", "best_dice") == []
    assert ("PII", "pii") in comparable("draem") and len(comparable("brats21")) == 14
    assert not [row for row in comparable("brats21") if row[0].startswith("SADM")]
    assert ("Unet", "atlas_v2") not in comparable("brats21")


def test_our_rivals_are_found_in_the_values_of_the_subjects(root):
    write_sweep(root, "table", as_in_the_paper(0.05), paper_rows())
    sweep = read_sweep("table")
    for source, test_set, found in all_rivals(sweep, METRICS, TEST_SETS):
        for metric, rivals in found.items():
            theirs = paper_rivals(source, test_set, metric)
            assert names(rivals) == names(theirs)
            assert all(rival.certain for rival in rivals), "no scatter, so no doubt"
    write_sweep(root, "part", as_in_the_paper(), [("cDDPM", "")])
    assert our_rivals(read_sweep("part"), "draem", "DRAEM", "auprc") is None
    assert list(all_rivals(read_sweep("part"), METRICS, TEST_SETS)) == []
