"""Healthy or sick: one number for a volume or slice, and its AUROC."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sadm_utils.evaluation.detection import (
    Detection,
    slice_tops,
    top_mean,
    volume_score,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def detection(positive: list, negative: list) -> Detection:
    found = Detection()
    for sick, well in zip(positive, negative, strict=True):
        found.add([*sick, *well], [True] * len(sick) + [False] * len(well))
    return found


def test_top_mean_by_hand():
    values = np.array([0.1, 0.9, 0.5, 0.7])
    assert top_mean(values, 0.5) == pytest.approx(0.8)
    assert top_mean(values, 0.25) == 0.9 and top_mean(values, 0.01) == 0.9
    assert top_mean(values, 1.0) == pytest.approx(0.55)
    assert top_mean(values, 0.51) == pytest.approx(0.7), "a part of a voxel counts as one"
    assert np.isnan(top_mean(np.zeros(0), 0.5))


def test_only_the_brain_counts():
    score, mask = np.zeros((20, 10, 10)), np.zeros((20, 10, 10))
    mask[:10] = 1  # 1000 voxels: the highest one counts
    score[0, 0, 0], score[15] = 0.5, 9
    assert volume_score(score, mask) == 0.5
    mask[0, 0, 3], mask[:, :, 7] = 0, 0
    tops = slice_tops(score, mask)  # 100 voxels a slice: one of them again
    assert tops[0] == 0.5 and tops[1] == 0 and np.isnan(tops[7])


def test_auroc_by_hand():
    # Pairs won: 0.8 beats 0.1, 0.5 and 0.7; 0.5 beats 0.1 and ties with 0.5. 4.5 of 6.
    found = detection([[0.8], [0.5], [], [], []], [[], [], [0.1], [0.5], [0.7]])
    result = found.auroc(rng())
    assert result.mean == pytest.approx(4.5 / 6) and result.n == 5
    assert 0 <= result.low < result.mean < result.high <= 1 and np.isnan(result.sd)


def test_equal_to_scikit_learn_with_slices_of_both_kinds():
    random = rng(3)
    positive = [random.normal(1, 1, n).round(1) for n in (3, 5, 0, 0)]
    negative = [random.normal(0, 1, n).round(1) for n in (2, 0, 6, 4)]
    scores = np.concatenate([*positive, *negative])
    labels = np.repeat([1, 0], [8, 12])
    found = detection(positive, negative)
    assert found.auroc(rng()).mean == pytest.approx(roc_auc_score(labels, scores))
    assert found.auroc(rng()) == found.auroc(rng())


def test_interval_is_that_of_resampled_subjects():
    """Subjects are drawn whole, the sick and the healthy ones apart."""
    random = rng(4)
    positive = [random.normal(0.7, 1, 4) for _ in range(12)] + [np.zeros(0)] * 10
    negative = [np.zeros(0)] * 12 + [random.normal(0, 1, 4) for _ in range(10)]
    found, means = detection(positive, negative).auroc(rng(), 4000), []
    for _ in range(1500):
        sick, well = random.integers(0, 12, 12), random.integers(12, 22, 10)
        a = np.concatenate([positive[i] for i in sick])
        b = np.concatenate([negative[i] for i in well])
        means.append((a[:, None] > b).mean())
    expected = np.quantile(means, [0.025, 0.975])
    np.testing.assert_allclose([found.low, found.high], expected, atol=0.02)


def test_missing_classes_have_a_defined_result():
    only_sick = detection([[0.5], [0.6]], [[], []]).auroc(rng())
    assert np.isnan([only_sick.mean, only_sick.low]).all() and only_sick.n == 2
    assert np.isnan(Detection().auroc(rng()).mean)
    pair = detection([[0.5], []], [[], [0.4]]).auroc(rng())
    assert pair.mean == 1 and np.isnan(pair.low)
    unknown = Detection()
    unknown.add([np.nan, 0.3], [True, False])
    assert unknown.positive[0].size == 0 and unknown.negative[0].tolist() == [0.3]


def test_sets_join():
    sick, well = detection([[0.9], [0.2]], [[], []]), detection([[], []], [[0.1], [0.5]])
    assert sick.joined(well).auroc(rng()).mean == pytest.approx(3 / 4)
    assert len(sick.positive) == 2, "the parts are left as they were"
