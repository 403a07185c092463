"""Counting volumes one by one against the exact metrics of all their voxels at once."""

import numpy as np
import pytest

from sadm_utils.evaluation import histogram
from sadm_utils.evaluation.histogram import ScoreHistogram, bin_of, lower_edge
from sadm_utils.evaluation.metrics import average_precision, best_dice, dice_at
from sadm_utils.evaluation.thresholds import healthy_thresholds


def volumes(count: int, levels: int = 0):
    """Scores that overlap between lesion and healthy voxels; rounded to so many levels."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        truth = rng.random((9, 8, 7)) < 0.1
        score = rng.gamma(2, 0.1, truth.shape) + 0.15 * truth
        score = np.round(score * levels) / levels if levels else score
        yield score.astype(np.float32), truth, rng.random(truth.shape) < 0.6


def counted(parts) -> ScoreHistogram:
    found = ScoreHistogram()
    for part in parts:
        found.add(*part)
    return found


def test_pooled_threshold_is_the_best_of_all_volumes_together():
    first, second = np.array([[0.75, 0.375]]), np.array([[0.5, 0.25, 0.125]])
    found = counted([(first, np.array([[1, 0]])), (second, np.array([[1, 0, 0]]))])
    assert found.best_dice() == (1.0, 0.5, 0.0)
    # Leaving out the one voxel that forces 0.5 moves the threshold up.
    masks = [np.ones((1, 2)), np.array([[0, 1, 1]])]
    found = counted([(first, np.array([[1, 0]]), masks[0]), (second, np.zeros((1, 3)), masks[1])])
    assert found.best_dice() == (1.0, 0.75, 0.0)


@pytest.mark.parametrize("levels", [0, 20])
def test_results_lie_within_the_stated_error_of_the_exact_ones(levels):
    parts = list(volumes(20, levels))
    found = counted(parts)
    score, truth = (np.concatenate([p[i][p[2]] for p in parts]) for i in (0, 1))
    exact, _ = best_dice(score, truth)
    dice, threshold, gap = found.best_dice()
    assert dice == pytest.approx(dice_at(score, truth, threshold), abs=1e-12)
    assert dice <= exact + 1e-12 and exact <= dice + gap + 1e-12
    assert gap < 1e-3 or levels  # voxels of one score count as if they could be told apart
    value, error = found.average_precision()
    assert abs(value - average_precision(score, truth)) <= error + 1e-12
    assert error < 1e-3 or levels


def test_coarse_scores_are_exact():
    """Where no bin holds two different scores, nothing is lost."""
    parts = list(volumes(5, levels=64))
    score, truth = (np.concatenate([p[i][p[2]] for p in parts]) for i in (0, 1))
    found = counted(parts)
    assert found.best_dice()[:2] == pytest.approx(best_dice(score, truth), abs=1e-12)
    assert found.average_precision()[0] == pytest.approx(average_precision(score, truth), abs=1e-12)


def test_bins_are_in_order_and_hold_their_edges():
    score = np.array([-1, 0, 2.0**-21, 2.0**-20, 0.1, 0.5, 1, 1.0003, 15.9, 16, 1e9], np.float32)
    bins = bin_of(score)
    assert (np.diff(bins) >= 0).all() and bins[0] == 0 and bins[-1] == histogram.BINS - 1
    assert len(set(bins[2:9])) == 7
    for value, number in zip(score, bins, strict=True):
        assert lower_edge(number) <= value
        if 0 < number < histogram.BINS - 1:
            assert value < lower_edge(number + 1) <= lower_edge(number) * (1 + 1 / 4096)
            assert bin_of(np.float32(lower_edge(number))) == number


def test_without_a_lesion_there_is_no_answer():
    found = counted([(np.ones(3), np.zeros(3))])
    assert found.positives == 0
    assert np.isnan([*found.best_dice(), *found.average_precision()]).all()


@pytest.mark.parametrize("levels", [0, 64])
def test_healthy_threshold_keeps_the_rate_and_is_the_exact_one_but_for_its_bin(levels):
    parts = list(volumes(6, levels))
    found = counted((score, 0 * truth, mask) for score, truth, mask in parts)
    scores, masks = [p[0] for p in parts], [p[2] for p in parts]
    inside = np.concatenate([s[m] for s, m in zip(scores, masks, strict=True)])
    for rate, exact in healthy_thresholds(scores, masks).items():
        threshold = found.healthy_threshold(rate)
        assert np.mean(inside >= threshold) <= rate
        assert threshold == pytest.approx(exact, rel=0 if levels else 2 / 4096)


def test_healthy_threshold_by_hand_and_at_the_ends():
    score = np.array([0.125, 0.25, 0.25, 0.5, 1.0])
    found = counted([(score, np.array([0, 0, 0, 0, 0])), (np.array([2.0]), np.array([1]))])
    rates = {0.2: 1.0, 0.4: 0.5, 0.6: 0.5, 0.8: 0.25}  # at 0.6, both voxels of 0.25 are too many
    assert {rate: found.healthy_threshold(rate) for rate in rates} == rates
    none = found.healthy_threshold(0.1)
    assert 1 < none <= 1 + 1 / 4096, "just above the highest healthy score"
    assert counted([(np.array([1e9]), np.array([0]))]).healthy_threshold(0.1) == np.inf
    assert np.isnan(ScoreHistogram().healthy_threshold(0.1))
    with pytest.raises(ValueError, match="lies in"):
        found.healthy_threshold(1.0)


def test_memory_does_not_grow_with_the_volumes():
    found = counted(volumes(3))
    size = found.lesion.nbytes + found.healthy.nbytes
    assert size < 2e6 and counted(volumes(30)).lesion.nbytes == found.lesion.nbytes
