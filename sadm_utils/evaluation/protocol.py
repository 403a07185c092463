"""What is measured of a method: the same for every row of the table, whatever made its scores.

A threshold comes from validation subjects that no method was trained on; everything else is
measured one test subject at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sadm_utils.evaluation.histogram import ScoreHistogram
from sadm_utils.evaluation.metrics import volume_metrics

METRICS = ("best_dice", "dice", "auprc", "auroc", "precision", "recall", "specificity")
Row = tuple[str, str]
"""(method, annotations): a row of the table, e.g. ``("SADM_res", "draem")`` or ``("AE", "")``."""


@dataclass(frozen=True)
class Scored:
    """One volume with the anomaly scores of some methods; arrays are (H, W, D).

    Attributes
    ----------
    mask, seg
        Brain and lesion mask, > 0 inside.
    scores
        (method, annotations, score) of each row; a score is larger where an anomaly is more
        likely, and 0 outside the brain. Taken once, one at a time.
    """

    subject: str
    mask: np.ndarray
    seg: np.ndarray
    scores: Iterable[tuple[str, str, np.ndarray]]


def validation_thresholds(volumes: Iterable[Scored]) -> dict[Row, float]:
    """The threshold with the best pooled Dice on validation volumes, for each row."""
    counted: dict[Row, ScoreHistogram] = defaultdict(ScoreHistogram)
    for volume in volumes:
        inside = (volume.mask > 0) | (volume.seg > 0)  # scores are 0 elsewhere
        for method, source, score in volume.scores:
            counted[method, source].add(score, volume.seg, inside)
    return {row: found.best_dice()[1] for row, found in counted.items() if found.positives}


def subject_rows(
    test_set: str, volume: Scored, thresholds: Mapping[Row, float]
) -> list[dict[str, Any]]:
    """Measure one test volume: a dict for each row of the table and each metric.

    Returns
    -------
    Keys ``method``, ``annotations``, ``test_set``, ``subject``, ``metric`` and ``value``.
    """
    rows = []
    for method, source, score in volume.scores:
        metrics = volume_metrics(score, volume.seg, threshold=thresholds.get((method, source)))
        key = {"method": method, "annotations": source, "test_set": test_set}
        rows += [
            {**key, "subject": volume.subject, "metric": metric, "value": metrics[metric]}
            for metric in METRICS
            if metric in metrics
        ]
    return rows
