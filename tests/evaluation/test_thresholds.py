"""Thresholds from validation volumes and from healthy ones."""

from pathlib import Path

import numpy as np
import pytest

from sadm_utils.evaluation.metrics import best_dice
from sadm_utils.evaluation.thresholds import halving_threshold, healthy_thresholds

GOLDEN = Path(__file__).parents[1] / "golden"
CURVE = np.load(GOLDEN / "threshold.npz")
STEP = {name: value.squeeze() for name, value in np.load(GOLDEN / "test_step.npz").items()}


def test_halving_search_equals_reference():
    dice, threshold = halving_threshold(CURVE["x"], CURVE["y"], int(CURVE["max_steps"]))
    assert dice == pytest.approx(float(CURVE["best_dice"]), abs=1e-12)
    assert threshold == pytest.approx(float(CURVE["best_thresh"]), abs=1e-9)
    dice, threshold = halving_threshold(STEP["score_map"], STEP["seg"])
    assert dice == pytest.approx(float(STEP["metric_BestDicePerVol"]), abs=1e-12)
    assert threshold == pytest.approx(float(STEP["metric_BestThresholdPerVol"]), abs=1e-7)
    # The exact optimum is higher: the search was led to the wrong peak.
    assert best_dice(STEP["score_map"], STEP["seg"])[0] > dice + 0.02


def test_healthy_thresholds_by_hand():
    values = np.arange(100, dtype=float)
    result = healthy_thresholds([values[:40], values[40:]], rates=(0, 0.01, 0.05, 0.1))
    assert result[0.01] == 99 and result[0.05] == 95 and result[0.1] == 90
    assert result[0] > 99


def test_healthy_thresholds_keep_the_rate_with_ties_and_mask():
    rng = np.random.default_rng(0)
    volumes = [np.round(rng.random((6, 7, 8)), 1) for _ in range(3)]
    masks = [rng.random((6, 7, 8)) < 0.5 for _ in range(3)]
    inside = np.concatenate([v[m] for v, m in zip(volumes, masks, strict=True)])
    for rate, threshold in healthy_thresholds(volumes, masks).items():
        assert np.mean(inside >= threshold) <= rate
        lower = inside[inside < threshold].max()
        assert np.mean(inside >= lower) > rate, "a lower threshold would have kept the rate too"
