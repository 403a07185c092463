"""Best Dice and AUPRC over any number of volumes, in a few megabytes: a fine histogram of scores.

All exact metrics need all scores at once, sorted (`sadm_utils.evaluation.metrics`). Here each
volume is counted and forgotten. The bins are as fine as 12 bits of a floating-point number, 1/4096
of the score or less, and what the binning can have cost is known afterward, not guessed: the counts
are the same for any order of the scores inside a bin, so the best and the worst order bound the
exact result. (Equal scores have no order; where there are many, the bound is wider than need be.)
"""

import numpy as np

from sadm_utils.evaluation.metrics import counted_voxels

MANTISSA_BITS = 12
LOWEST, HIGHEST = -20, 4  # powers of 2: smaller scores share the first bin, larger ones the last
_SHIFT = 23 - MANTISSA_BITS
_FIRST = (127 + LOWEST) << MANTISSA_BITS
BINS = ((HIGHEST - LOWEST) << MANTISSA_BITS) + 1
"""Bin 0 holds all scores below 2^LOWEST."""
COARSE = 64
"""Bins that make one coarse bin, 1/64 of the score wide: fine enough for an interval."""


def bin_of(score: np.ndarray) -> np.ndarray:
    """Bin of each score, taken as float32.

    The bits of positive floating-point numbers, read as integers, are in the order of the numbers:
    cutting off the last ones is a histogram with 4096 bins from each power of 2 to the next.
    """
    bits = np.ascontiguousarray(score, dtype=np.float32).view(np.int32)
    return np.clip((bits >> _SHIFT) - _FIRST + 1, 0, BINS - 1)


def lower_edge(number: int) -> float:
    """The smallest score of a bin; bin 0 reaches down to minus infinity."""
    if number == 0:
        return -np.inf
    return float(np.int32((number - 1 + _FIRST) << _SHIFT).view(np.float32))


class ScoreHistogram:
    """Counts of lesion and healthy voxels by score.

    Attributes
    ----------
    lesion, healthy : array (BINS,) int64
        Voxels in each bin, lowest scores first.
    """

    def __init__(self) -> None:
        self.lesion = np.zeros(BINS, np.int64)
        self.healthy = np.zeros(BINS, np.int64)

    @property
    def positives(self) -> int:
        """Lesion voxels so far."""
        return int(self.lesion.sum())

    def add(self, score: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Count a volume: scores, lesion mask, and the voxels that count (default: all)."""
        score, truth = counted_voxels(score, truth, mask)
        bins = bin_of(score)
        lesion = np.bincount(bins[truth], minlength=BINS)
        self.lesion += lesion
        self.healthy += np.bincount(bins, minlength=BINS) - lesion

    def best_dice(self) -> tuple[float, float, float]:
        """The best Dice at a bin's edge, its threshold, and how much more any threshold could give.

        Returns
        -------
        dice, threshold, gap : float
            The Dice of ``score >= threshold`` is exact, and the highest that any threshold
            reaches is at most ``dice + gap``. All ``nan`` without a lesion voxel.
        """
        positives = self.positives
        if not positives:
            return np.nan, np.nan, np.nan
        found, wrong = self._above()
        dice = 2 * found / (found + wrong + positives)
        best = int(np.argmax(dice))
        # A threshold inside a bin: at best all of its lesion voxels come before its healthy ones.
        bound = 2 * found / (found + (wrong - self.healthy[::-1]) + positives)
        threshold = lower_edge(BINS - 1 - best)
        return float(dice[best]), threshold, float(bound.max() - dice[best])

    def average_precision(self) -> tuple[float, float]:
        """AUPRC with each bin's voxels counted as equal, and how far the exact value can be.

        Returns
        -------
        value, error : float
            The exact value lies within ``value`` ± ``error``; ``nan`` without a lesion voxel.
        """
        positives = self.positives
        if not positives:
            return np.nan, np.nan
        found, wrong = self._above()
        lesion, healthy = self.lesion[::-1], self.healthy[::-1]
        hit = lesion > 0
        found, wrong, lesion, healthy = (v[hit] for v in (found, wrong, lesion, healthy))
        value = lesion @ (found / (found + wrong)) / positives
        high = lesion @ (found / (found + wrong - healthy)) / positives
        first = found - lesion + 1
        low = lesion @ (first / (first + wrong)) / positives
        return float(value), float(max(high - value, value - low))

    def healthy_threshold(self, rate: float) -> float:
        """The threshold at which at most a given share of the healthy voxels is marked.

        Parameters
        ----------
        rate : float in [0, 1)
            Tolerated false-positive rate FP / (FP + TN).

        Returns
        -------
        float
            The lower edge of a bin that holds healthy voxels, the lowest that keeps the rate; the
            edge above all of them where even the highest bin is too much. It is at most one bin
            above the exact `sadm_utils.evaluation.thresholds.healthy_thresholds`. ``nan`` without
            a healthy voxel.
        """
        if not 0 <= rate < 1:
            raise ValueError(f"a false-positive rate lies in [0, 1), got {rate}")
        filled = np.flatnonzero(self.healthy)[::-1]
        if not filled.size:
            return float("nan")
        marked = np.cumsum(self.healthy[filled])
        kept = int(np.searchsorted(marked, rate * marked[-1] + 1e-9, side="right"))
        number = int(filled[kept - 1] if kept else filled[0] + 1)
        return lower_edge(number) if number < BINS else float("inf")

    def _above(self) -> tuple[np.ndarray, np.ndarray]:
        """Lesion and healthy voxels in each bin and above, highest bin first."""
        return np.cumsum(self.lesion[::-1]), np.cumsum(self.healthy[::-1])
