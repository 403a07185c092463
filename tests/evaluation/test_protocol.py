"""The protocols together: each number against the function that defines it, and what is empty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np
import pytest

from sadm_utils.evaluation import metrics
from sadm_utils.evaluation.detection import slice_tops, volume_score
from sadm_utils.evaluation.lesions import find_pieces, lesion_metrics
from sadm_utils.evaluation.protocol import (
    RATES,
    Healthy,
    Scored,
    Truth,
    measure_healthy,
    measure_set,
    validation_thresholds,
)
from sadm_utils.evaluation.surfaces import average_surface_distance, hausdorff
from sadm_utils.evaluation.tables import METRIC_NAMES
from sadm_utils.evaluation.thresholds import healthy_thresholds

SHAPE, VOXEL = (14, 12, 10), 2.0
ROW, OTHER = ("cDDPM", ""), ("Unet", "draem")
SET_LEVEL = {"pooled_best_dice", "pooled_auprc", "detection_auroc", "slice_auroc"}


def volume(seed: int, sick: bool = True, outside: bool = False) -> Scored:
    """A box as brain, a smaller one as lesion that pokes out of it, and scores of two methods."""
    rng = np.random.default_rng(seed)
    mask, seg = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    mask[2:12, 2:10, 1:9] = 1
    if sick:
        x = int(rng.integers(6, 10))
        seg[x : x + 4, 4:8, 3:7] = 1
    image, rebuilt = rng.random((2, *SHAPE)).astype(np.float32)
    scores = [
        (*row, ((rng.random(SHAPE) + gain * seg) * (mask > 0)).astype(np.float32))
        for row, gain in ((ROW, 0.3), (OTHER, 0.8))
    ]
    if outside:
        scores[0][2][0, 0, 0] = 0.7
    return Scored(f"s{seed}", mask, seg, scores, VOXEL, image, {ROW: rebuilt})


def volumes(seeds: range, **options: bool) -> Iterator[Scored]:
    return (volume(seed, **options) for seed in seeds)


@pytest.fixture(scope="module")
def well() -> Healthy:
    parts = (volumes(range(start, start + 3), sick=False) for start in (100, 200))
    return measure_healthy(*parts)


def measured(
    case: Scored,
    row: tuple[str, str] = ROW,
    threshold: float | None = None,
    rates: Mapping[float, float] = MappingProxyType({}),
) -> dict[str, float]:
    score = next(s for method, source, s in case.scores if (method, source) == row)
    return Truth(case).metrics(row, score, threshold, rates)


@pytest.mark.parametrize("outside", [False, True])
def test_every_number_is_that_of_the_function_that_defines_it(outside, well):
    case, threshold = volume(3, outside=outside), 0.85
    score, seg, mask = case.scores[0][2], case.seg, case.mask
    found = measured(case, ROW, threshold, well.thresholds[ROW])
    inside = (mask > 0) | (seg > 0)
    assert (seg[mask == 0] > 0).any(), "the lesion must reach out of the brain mask for this"
    whole = metrics.volume_metrics(score, seg, threshold=threshold)
    brain = metrics.volume_metrics(score, seg, inside, threshold)
    expected = {k: v for k, v in whole.items() if k not in ("best_threshold", "lesion_voxels")}
    expected |= {f"{k}_brain": brain[k] for k in ("auprc", "auroc", "specificity")}
    for name, rate in RATES.items():
        expected[name] = metrics.dice_at(score, seg, well.thresholds[ROW][rate])
    marked = score >= threshold
    expected["hd95"] = hausdorff(marked, seg, VOXEL, 95)
    expected["assd"] = average_surface_distance(marked, seg, VOXEL)
    expected |= lesion_metrics(*(find_pieces(m, VOXEL**3 / 1000) for m in (marked, seg)))
    parts = case.image, case.reconstructions[ROW], mask, seg
    expected |= metrics.reconstruction_errors(*parts)
    assert found == pytest.approx(expected, nan_ok=True)
    assert found["auroc"] > found["auroc_brain"]
    assert not any(name.startswith("l1") for name in measured(case, OTHER))


def test_every_name_is_in_the_list_and_every_one_of_the_list_is_measured(well):
    result = measure_set("ATLAS", volumes(range(3)), volumes(range(3, 6)), well, resamples=20)
    names = {r["metric"] for r in result.subjects}
    assert names | SET_LEVEL == set(METRIC_NAMES)
    assert {r["metric"] for r in result.whole} == SET_LEVEL
    assert list(result.thresholds) == [ROW, OTHER]


def test_a_voxel_size_for_each_axis_reaches_distances_and_volumes():
    case = volume(3)
    wide = Scored("s3", case.mask, case.seg, case.scores, (2.0, 2.0, 6.0))
    near, far = (measured(c, ROW, 0.9) for c in (case, wide))
    assert far["hd95"] > near["hd95"] and far["dice"] == near["dice"]
    assert Truth(wide).lesions.volumes[0] == pytest.approx(64 * 24 / 1000)


def test_healthy_thresholds_and_what_became_of_the_rates(well):
    cases = list(volumes(range(100, 103), sick=False))
    exact = healthy_thresholds([c.scores[0][2] for c in cases], [c.mask for c in cases])
    assert well.thresholds[ROW] == pytest.approx(exact, rel=2 / 4096)
    for rate, share in well.marked[ROW].items():
        limit = well.thresholds[ROW][rate]
        marks = [c.scores[0][2][c.mask > 0] >= limit for c in volumes(range(200, 203), sick=False)]
        assert share == pytest.approx(np.mean(marks))


def test_detection_compares_sick_with_healthy_volumes(well):
    result = measure_set("ATLAS", [], volumes(range(6)), well, resamples=50)
    found = {(r["method"], r["metric"]): r for r in result.whole}
    sick = [volume_score(c.scores[1][2], c.mask) for c in volumes(range(6))]
    healthy = [c for c in volumes(range(200, 203), sick=False)]
    healthy = [volume_score(c.scores[1][2], c.mask) for c in healthy]
    expected = np.mean([[a > b for b in healthy] for a in sick])
    assert found["Unet", "detection_auroc"]["mean"] == expected == 1
    assert found["Unet", "detection_auroc"]["n"] == 9
    items = [(slice_tops(c.scores[0][2], c.mask), c.seg.any(axis=(0, 1))) for c in
             [*volumes(range(6)), *volumes(range(200, 203), sick=False)]]  # fmt: skip
    tops, lesion = (np.concatenate(part) for part in zip(*items, strict=True))
    known = ~np.isnan(tops)
    assert (~known).sum() == 9 * 2, "two slices of each volume hold no brain"
    assert found["cDDPM", "slice_auroc"]["mean"] == pytest.approx(
        metrics.auroc(tops[known], lesion[known])
    )


def test_pooled_numbers_are_those_of_all_voxels_together(well):
    result = measure_set("ATLAS", [], volumes(range(6)), well, resamples=50)
    found = {(r["method"], r["metric"]): r for r in result.whole}
    parts = [(c.scores[0][2].ravel(), c.seg.ravel()) for c in volumes(range(6))]
    score, seg = (np.concatenate(p) for p in zip(*parts, strict=True))
    pooled = found["cDDPM", "pooled_best_dice"]
    assert pooled["mean"] == pytest.approx(metrics.best_dice(score, seg)[0], abs=2e-3)
    assert pooled["low"] < pooled["mean"] < pooled["high"] and pooled["n"] == 6
    expected = metrics.average_precision(score, seg)
    assert found["cDDPM", "pooled_auprc"]["mean"] == pytest.approx(expected, abs=2e-3)


def test_thresholds_are_pooled_over_validation_volumes():
    thresholds = validation_thresholds(volumes(range(4)))
    cases = list(volumes(range(4)))
    for number, row in enumerate((ROW, OTHER)):
        parts = [(c.scores[number][2].ravel(), c.seg.ravel()) for c in cases]
        score, seg = (np.concatenate(p) for p in zip(*parts, strict=True))
        best = metrics.best_dice(score, seg)[0]
        assert metrics.dice_at(score, seg, thresholds[row]) == pytest.approx(best, abs=2e-3)


def test_without_validation_or_healthy_subjects_less_is_measured():
    result = measure_set("MSLUB", [], volumes(range(2)), resamples=10)
    assert result.thresholds == {}
    assert {r["metric"] for r in result.subjects if r["method"] == "Unet"} == {
        "best_dice", "auprc", "auroc", "auprc_brain", "auroc_brain",
    }  # fmt: skip
    assert {r["metric"] for r in result.whole} == {"pooled_best_dice", "pooled_auprc"}


def test_a_volume_without_lesion_and_a_method_that_marks_nothing(well):
    found = measured(volume(1, sick=False), ROW, 0.5, well.thresholds[ROW])
    defined = {"specificity", "specificity_brain", "l1_healthy"}
    zero = {"precision", "lesion_precision"} | {
        name for name in found if name.startswith("lesion_precision") and found[name] == 0
    }
    assert all(found[name] == 0 for name in zero) and all(found[n] > 0 for n in defined)
    assert all(np.isnan(v) for name, v in found.items() if name not in defined | zero)
    found = measured(volume(1), ROW, 9.0)
    assert found["dice"] == found["recall"] == found["lesion_f1"] == 0
    assert found["specificity"] == 1
    assert np.isnan([found[n] for n in ("precision", "lesion_precision", "hd95", "assd")]).all()


def test_a_score_of_another_shape_is_refused():
    case = volume(1)
    bad = Scored("s1", case.mask, case.seg, [("AE", "", np.zeros((3, 3, 3)))])
    with pytest.raises(ValueError, match="shape"):
        measured(bad, ("AE", ""))
