"""Choosing a threshold without the test labels.

⌈Dice⌉ (`sadm_utils.evaluation.metrics.best_dice`) looks at the test volume's own labels. In use a
threshold has to come from elsewhere: from labeled validation volumes (the paper's "Dice";
`sadm_utils.evaluation.histogram` counts any number of them), or from healthy volumes and a
tolerated rate of false alarms (`healthy_thresholds`). Neither may share a subject with the
training set.
"""

from collections.abc import Sequence

import numpy as np

from sadm_utils.evaluation.metrics import dice_at


def _inside(volumes: Sequence[np.ndarray], masks: Sequence[np.ndarray] | None) -> np.ndarray:
    """Concatenate the voxels of all volumes that lie inside their masks."""
    if masks is None:
        return np.concatenate([np.ravel(volume) for volume in volumes])
    pairs = zip(volumes, masks, strict=True)
    return np.concatenate([np.asarray(volume)[np.asarray(mask) > 0] for volume, mask in pairs])


def halving_threshold(
    score: np.ndarray, truth: np.ndarray, steps: int = 10, high: float | None = None
) -> tuple[float, float]:
    """The reference's search for the best Dice, for comparison with its numbers only.

    On an interval that starts as [0, ``high``] (default: the largest score) it compares the Dice at
    one and three quarters and keeps the better half, the lower one of equals. Dice need not have a
    single peak, so the search can miss the optimum; `best_dice` is exact and cheaper.

    Returns
    -------
    dice, threshold : float
        The best pair seen.
    """
    low, high = 0.0, float(np.max(score)) if high is None else float(high)
    best = (-1.0, low)
    for _ in range(steps):
        middle = (low + high) / 2
        quarters = [(low + middle) / 2, (middle + high) / 2]
        dice = [dice_at(score, truth, quarter) for quarter in quarters]
        best = max(best, (dice[0], quarters[0]), (dice[1], quarters[1]), key=lambda pair: pair[0])
        low, high = (low, middle) if dice[0] >= dice[1] else (middle, high)
    return best


def healthy_thresholds(
    scores: Sequence[np.ndarray],
    masks: Sequence[np.ndarray] | None = None,
    rates: Sequence[float] = (0.01, 0.05, 0.10),
) -> dict[float, float]:
    """Thresholds at which at most a given share of healthy voxels is marked.

    Parameters
    ----------
    scores : sequence of array (X, Y, Z)
        Score maps of healthy validation subjects.
    masks : sequence of array, optional
        Brain masks; pass them, or the empty background hides false alarms.
    rates : sequence of float in [0, 1)
        Tolerated false-positive rates FP / (FP + TN).

    Returns
    -------
    dict rate -> threshold
        The smallest score that keeps the rate, with prediction ``score >= threshold``; just above
        the largest score where even that is too often.
    """
    values = np.sort(_inside(scores, masks))
    if not values.size:
        raise ValueError("no healthy voxel to choose a threshold from")
    result = {}
    for rate in rates:
        if not 0 <= rate < 1:
            raise ValueError(f"a false-positive rate lies in [0, 1), got {rate}")
        # The largest score that must not be marked; with ties all its equals are left out too.
        last_out = values[values.size - int(np.floor(rate * values.size + 1e-9)) - 1]
        upper = np.searchsorted(values, last_out, side="right")
        above = values[upper] if upper < values.size else np.nextafter(last_out, np.inf)
        result[rate] = float(above)
    return result
