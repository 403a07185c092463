"""All voxels of a test set in one pot: pooled ⌈Dice⌉ and AUPRC, with intervals over subjects.

One threshold serves all volumes, and a large lesion weighs more than a small one. Volumes are
counted one by one into a histogram. For the intervals the counts of each volume are kept as well,
in bins that are 64 times as wide: a few kilobytes a volume.
"""

from __future__ import annotations

import numpy as np

from sadm_utils.evaluation.histogram import BINS, COARSE, ScoreHistogram, bin_of
from sadm_utils.evaluation.statistics import Interval

NAN = float("nan")
_COARSE_BINS = BINS // COARSE + 1


class PooledCounts:
    """Counts of lesion and healthy voxels by score, of all volumes together and of each.

    Attributes
    ----------
    all : ScoreHistogram
        The counts of all volumes.
    volumes : list of array (2, bins) int32
        Lesion and healthy voxels of each volume in wide bins, highest scores first.
    """

    def __init__(self) -> None:
        self.all = ScoreHistogram()
        self.volumes: list[np.ndarray] = []

    def add(self, score: np.ndarray, truth: np.ndarray, background: int = 0) -> None:
        """Count a volume: scores, which voxels are lesion, and more healthy voxels of score 0."""
        self.all.add(score, truth)
        self.all.healthy[0] += background
        bins = bin_of(np.ravel(score)) // COARSE
        lesion = np.bincount(bins[np.ravel(truth) > 0], minlength=_COARSE_BINS)
        healthy = np.bincount(bins, minlength=_COARSE_BINS) - lesion
        healthy[0] += background
        self.volumes.append(np.stack([lesion, healthy])[:, ::-1].astype(np.int32))

    def metrics(self, rng: np.random.Generator, resamples: int = 2000) -> dict[str, Interval]:
        """``pooled_best_dice`` and ``pooled_auprc``, with 95 % intervals over the volumes.

        Returns
        -------
        dict of Interval
            ``n`` counts volumes; ``sd`` is ``nan``, as there is one number for all of them. All
            ``nan`` without a lesion voxel; no interval with a single volume.
        """
        means = {
            "pooled_best_dice": self.all.best_dice()[0],
            "pooled_auprc": self.all.average_precision()[0],
        }
        if len(self.volumes) < 2 or not self.all.positives:
            ends = dict.fromkeys(means, (NAN, NAN))
        else:
            ends = self._ends(means, self._resample(rng, resamples))
        n = len(self.volumes)
        return {k: Interval(v, NAN, float(ends[k][0]), float(ends[k][1]), n)
                for k, v in means.items()}  # fmt: skip

    @staticmethod
    def _ends(means: dict[str, float], drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The middle 95 % of what was drawn, moved by what the wide bins change in the number."""
        return {
            name: np.clip(
                np.nanquantile(drawn[name][1:], [0.025, 0.975]) + mean - drawn[name][0], 0, 1
            )
            for name, mean in means.items()
        }

    def _resample(self, rng: np.random.Generator, resamples: int) -> dict[str, np.ndarray]:
        """Both numbers from wide bins: of all volumes, then of as many again, drawn with
        replacement, many times."""
        counts = np.stack(self.volumes).astype(np.float64)  # (N, 2, bins)
        steps = counts[:, 0].any(axis=0)  # only where a lesion voxel is met do the curves rise
        lesion = counts[:, 0, steps]
        found, wrong = (np.cumsum(counts[:, i], axis=1)[:, steps] for i in (0, 1))
        n = len(counts)
        dice, auprc = [], []
        weights = rng.multinomial(n, np.full(n, 1 / n), resamples).astype(np.float64)
        weights = np.concatenate([np.ones((1, n)), weights])
        for weight in np.split(weights, range(256, len(weights), 256)):
            hits, alarms, gain = weight @ found, weight @ wrong, weight @ lesion
            positives = hits[:, -1:]
            positives[positives == 0] = NAN
            dice.append((2 * hits / (hits + alarms + positives)).max(axis=1))
            precision = hits / np.maximum(hits + alarms, 1)
            auprc.append((gain * precision).sum(axis=1) / positives[:, 0])
        return {"pooled_best_dice": np.concatenate(dice), "pooled_auprc": np.concatenate(auprc)}
