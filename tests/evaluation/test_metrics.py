"""Metrics against hand-computed cases, scikit-learn, brute force and the released code."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from sadm_utils.evaluation.metrics import (
    Confusion,
    auroc,
    average_precision,
    best_dice,
    confusion_at,
    dice_at,
    l1_error,
    rank,
    reconstruction_error,
    reconstruction_errors,
    slice_dice,
    volume_metrics,
)
from sadm_utils.evaluation.surfaces import hausdorff
from tests.golden.compare import relative_error

GOLDEN = Path(__file__).parents[1] / "golden"
CURVE = np.load(GOLDEN / "threshold.npz")
STEP = {name: value.squeeze() for name, value in np.load(GOLDEN / "test_step.npz").items()}

#                 lesion  lesion  healthy lesion  healthy
SCORE = np.array([0.9, 0.8, 0.7, 0.6, 0.1])
TRUTH = np.array([1, 1, 0, 1, 0])


def random_case(seed: int, digits: int | None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random((8, 9, 7)) < 0.1
    score = (rng.normal(size=truth.shape) + truth).astype(np.float32)
    return (score if digits is None else np.round(score, digits)), truth


def test_by_hand():
    # thresholds .9, .8, .6: (TP, predicted) = (1, 1), (2, 2), (3, 4); Dice 2/4, 4/5, 6/7
    assert best_dice(SCORE, TRUTH) == (pytest.approx(6 / 7), pytest.approx(0.6))
    assert average_precision(SCORE, TRUTH) == pytest.approx((1 + 1 + 3 / 4) / 3)
    # pairs won by the lesion: 2 + 2 + 1 of 6
    assert auroc(SCORE, TRUTH) == pytest.approx(5 / 6)
    assert dice_at(SCORE, TRUTH, 0.8) == pytest.approx(4 / 5)
    assert dice_at(SCORE, TRUTH, 2.0) == 0
    assert confusion_at(SCORE, TRUTH, 0.65) == Confusion(tp=2, fp=1, fn=1, tn=1)


def test_rates_by_hand():
    counts = Confusion(tp=6, fp=2, fn=4, tn=28)
    assert counts.dice == pytest.approx(12 / 18)
    assert counts.precision == pytest.approx(0.75) and counts.recall == pytest.approx(0.6)
    assert counts.specificity == pytest.approx(28 / 30)
    assert counts.false_positive_rate == pytest.approx(2 / 30)
    assert counts.false_discovery_rate == pytest.approx(0.25)
    assert counts.accuracy == pytest.approx(34 / 40)


def test_a_perfect_map_is_perfect():
    result = volume_metrics(TRUTH.astype(float), TRUTH, threshold=0.5)
    assert all(
        result[name] == 1
        for name in ("best_dice", "auprc", "auroc", "dice", "precision", "recall", "specificity")
    )


@pytest.mark.parametrize("digits", [None, 1, 0])
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_scikit_learn_and_brute_force(seed, digits):
    score, truth = random_case(seed, digits)
    flat, labels = score.ravel(), truth.ravel()
    assert average_precision(score, truth) == pytest.approx(average_precision_score(labels, flat))
    assert auroc(score, truth) == pytest.approx(roc_auc_score(labels, flat))
    every = [dice_at(score, truth, threshold) for threshold in np.unique(flat)]
    dice, threshold = best_dice(score, truth)
    assert dice == pytest.approx(max(every))
    assert dice_at(score, truth, threshold) == pytest.approx(dice)


def test_constant_scores_are_chance():
    truth = TRUTH
    assert auroc(np.zeros(5), truth) == 0.5
    assert average_precision(np.zeros(5), truth) == pytest.approx(3 / 5)
    assert best_dice(np.zeros(5), truth)[0] == pytest.approx(6 / 8)


def test_mask_selects_the_voxels_that_count():
    mask = np.array([1, 1, 0, 1, 1])
    assert best_dice(SCORE, TRUTH, mask)[0] == 1 and auroc(SCORE, TRUTH, mask) == 1
    assert confusion_at(SCORE, TRUTH, 0.0, mask) == Confusion(tp=3, fp=1, fn=0, tn=0)


def test_background_does_not_change_dice_or_precision_but_auroc():
    score, truth = random_case(0, None)
    score = score - score.min() + 1
    padded, lesion = np.pad(score, 3), np.pad(truth, 3)
    assert best_dice(padded, lesion) == best_dice(score, truth)
    assert average_precision(padded, lesion) == pytest.approx(average_precision(score, truth))
    assert auroc(padded, lesion) > auroc(score, truth)
    inside = np.pad(np.ones(score.shape), 3)
    assert volume_metrics(padded, lesion, inside) == volume_metrics(score, truth)


def test_questions_without_an_answer_are_nan():
    none, every = np.zeros(5), np.ones(5)
    result = volume_metrics(SCORE, none, threshold=0.5)
    for name in ("best_dice", "best_threshold", "auprc", "auroc", "dice", "recall"):
        assert np.isnan(result[name]), name
    assert result["specificity"] == pytest.approx(1 / 5) and result["precision"] == 0
    assert np.isnan(confusion_at(SCORE, TRUTH, 2.0).precision)
    assert np.isnan(auroc(SCORE, every)) and average_precision(SCORE, every) == 1


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="shapes must agree"):
        best_dice(SCORE, TRUTH[:4])
    with pytest.raises(ValueError, match="nan"):
        best_dice(np.array([np.nan, 1.0]), np.array([0, 1]))


def test_equal_to_reference_curve(golden_error):
    result = volume_metrics(CURVE["x"], CURVE["y"], threshold=0.4)
    for ours, theirs in (("auroc", "roc_auc"), ("auprc", "auprc")):
        golden_error("threshold.npz", relative_error(result[ours], CURVE[theirs]))
    assert result["dice"] == pytest.approx(float(CURVE["dice_at_0p4"]), abs=1e-12)
    assert result["recall"] == pytest.approx(float(CURVE["tpr_at_0p4"]), abs=1e-12)
    assert result["best_dice"] >= float(CURVE["best_dice"])
    counts = confusion_at(CURVE["x"], CURVE["y"], 0.4)
    assert counts.false_discovery_rate == pytest.approx(float(CURVE["fpr_at_0p4"]), abs=1e-12)
    # The reference reads this as (TP, FP, TN, FN); it is (TN, FN, FP, TP).
    assert [counts.tn, counts.fn, counts.fp, counts.tp] == CURVE["confusion_ravel_at_0p4"].tolist()


def test_equal_to_reference_test_step():
    score, seg = STEP["score_map"], STEP["seg"]
    threshold = float(STEP["metric_BestThresholdPerVol"])
    result = volume_metrics(score, seg, threshold=threshold)
    for ours, theirs in {
        "dice": "DiceScorePerVol",
        "auprc": "AUPRCPerVol",
        "auroc": "AUCPerVol",
        "precision": "PrecisionPerVol",
        "recall": "RecallPerVol",
        "lesion_voxels": "lesionSizePerVol",
    }.items():
        assert result[ours] == pytest.approx(float(STEP[f"metric_{theirs}"]), abs=1e-6), ours
    assert confusion_at(score, seg, threshold).accuracy == pytest.approx(
        float(STEP["metric_AccuracyPerVol"])
    )
    # Exact search finds more than the halving search does (0.6217).
    assert result["best_dice"] == pytest.approx(0.6495726, abs=1e-6)
    assert hausdorff(score >= threshold, seg) == pytest.approx(float(STEP["metric_HausPerVol"]))
    wrong_axis = slice_dice(score, seg, threshold, axis=0)
    np.testing.assert_allclose(
        wrong_axis[~np.isnan(wrong_axis)], STEP["metric_DiceScorePerSlice"], atol=1e-9
    )
    assert slice_dice(score, seg, threshold).shape == (26,)


def test_reconstruction_errors_equal_reference():
    image, reconstruction, lesion = STEP["orig"], STEP["final"], STEP["seg"] > 0
    for power in (1, 2):
        for name, where in {"All": None, "Healthy": ~lesion, "Unhealthy": lesion}.items():
            expected = float(STEP[f"metric_l{power}recoError{name}"])
            ours = reconstruction_error(image, reconstruction, where, power)
            assert ours == pytest.approx(expected, rel=1e-5)
    assert l1_error(np.array([0.5, 1.0]), np.array([0.25, 0.0]), [1, 0]) == pytest.approx(0.25)
    assert np.isnan(l1_error(np.ones(2), np.zeros(2), np.zeros(2)))


def test_reconstruction_errors_by_hand():
    image = np.array([1.0, 0.5, 0.5, 0.25, 0.0])
    rebuilt = np.array([0.5, 0.5, 0.25, 0.25, 0.5])
    mask, seg = np.array([1, 1, 1, 1, 0]), np.array([1, 0, 0, 0, 0])
    found = reconstruction_errors(image, rebuilt, mask, seg)
    assert found["l1_lesion"] == pytest.approx(0.5)
    assert found["l1_healthy"] == pytest.approx(0.25 / 3)
    assert found["l1_ratio"] == pytest.approx(6)


def test_reconstruction_errors_without_a_kind_of_tissue_or_error_are_nan():
    image, rebuilt, mask = np.ones(4), np.full(4, 0.5), np.ones(4)
    healthy = reconstruction_errors(image, rebuilt, mask, np.zeros(4))
    assert healthy["l1_healthy"] == 0.5
    assert np.isnan([healthy["l1_lesion"], healthy["l1_ratio"]]).all()
    sick = reconstruction_errors(image, rebuilt, mask, np.ones(4))
    assert sick["l1_lesion"] == 0.5 and np.isnan([sick["l1_healthy"], sick["l1_ratio"]]).all()
    exact = reconstruction_errors(image, image, mask, np.array([1, 0, 0, 0]))
    assert exact["l1_healthy"] == 0 and np.isnan(exact["l1_ratio"])


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_background_can_be_added_to_a_ranking(shift):
    """As if the volume had been sorted with it, also where scores reach 0 or fall below it."""
    score, truth = random_case(1, 0)
    score = score - shift
    found = rank(score, truth).with_background(5000)
    padded = np.r_[score.ravel(), np.zeros(5000)], np.r_[truth.ravel(), np.zeros(5000, bool)]
    assert (score[truth] == 0).any() or shift
    assert found.metrics() == pytest.approx(rank(*padded).metrics())
    assert found.metrics()["auroc"] != pytest.approx(rank(score, truth).metrics()["auroc"])
