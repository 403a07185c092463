"""What the paper tells apart, judged on values that are the paper's, turned around, or noise."""

import pytest

from sadm_utils.results import orderings
from sadm_utils.results.measured import read_sweep
from sadm_utils.results.orderings import (
    HOLDS,
    NOISE,
    NOT_RUN,
    REVERSED,
    Pair,
    judge,
    paper_difference,
    tally,
)
from sadm_utils.results.paper import TEST_SETS, paper_rows
from tests.results.made_up import as_in_the_paper, write_sweep


def measured(root, mean, rows=None, **options):
    write_sweep(root, "table", mean, rows or paper_rows(), **options)
    return read_sweep("table")


def every_pair_on(test_set):
    return [pair for pair in orderings.all_pairs("best_dice") if pair.test_set == test_set]


def test_the_paper_tells_apart_what_is_more_than_both_deviations():
    # 58.55 ± .78 against 55.93 ± .66: 2.62 > 1.44
    assert paper_difference(Pair(("DAE", ""), ("cDDPM", ""), "Brats21")) == pytest.approx(-0.0262)
    # 39.25 ± .50 against 39.16 ± .64
    assert paper_difference(Pair(("VAE", ""), ("AE", ""), "Brats21")) is None
    # 76.72 ± 1.30 against 76.03 ± 1.21, but 60.53 against 58.55
    sadm = ("SADM_res", "draem")
    assert paper_difference(Pair(sadm, ("Unet", "draem"), "DRAEM")) is None
    assert paper_difference(Pair(sadm, ("cDDPM", ""), "Brats21")) == pytest.approx(0.0198)


def test_families_are_complete():
    assert len(orderings.against_base()) == 21 * 3
    assert len(orderings.against_counterpart()) == 3 * 2 * 3
    own = orderings.own_against_other()
    assert len(own) == 4 * 3 * 2
    assert Pair(("Unet", "brats21"), ("Unet", "draem"), "Brats21") in own
    assert len(orderings.all_pairs("auprc")) == 231 * 3


def test_every_ordering_holds_on_the_paper_s_own_means(root):
    sweep = measured(root, as_in_the_paper())
    judged = judge(every_pair_on("ATLAS"), sweep, correct=False)
    assert {one.verdict for one in judged} == {HOLDS} and len(judged) > 150
    for one in judged:
        assert one.here.mean == pytest.approx(one.paper)
    family = judge(orderings.against_base(), sweep)
    assert {one.verdict for one in family} == {HOLDS} and len(family) > 40


def test_holm_s_correction_counts_the_questions_of_a_test_set(root):
    """Twelve subjects allow p = 2 / 2^12 at best: enough for 21 questions, not for 200."""
    sweep = measured(root, as_in_the_paper())
    many = judge(every_pair_on("DRAEM"), sweep)
    assert {one.verdict for one in many} == {NOISE}
    alone = judge([Pair(("DAE", ""), ("cDDPM", ""), "Brats21")], sweep)
    assert [one.verdict for one in alone] == [HOLDS]


def test_turned_around_is_reversed_and_scatter_is_noise(root):
    plain = as_in_the_paper()
    turned = measured(root, lambda *key: 1 - plain(*key))
    pairs = orderings.against_base()
    counts = tally(judge(pairs, turned))
    assert counts[REVERSED] == sum(counts.values()) > 40
    write_sweep(root, "noisy", plain, paper_rows(), jitter=3.0)
    one = judge([Pair(("DAE", ""), ("cDDPM", ""), "Brats21")], read_sweep("noisy"))[0]
    # one jitters up where the other goes down: the mean difference stays, and means nothing
    assert one.verdict == NOISE and one.here.mean == pytest.approx(-0.0262)


def test_missing_rows_are_not_run(root):
    sweep = measured(root, as_in_the_paper(), rows=[("cDDPM", ""), ("AE", "")])
    counts = tally(judge(orderings.against_base(), sweep))
    assert counts[HOLDS] == 3 and counts[NOT_RUN] == sum(counts.values()) - 3
    assert list(counts) == list(orderings.VERDICTS)
    assert set(TEST_SETS) == {one.pair.test_set for one in judge(orderings.against_base(), sweep)}
