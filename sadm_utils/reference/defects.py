"""How much each defect of the released evaluation matters: both rules on the same maps.

The maps are those that the stage ``evaluation`` of a run keeps, of its first test subjects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sadm_utils.errors import UserError
from sadm_utils.evaluation.anomaly_map import median_filter, ssim_map
from sadm_utils.evaluation.metrics import (
    Confusion,
    best_dice,
    confusion_at,
    slice_dice,
)
from sadm_utils.evaluation.surfaces import hausdorff
from sadm_utils.evaluation.thresholds import halving_threshold
from sadm_utils.records import read_header
from sadm_utils.reference import released_rules


@dataclass(frozen=True)
class Case:
    """One test subject: maps (H, W, D), a voxel's size in mm, the median's window in voxels."""

    image: np.ndarray
    reconstruction: np.ndarray
    mask: np.ndarray
    seg: np.ndarray
    score: np.ndarray
    voxel_mm: float = 2.0
    median: int = 5


@dataclass(frozen=True)
class Defect:
    """What the released code does instead of what, and both results on one subject.

    ``measure`` returns (released, corrected), ``unit`` is their unit.
    """

    name: str
    released: str
    corrected: str
    unit: str
    measure: Callable[[Case], tuple[float, float]]


def specificity(case: Case) -> tuple[float, float]:
    """Percent, at the best threshold."""
    counts = _decision(case)
    stored = released_rules.stored_confusion(counts)["SpecificityPerVol"]
    return 100 * stored, 100 * counts.specificity


def false_positive_rate(case: Case) -> tuple[float, float]:
    """Percent, at the best threshold."""
    counts = _decision(case)
    stored = released_rules.stored_confusion(counts)["FPRPerVol"]
    return 100 * stored, 100 * counts.false_positive_rate


def mean_slice_dice(case: Case) -> tuple[float, float]:
    """Percent, mean over the slices with a lesion, at the best threshold."""
    threshold = best_dice(case.score, case.seg)[1]
    return tuple(
        100 * float(np.nanmean(slice_dice(case.score, case.seg, threshold, axis)))
        for axis in (released_rules.SLICE_AXIS, 2)
    )


def ceiling_dice(case: Case) -> tuple[float, float]:
    """⌈Dice⌉ in percent."""
    found = halving_threshold(case.score, case.seg)[0]
    return 100 * found, 100 * best_dice(case.score, case.seg)[0]


def surface_distance(case: Case) -> tuple[float, float]:
    """Hausdorff distance at the best threshold."""
    prediction = case.score >= best_dice(case.score, case.seg)[1]
    voxels = hausdorff(prediction, case.seg)
    return voxels, case.voxel_mm * voxels


def residual_dice(case: Case) -> tuple[float, float]:
    """⌈Dice⌉ of x̃ alone in percent, SSIM in single and in centered arithmetic."""
    maps = (f(case.reconstruction, case.image) for f in (released_rules.ssim_map, ssim_map))
    brain = case.mask > 0
    scores = (median_filter((1 - similarity) * brain, case.median, brain) for similarity in maps)
    return tuple(100 * best_dice(score, case.seg)[0] for score in scores)


DEFECTS = (
    Defect(
        "Specificity", "from permuted counts, 0 for a perfect map",
        "TN / (TN + FP)", "%", specificity,
    ),
    Defect(
        "False-positive rate", "FP / (FP + TP), a false-discovery rate", "FP / (FP + TN)", "%",
        false_positive_rate,
    ),
    Defect(
        "Dice of slices", "along the first axis, sagittal slices", "along the model's axis, axial",
        "%", mean_slice_dice,
    ),
    Defect(
        "⌈Dice⌉", "ten halvings of the range, which may follow the wrong peak",
        "every threshold, from one sort", "%", ceiling_dice,
    ),
    Defect(
        "Hausdorff distance", "in voxels, read as mm", "in mm", "mm", surface_distance,
    ),
    Defect(
        "SSIM", "variances as differences of large numbers in 32 bits",
        "variances around the mean", "% ⌈Dice⌉ of x̃", residual_dice,
    ),
)  # fmt: skip
#: What cannot be measured on maps: name, released code, this book, the size as counted.
COUNTED = (
    ("Threshold", "fitted on subjects that were trained on", "on held-out subjects only",
     "90 of 100 subjects of BraTS21, 169 of 175 of ATLAS"),
    ("Healthy subjects", "test list shares subjects with training and validation lists",
     "shared subjects are refused", "9 of 157 (160 rows, some twice), in every fold"),
    ("Diffusion model alone", "evaluation stops for want of a supervised map",
     "evaluated as any other method", "no result at all"),
    ("Checkpoint", "read again for each volume, under names that match nothing",
     "loaded once, strictly", "at the small size 122 names unexpected, 102 missing"),
    ("SSIM", "computed twice in each call", "once", "twice the time"),
)  # fmt: skip


def measure(cases: Sequence[Case]) -> list[tuple[Defect, float, float, float]]:
    """Each defect with the means over the subjects and the mean size of the difference.

    Subjects whose lesion is empty are left out.

    Raises
    ------
    UserError
        If no subject has a lesion.
    """
    sick = [case for case in cases if case.seg.any()]
    if not sick:
        raise UserError("None of the kept maps has a lesion: the defects cannot be measured.")
    rows = []
    for defect in DEFECTS:
        pairs = np.array([defect.measure(case) for case in sick])
        pairs = pairs[np.isfinite(pairs).all(axis=1)]
        released, corrected = pairs.mean(axis=0)
        rows.append((defect, released, corrected, float(np.abs(pairs[:, 0] - pairs[:, 1]).mean())))
    return rows


def load_cases(run_dir: Path, per_set: int = 2) -> list[Case]:
    """The kept maps of a run's first test subjects, with SADM_res as the score.

    Of several networks, the first by name is taken for all sets; without one, x̃ is the score. A
    run without kept maps has none.
    """
    cases: list[Case] = []
    maps_dir = run_dir / "evaluation" / "maps"
    if not maps_dir.is_dir():
        return cases
    voxel_mm = read_header(run_dir / "data" / "config.yaml").settings["data"]["voxel_mm"]
    evaluation = read_header(run_dir / "evaluation" / "config.yaml").settings["evaluation"]
    for folder in sorted(maps_dir.glob("*")):
        for file in sorted(folder.glob("*.npz"))[:per_set]:
            with np.load(file, allow_pickle=False) as arrays:
                maps = {name: arrays[name].astype(np.float32) for name in arrays.files}
            networks = sorted(name for name in maps if name.endswith("-residual"))
            score = maps["residual"] + (maps[networks[0]] if networks else 0)
            parts = (maps[name] for name in ("image", "reconstruction", "mask", "seg"))
            cases.append(Case(*parts, score, voxel_mm, evaluation["median"]))
    return cases


def _decision(case: Case) -> Confusion:
    return confusion_at(case.score, case.seg, best_dice(case.score, case.seg)[1])
