"""How well a score map finds the lesion: exact metrics of one volume, from one sort.

Conventions, the same in every function:

* A voxel is *predicted* where ``score >= threshold``.
* ``mask=None`` counts every voxel of the volume, background included, as in the paper; the score
  is 0 there, so the background adds easy true negatives alone (AUROC and specificity rise, Dice,
  precision, recall and average precision do not). With a mask only its voxels count.
* A question without an answer is ``nan``, never 0 or 1: Dice, recall, average precision and AUROC
  without a lesion in the truth; precision with nothing predicted; AUROC with lesion everywhere.
  Means over subjects leave ``nan`` out and report how many they used.
"""

from dataclasses import dataclass, replace

import numpy as np

NAN = float("nan")


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else NAN


def counted_voxels(
    score: np.ndarray, truth: np.ndarray, mask: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return flat scores and a flat bool truth of the voxels that count, after checking them."""
    score, truth = np.asarray(score), np.asarray(truth) > 0
    if score.shape != truth.shape or (mask is not None and np.shape(mask) != score.shape):
        raise ValueError(
            f"score {score.shape}, truth {truth.shape}, mask {np.shape(mask)}: shapes must agree"
        )
    if mask is None:
        score, truth = score.ravel(), truth.ravel()
    else:
        inside = np.asarray(mask) > 0
        score, truth = score[inside], truth[inside]
    if score.dtype.kind == "f" and np.isnan(score).any():
        raise ValueError("the score map holds nan")
    return score, truth


@dataclass(frozen=True)
class Confusion:
    """Voxel counts of one decision, and the rates that follow from them."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN); ``nan`` without a lesion in the truth."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn) if self.tp + self.fn else NAN

    @property
    def precision(self) -> float:
        """TP / (TP + FP): the share of the prediction that is lesion."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """TP / (TP + FN): the share of the lesion that is found (sensitivity)."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        """TN / (TN + FP): the share of the healthy voxels left alone."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def false_positive_rate(self) -> float:
        """FP / (FP + TN) = 1 - specificity."""
        return _ratio(self.fp, self.fp + self.tn)

    @property
    def false_discovery_rate(self) -> float:
        """FP / (FP + TP) = 1 - precision; the reference calls this one "FPR"."""
        return _ratio(self.fp, self.fp + self.tp)

    @property
    def accuracy(self) -> float:
        """(TP + TN) / all."""
        return _ratio(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn)


def confusion_at(
    score: np.ndarray, truth: np.ndarray, threshold: float, mask: np.ndarray | None = None
) -> Confusion:
    """Count hits and misses of ``score >= threshold`` against the lesion mask ``truth``."""
    score, truth = counted_voxels(score, truth, mask)
    predicted = score >= threshold
    tp = int(np.count_nonzero(predicted & truth))
    fp, fn = int(np.count_nonzero(predicted)) - tp, int(np.count_nonzero(truth)) - tp
    return Confusion(tp, fp, fn, score.size - tp - fp - fn)


def dice_at(
    score: np.ndarray, truth: np.ndarray, threshold: float, mask: np.ndarray | None = None
) -> float:
    """Dice of ``score >= threshold``, in [0, 1], or ``nan`` without a lesion in the truth."""
    return confusion_at(score, truth, threshold, mask).dice


@dataclass(frozen=True)
class Ranking:
    """All decisions worth making on one volume, sorted: the common ground of all exact metrics.

    Only thresholds equal to a *lesion* voxel's score matter: between two of them, lowering the
    threshold adds false positives alone. So it is enough to sort, once, all scores and the
    lesion's scores, and to count by bisection.

    Attributes
    ----------
    thresholds : array (K,)
        Distinct scores of the lesion's voxels, falling.
    tp, predicted : array (K,)
        Lesion voxels, and all voxels, with ``score >= threshold``.
    ties : array (K,)
        Healthy voxels with exactly this score.
    positives, total : int
        Lesion voxels, and all voxels that count.
    """

    thresholds: np.ndarray
    tp: np.ndarray
    predicted: np.ndarray
    ties: np.ndarray
    positives: int
    total: int

    def with_background(self, voxels: int) -> "Ranking":
        """The same map with so many healthy voxels of score 0 more: those outside the brain."""
        return replace(
            self,
            predicted=self.predicted + np.where(self.thresholds <= 0, voxels, 0),
            ties=self.ties + np.where(self.thresholds == 0, voxels, 0),
            total=self.total + voxels,
        )

    def metrics(self) -> dict[str, float]:
        """``best_dice``, ``best_threshold``, ``auprc`` and ``auroc``."""
        best, threshold = _best_dice(self)
        curves = {"auprc": _average_precision(self), "auroc": _auroc(self)}
        return {"best_dice": best, "best_threshold": threshold, **curves}


def rank(score: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> Ranking:
    """Sort a score map against the lesion mask: see `Ranking`."""
    score, truth = counted_voxels(score, truth, mask)
    everything, lesion = np.sort(score), score[truth]
    thresholds, count = np.unique(lesion, return_counts=True)
    thresholds, count = thresholds[::-1], count[::-1]
    below = np.searchsorted(everything, thresholds, side="left")
    up_to = np.searchsorted(everything, thresholds, side="right")
    predicted, ties = score.size - below, up_to - below - count
    return Ranking(thresholds, np.cumsum(count), predicted, ties, lesion.size, score.size)


def _best_dice(ranking: Ranking) -> tuple[float, float]:
    if not ranking.positives:
        return NAN, NAN
    dice = 2 * ranking.tp / (ranking.predicted + ranking.positives)
    best = int(np.argmax(dice))
    return float(dice[best]), float(ranking.thresholds[best])


def _average_precision(ranking: Ranking) -> float:
    if not ranking.positives:
        return NAN
    gain = np.diff(ranking.tp, prepend=0) / ranking.positives
    return float(np.sum(gain * ranking.tp / ranking.predicted))


def _auroc(ranking: Ranking) -> float:
    negatives = ranking.total - ranking.positives
    if not ranking.positives or not negatives:
        return NAN
    found = np.diff(ranking.tp, prepend=0)
    higher = ranking.predicted - ranking.tp - ranking.ties  # healthy voxels that score higher
    wins = negatives - higher - 0.5 * ranking.ties
    return float(np.sum(found * wins) / (float(ranking.positives) * negatives))


def best_dice(
    score: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None
) -> tuple[float, float]:
    """⌈Dice⌉: the best Dice that any threshold reaches, exactly, and that threshold.

    Parameters
    ----------
    score, truth : array of one shape
        Anomaly scores and lesion mask {0, 1}.
    mask : array, optional
        Voxels that count (default: all).

    Returns
    -------
    dice, threshold : float
        The highest such threshold; ``(nan, nan)`` without a lesion in the truth.

    Notes
    -----
    The threshold is chosen with the test volume's own labels, hence the ceiling brackets: it is a
    bound on what the map allows, not a result one could have in practice. The reference searches
    by halving (`sadm_utils.evaluation.thresholds.halving_threshold`) and may miss the optimum.
    """
    return _best_dice(rank(score, truth, mask))


def average_precision(
    score: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None
) -> float:
    """Area under the precision-recall curve (AUPRC) as the step sum of scikit-learn, in [0, 1]."""
    return _average_precision(rank(score, truth, mask))


def auroc(score: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Area under the ROC curve: the chance that a lesion voxel outscores a healthy one.

    Ties count one half (Mann-Whitney), as in scikit-learn.
    """
    return _auroc(rank(score, truth, mask))


def volume_metrics(
    score: np.ndarray,
    truth: np.ndarray,
    mask: np.ndarray | None = None,
    threshold: float | None = None,
) -> dict[str, float]:
    """All metrics of one volume from one sort.

    Returns ``best_dice``, ``best_threshold``, ``auprc``, ``auroc``, ``lesion_voxels`` and, with a
    (validation) ``threshold``, ``dice``, ``precision``, ``recall``, ``specificity``.
    """
    ranking = rank(score, truth, mask)
    result = {**ranking.metrics(), "lesion_voxels": float(ranking.positives)}
    if threshold is not None:
        decision = confusion_at(score, truth, threshold, mask)
        for name in ("dice", "precision", "recall", "specificity"):
            result[name] = getattr(decision, name)
    return result


def slice_dice(score: np.ndarray, truth: np.ndarray, threshold: float, axis: int = 2) -> np.ndarray:
    """Dice of every slice along ``axis``; ``nan`` for slices without lesion (axis 2 = axial)."""
    truth = np.asarray(truth) > 0
    predicted = np.asarray(score) >= threshold
    others = tuple(a for a in range(truth.ndim) if a != axis % truth.ndim)
    hits = np.count_nonzero(predicted & truth, axis=others)
    lesion = np.count_nonzero(truth, axis=others)
    sizes = np.count_nonzero(predicted, axis=others) + lesion
    return np.where(lesion > 0, 2 * hits / np.maximum(sizes, 1), np.nan)


def reconstruction_error(
    image: np.ndarray, reconstruction: np.ndarray, where: np.ndarray | None = None, power: int = 1
) -> float:
    """Mean of ``|image - reconstruction| ** power`` over the voxels ``where`` (default: all).

    Pass the brain mask, the lesion, or the brain without the lesion. ``nan`` with no voxel.
    """
    difference = np.abs(np.asarray(image, np.float32) - np.asarray(reconstruction, np.float32))
    if where is not None:
        difference = difference[np.asarray(where) > 0]
    return float(np.mean(difference**power, dtype=np.float64)) if difference.size else NAN


def l1_error(
    image: np.ndarray, reconstruction: np.ndarray, mask: np.ndarray | None = None
) -> float:
    """Mean absolute reconstruction error inside the mask, in units of the [0, 1] intensity."""
    return reconstruction_error(image, reconstruction, mask, power=1)


def reconstruction_errors(
    image: np.ndarray, reconstruction: np.ndarray, mask: np.ndarray, seg: np.ndarray
) -> dict[str, float]:
    """Mean absolute error in healthy tissue and in the lesion, and the ratio of the two.

    Returns ``l1_healthy`` (brain without lesion), ``l1_lesion`` and ``l1_ratio`` (lesion over
    healthy). ``nan`` where there is no such voxel; the ratio also where the healthy error is 0.
    """
    lesion = np.asarray(seg) > 0
    healthy = l1_error(image, reconstruction, (np.asarray(mask) > 0) & ~lesion)
    sick = l1_error(image, reconstruction, lesion)
    return {"l1_healthy": healthy, "l1_lesion": sick, "l1_ratio": _ratio(sick, healthy)}
