"""What is measured of a method: the same for every row of the table, whatever made its scores.

Thresholds come from validation subjects that no method was trained on: one from sick subjects with
their labels, and some from healthy subjects and a tolerated rate of false alarms. Everything else
is measured one test subject at a time, and some of it over a whole test set. Every name is defined
on the page "Protocols" (``book/protocols.md``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sadm_utils.evaluation.detection import Detection, slice_tops, volume_score
from sadm_utils.evaluation.histogram import ScoreHistogram
from sadm_utils.evaluation.lesions import Pieces, find_pieces, lesion_metrics
from sadm_utils.evaluation.metrics import Confusion, rank, reconstruction_errors
from sadm_utils.evaluation.pooled import PooledCounts
from sadm_utils.evaluation.statistics import Interval
from sadm_utils.evaluation.surfaces import Surface, find_surface, surface_metrics

RATES = {"dice_fpr1": 0.01, "dice_fpr5": 0.05, "dice_fpr10": 0.10}
"""Dice at a tolerated share of marked voxels in healthy brains."""
Row = tuple[str, str]
"""(method, annotations): a row of the table, e.g. ``("SADM_res", "draem")`` or ``("AE", "")``."""
Rates = Mapping[Row, Mapping[float, float]]
"""For each row the thresholds by healthy false-positive rate."""


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
    voxel_mm
        Edge of a voxel, or one for each axis; distances and volumes follow from it.
    image, reconstructions
        The scan in [0, 1] and what the rows that have one made of it, for their error.
    """

    subject: str
    mask: np.ndarray
    seg: np.ndarray
    scores: Iterable[tuple[str, str, np.ndarray]]
    voxel_mm: float | tuple[float, ...] = 1.0
    image: np.ndarray | None = None
    reconstructions: Mapping[Row, np.ndarray] = field(default_factory=dict)

    @property
    def counted(self) -> np.ndarray:
        """The brain, and the lesion where the brain mask misses it; scores are 0 elsewhere."""
        return (self.mask > 0) | (self.seg > 0)


@dataclass(frozen=True)
class Healthy:
    """What healthy subjects say about each row.

    Attributes
    ----------
    thresholds
        From the validation subjects.
    marked
        Mean share of the test subjects' brains that is marked at them: what the rates became.
    volumes, slices
        Scores of the test subjects and of their slices, to tell sick ones from.
    """

    thresholds: Rates
    marked: Rates
    volumes: Mapping[Row, Detection]
    slices: Mapping[Row, Detection]


@dataclass(frozen=True)
class SetResult:
    """What was measured on a test set: a dict for each row of the table and each metric.

    Attributes
    ----------
    subjects
        Keys ``method``, ``annotations``, ``test_set``, ``subject``, ``metric`` and ``value``.
    whole
        Numbers of the set as a whole: the keys of a summary, with an interval over subjects.
    thresholds
        The validation threshold of each row.
    """

    subjects: list[dict[str, Any]]
    whole: list[dict[str, Any]]
    thresholds: dict[Row, float]


def validation_thresholds(volumes: Iterable[Scored]) -> dict[Row, float]:
    """The threshold with the best pooled Dice on validation volumes, for each row."""
    counted: dict[Row, ScoreHistogram] = defaultdict(ScoreHistogram)
    for volume in volumes:
        inside = volume.counted
        for method, source, score in volume.scores:
            counted[method, source].add(score, volume.seg, inside)
    # A threshold of no score at all would also mark everything outside of the brain.
    least = float(np.finfo(np.float32).tiny)
    return {row: max(found.best_dice()[1], least) for row, found in counted.items()
            if found.positives}  # fmt: skip


def measure_healthy(validation: Iterable[Scored], test: Iterable[Scored]) -> Healthy:
    """Take thresholds from healthy validation subjects, and look at healthy test subjects."""
    counted: dict[Row, ScoreHistogram] = defaultdict(ScoreHistogram)
    for volume in validation:
        for method, source, score in volume.scores:
            counted[method, source].add(score, np.zeros(score.shape, bool), volume.mask)
    thresholds = {
        row: {rate: counts.healthy_threshold(rate) for rate in RATES.values()}
        for row, counts in counted.items()
    }
    shares: dict[Row, list[list[float]]] = defaultdict(list)
    volumes: dict[Row, Detection] = defaultdict(Detection)
    slices: dict[Row, Detection] = defaultdict(Detection)
    for volume in test:
        brain = volume.mask > 0
        for method, source, score in volume.scores:
            row = method, source
            _add_items(volume, score, volumes[row], slices[row])
            limits = thresholds.get(row, {}).values()
            shares[row].append([float(np.mean(score[brain] >= limit)) for limit in limits])
    marked = {
        row: dict(zip(thresholds.get(row, {}), np.mean(found, axis=0).tolist(), strict=True))
        for row, found in shares.items()
    }
    return Healthy(thresholds, marked, dict(volumes), dict(slices))


def measure_set(
    name: str,
    validation: Iterable[Scored],
    test: Iterable[Scored],
    healthy: Healthy | None = None,
    seed: int = 0,
    resamples: int = 2000,
) -> SetResult:
    """Measure everything on a test set.

    Parameters
    ----------
    name
        Goes into the column ``test_set``.
    validation, test
        Sick subjects of the same rows. Without validation subjects nothing that needs their
        threshold is measured.
    healthy
        From `measure_healthy`; without it there is no Dice at a healthy rate and no detection.
    seed, resamples
        Of the bootstrap intervals of what is measured over the whole set.
    """
    thresholds = validation_thresholds(validation)
    pooled: dict[Row, PooledCounts] = defaultdict(PooledCounts)
    volumes: dict[Row, Detection] = defaultdict(Detection)
    slices: dict[Row, Detection] = defaultdict(Detection)
    subjects = []
    for volume in test:
        truth = Truth(volume)
        for method, source, score in volume.scores:
            row = method, source
            rates = healthy.thresholds.get(row, {}) if healthy else {}
            values = truth.metrics(row, score, thresholds.get(row), rates)
            subjects += _tidy(row, name, volume.subject, values)
            pooled[row].add(*truth.voxels(score))
            if healthy:
                _add_items(volume, score, volumes[row], slices[row])
    whole = []
    for row, counts in pooled.items():
        numbers = counts.metrics(np.random.default_rng(seed), resamples)
        if healthy and row in healthy.volumes:
            for metric, sick, well in (
                ("detection_auroc", volumes, healthy.volumes),
                ("slice_auroc", slices, healthy.slices),
            ):
                joined = sick[row].joined(well[row])
                numbers[metric] = joined.auroc(np.random.default_rng(seed), resamples)
        whole += _summary(row, name, numbers)
    return SetResult(subjects, whole, thresholds)


class Truth:
    """A volume's truth, worked out once for all the rows that are compared on it."""

    def __init__(self, volume: Scored) -> None:
        self.volume, self.inside = volume, volume.counted
        self.lesion = volume.seg[self.inside] > 0
        spacing = np.broadcast_to(np.asarray(volume.voxel_mm, float), (volume.seg.ndim,))
        self.spacing = tuple(float(edge) for edge in spacing)
        self.voxel_ml = float(np.prod(self.spacing)) / 1000
        self.surface: Surface = find_surface(volume.seg, self.spacing)
        self.lesions: Pieces = find_pieces(volume.seg, self.voxel_ml)

    def metrics(
        self, row: Row, score: np.ndarray, threshold: float | None, rates: Mapping[float, float]
    ) -> dict[str, float]:
        """All metrics of one row, by name."""
        if score.shape != self.inside.shape:
            raise ValueError(f"score {score.shape} and volume {self.inside.shape} differ in shape")
        brain = rank(score[self.inside], self.lesion)
        values, lesion, background = self.voxels(score)
        whole = brain.with_background(background) if background else rank(values, lesion)
        curves, inner = whole.metrics(), brain.metrics()
        result = {name: curves[name] for name in ("best_dice", "auprc", "auroc")}
        result |= {f"{name}_brain": inner[name] for name in ("auprc", "auroc")}
        for name, rate in RATES.items():
            if rate in rates:
                result[name] = self._decide(score, rates[rate]).dice
        if threshold is not None:
            result |= self._at_threshold(score, threshold)
        if self.volume.image is not None and row in self.volume.reconstructions:
            parts = self.volume.image, self.volume.reconstructions[row]
            result |= reconstruction_errors(*parts, self.volume.mask, self.volume.seg)
        return result

    def voxels(self, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Scores, which of them are lesion, and how many healthy voxels of score 0 there are more.

        The background is counted, not listed, unless it has scores, which it should not.
        """
        values = score[self.inside]
        if np.count_nonzero(score) != np.count_nonzero(values):
            return score.ravel(), self.volume.seg.ravel() > 0, 0
        return values, self.lesion, score.size - values.size

    def _decide(self, score: np.ndarray, threshold: float, brain: bool = False) -> Confusion:
        """Hits and misses of ``score >= threshold`` in the volume or inside the brain."""
        marked = score >= threshold
        inner = marked[self.inside]
        found = int(np.count_nonzero(inner & self.lesion))
        wrong = int(np.count_nonzero(inner if brain else marked)) - found
        size, positives = (inner if brain else marked).size, int(np.count_nonzero(self.lesion))
        return Confusion(found, wrong, positives - found, size - positives - wrong)

    def _at_threshold(self, score: np.ndarray, threshold: float) -> dict[str, float]:
        """Everything that needs a decision: rates, lesions and distances."""
        decision, marked = self._decide(score, threshold), score >= threshold
        result = {
            name: getattr(decision, name)
            for name in ("dice", "precision", "recall", "specificity")
        }
        result["specificity_brain"] = self._decide(score, threshold, brain=True).specificity
        result |= surface_metrics(find_surface(marked, self.spacing), self.surface)
        return result | lesion_metrics(find_pieces(marked, self.voxel_ml), self.lesions)


def _add_items(volume: Scored, score: np.ndarray, volumes: Detection, slices: Detection) -> None:
    """Note the scores of a volume and of its slices, and which of them hold a lesion."""
    lesion = (volume.seg > 0).any(axis=(0, 1))
    volumes.add([volume_score(score, volume.mask)], [bool(lesion.any())])
    slices.add(slice_tops(score, volume.mask), lesion)


def _tidy(
    row: Row, test_set: str, subject: str, values: Mapping[str, float]
) -> list[dict[str, Any]]:
    key = {"method": row[0], "annotations": row[1], "test_set": test_set, "subject": subject}
    return [{**key, "metric": metric, "value": value} for metric, value in values.items()]


def _summary(row: Row, test_set: str, numbers: Mapping[str, Interval]) -> list[dict[str, Any]]:
    key = {"method": row[0], "annotations": row[1], "test_set": test_set}
    return [{**key, "metric": metric, **vars(found)} for metric, found in numbers.items()]
