"""All volumes in one pot: against the exact metrics of all voxels at once."""

import numpy as np
import pytest

from sadm_utils.evaluation.metrics import average_precision, best_dice
from sadm_utils.evaluation.pooled import PooledCounts


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def volumes(count: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    random = rng(seed)
    truths = [random.random(600) < share for share in random.uniform(0.02, 0.3, count)]
    return [((random.gamma(2, 0.1, 600) + 0.2 * t).astype(np.float32), t) for t in truths]


def counted(parts: list) -> PooledCounts:
    found = PooledCounts()
    for part in parts:
        found.add(*part)
    return found


def joined(parts: list) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.concatenate(p) for p in zip(*parts, strict=True))


def test_by_hand():
    # Each volume alone has ⌈Dice⌉ 1. Together, 0.75 is healthy here and 0.5 is lesion there.
    parts = [(np.array([1.0, 0.75]), np.array([1, 0])), (np.array([0.5, 0.25]), np.array([1, 0]))]
    assert all(best_dice(*part)[0] == 1 for part in parts)
    found = counted(parts).metrics(rng())
    assert found["pooled_best_dice"].mean == pytest.approx(2 * 2 / (3 + 2))
    assert found["pooled_auprc"].mean == pytest.approx((1 + 2 / 3) / 2)


def test_equal_to_the_metrics_of_all_voxels():
    parts = volumes(8)
    found = counted(parts).metrics(rng())
    assert found["pooled_best_dice"].mean == pytest.approx(best_dice(*joined(parts))[0], abs=1e-3)
    assert found["pooled_auprc"].mean == pytest.approx(average_precision(*joined(parts)), abs=1e-3)
    assert all(v.n == 8 and np.isnan(v.sd) for v in found.values())


def test_interval_of_sure_scores_holds_its_number():
    """All that counts lies within one wide bin, so there lesion and false alarm are one score."""
    truth = np.arange(220) < 20
    parts = [(np.where(truth, 0.9990, 0.9950) - 0.0003 * k, truth) for k in range(4)]
    for value in counted(parts).metrics(rng()).values():
        assert value.mean == 1 == pytest.approx(value.high) and value.low > 0.9


def test_interval_is_that_of_resampled_volumes():
    parts, random = volumes(9), rng(1)
    found, values = counted(parts).metrics(rng(), 3000), []
    for _ in range(400):
        drawn = joined([parts[i] for i in random.integers(0, 9, 9)])
        values.append((best_dice(*drawn)[0], average_precision(*drawn)))
    expected = np.quantile(values, [0.025, 0.975], axis=0)
    for column, name in enumerate(("pooled_best_dice", "pooled_auprc")):
        ends = [found[name].low, found[name].high]
        np.testing.assert_allclose(ends, expected[:, column], atol=0.02)
        assert ends[0] < found[name].mean < ends[1]


def test_too_little_has_a_defined_result():
    single = counted(volumes(1)).metrics(rng())["pooled_best_dice"]
    assert single.mean > 0 and np.isnan(single.low) and single.n == 1
    healthy = counted([(np.ones(3), np.zeros(3))] * 2).metrics(rng())
    assert all(np.isnan([v.mean, v.low]).all() for v in healthy.values())
    # A volume without lesion brings false alarms only; a draw of none but these is left out.
    mixed = counted([*volumes(1), (np.ones(600, np.float32), np.zeros(600))]).metrics(rng(), 500)
    assert 0 < mixed["pooled_auprc"].low <= mixed["pooled_auprc"].high <= 1
