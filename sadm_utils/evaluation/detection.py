"""Is there anything at all? Telling sick volumes from healthy ones, and slices likewise.

A volume needs one number for that. Its largest score is the luck of a single voxel, and its mean
score drowns a small lesion in the rest of the brain. In between lies the mean of the highest scores
in the brain: of the highest 0.1 % in a volume, which is about 1 ml, a small lesion; and of the
highest 1 % in a slice, ten to twenty voxels of 3 mm, or about forty of 2 mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sadm_utils.evaluation.statistics import Interval

TOP_OF_VOLUME, TOP_OF_SLICE = 0.001, 0.01
NAN = float("nan")


def top_mean(values: np.ndarray, share: float) -> float:
    """Mean of the highest ``share`` of the values, of one at least; ``nan`` without a value."""
    values = np.ravel(values)
    if not values.size:
        return NAN
    count = max(1, int(np.ceil(share * values.size - 1e-9)))
    return float(np.partition(values, values.size - count)[-count:].mean(dtype=np.float64))


def volume_score(score: np.ndarray, mask: np.ndarray) -> float:
    """One number for a volume: the mean of its highest scores inside the brain mask."""
    return top_mean(np.asarray(score)[np.asarray(mask) > 0], TOP_OF_VOLUME)


def slice_tops(score: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """One number for each slice along the last axis (axial); ``nan`` for slices without brain."""
    inside = np.asarray(mask) > 0
    depth = inside.shape[-1]
    return np.array([top_mean(score[..., k][inside[..., k]], TOP_OF_SLICE) for k in range(depth)])


@dataclass
class Detection:
    """Scores of the items (volumes or slices) of subjects, to be told apart.

    Attributes
    ----------
    positive, negative
        For each subject the scores of its items with and without a lesion; either may be empty.
    """

    positive: list[np.ndarray] = field(default_factory=list)
    negative: list[np.ndarray] = field(default_factory=list)

    def add(self, scores: Sequence[float], lesion: Sequence[bool]) -> None:
        """Add a subject: the scores of its items, and which of them hold a lesion."""
        scores, lesion = np.asarray(scores, float), np.asarray(lesion, bool)
        known = ~np.isnan(scores)
        self.positive.append(scores[known & lesion])
        self.negative.append(scores[known & ~lesion])

    def joined(self, other: Detection) -> Detection:
        """The subjects of both."""
        return Detection(self.positive + other.positive, self.negative + other.negative)

    def auroc(self, rng: np.random.Generator, resamples: int = 2000) -> Interval:
        """The chance that an item with a lesion scores higher than one without; ties are one half.

        The interval resamples subjects with all their items, those with a lesion and those without
        apart.

        Returns
        -------
        Interval
            ``n`` counts subjects; ``sd`` is ``nan``. Without items of one kind all is ``nan``, and
            with a single subject of a kind there is no interval.
        """
        sick = np.array([p.size > 0 for p in self.positive], bool)
        positives = np.array([p.size for p in self.positive], float)
        negatives = np.array([p.size for p in self.negative], float)
        if not positives.sum() or not negatives.sum():
            return Interval(NAN, NAN, NAN, NAN, sick.size)
        wins = self._wins()
        mean = float(wins.sum() / (positives.sum() * negatives.sum()))
        if min(sick.sum(), (negatives > 0).sum()) < 2:
            return Interval(mean, NAN, NAN, NAN, sick.size)
        drawn = np.zeros((resamples, sick.size))
        for group in (sick, ~sick):
            size = int(group.sum())
            if size:
                drawn[:, group] = rng.multinomial(size, np.full(size, 1 / size), resamples)
        pairs = (drawn @ positives) * (drawn @ negatives)
        values = ((drawn @ wins) * drawn).sum(axis=1)[pairs > 0] / pairs[pairs > 0]
        low, high = np.quantile(values, [0.025, 0.975])
        return Interval(mean, NAN, float(low), float(high), sick.size)

    def _wins(self) -> np.ndarray:
        """(i, j): pairs in which an item with lesion of subject i beats one without of j."""
        items = np.concatenate(self.positive)
        owner = np.repeat(np.arange(len(self.positive)), [p.size for p in self.positive])
        wins = np.zeros((len(self.positive), len(self.negative)))
        for column, values in enumerate(self.negative):
            values = np.sort(values)
            lower = np.searchsorted(values, items, side="left")
            equal = np.searchsorted(values, items, side="right") - lower
            wins[:, column] = np.bincount(owner, lower + 0.5 * equal, minlength=len(wins))
        return wins
