"""The restated rules give what the released code stored, and ours differ only by its defects."""

from pathlib import Path

import numpy as np
import pytest

from sadm_utils.evaluation.metrics import Confusion, confusion_at
from sadm_utils.evaluation.thresholds import halving_threshold
from sadm_utils.reference import released_rules
from tests.golden.compare import relative_error

GOLDEN = Path(__file__).parents[1] / "golden"
SSIM = np.load(GOLDEN / "ssim.npz")
CURVE = np.load(GOLDEN / "threshold.npz")
STEP = {name: value.squeeze() for name, value in np.load(GOLDEN / "test_step.npz").items()}

COUNTS = [f"{name}PerVol" for name in ("TP", "FP", "TN", "FN", "lesionSize", "label")]
COUNTS += ["lesionSizePerSlice", "labelPerSlice"]


@pytest.mark.parametrize("sigma", [1.0, 1.5])
def test_ssim_in_single_precision(sigma, golden_error):
    pred, target = SSIM["pred"][0, 0], SSIM["target"][0, 0]
    ours = released_rules.ssim_map(pred, target, sigma)
    golden_error("ssim.npz", relative_error(ours, SSIM[f"ssim_map_sigma{sigma:g}"][0, 0]))
    radius = int(3.5 * sigma + 0.5)
    inner = ours[(slice(radius, -radius),) * 3].mean()
    golden_error("ssim.npz", relative_error(inner, SSIM[f"ssim_agg_sigma{sigma:g}"]))


def test_score_map_of_the_test_step(golden_error):
    arrays = [STEP[name] for name in ("orig", "final", "mask", "cam")]
    residual, score = released_rules.score_map(*arrays)
    before = (1 - released_rules.ssim_map(STEP["final"], STEP["orig"])) * STEP["mask"]
    golden_error("test_step.npz", relative_error(before, STEP["residual_premedian"]))
    golden_error("test_step.npz", relative_error(residual, STEP["residual_median5"]))
    golden_error("test_step.npz", relative_error(score, STEP["score_map"]))


def test_without_a_supervised_map_the_released_code_stops():
    with pytest.raises(TypeError):
        released_rules.score_map(STEP["orig"], STEP["final"], STEP["mask"], None)


def test_everything_that_is_stored_of_a_volume(golden_error):
    arrays = [STEP[name] for name in ("orig", "final", "seg", "mask", "score_map")]
    ours = released_rules.evaluate_volume(*arrays)
    assert {f"metric_{name}" for name in ours} == {n for n in STEP if n.startswith("metric_")}
    for name, value in ours.items():
        kind = "exact" if name in COUNTS else "forward"
        golden_error("test_step.npz", relative_error(value, STEP[f"metric_{name}"]), kind)


def test_threshold_search_and_counts(golden_error):
    dice, threshold = halving_threshold(CURVE["x"], CURVE["y"], int(CURVE["max_steps"]))
    assert np.max(CURVE["x"]) == CURVE["val_range_top"]
    counts = confusion_at(CURVE["x"], CURVE["y"], 0.4)
    for ours, name in (
        (dice, "best_dice"),
        (threshold, "best_thresh"),
        (counts.dice, "dice_at_0p4"),
        (counts.recall, "tpr_at_0p4"),
        (counts.false_discovery_rate, "fpr_at_0p4"),
    ):
        golden_error("threshold.npz", relative_error(ours, CURVE[name]))
    stored = released_rules.stored_confusion(counts)
    ravel = [stored[f"{name}PerVol"] for name in ("TP", "FP", "TN", "FN")]
    expected = CURVE["confusion_ravel_at_0p4"]  # sklearn's order: TN, FN, FP, TP
    golden_error("threshold.npz", relative_error(ravel, expected), "exact")


def test_a_perfect_map_has_specificity_zero_there():
    perfect = Confusion(tp=10, fp=0, fn=0, tn=90)
    assert released_rules.stored_confusion(perfect)["SpecificityPerVol"] == 0
    assert perfect.specificity == 1
