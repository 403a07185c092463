"""Which of the paper's orderings hold: every pair of rows that its table tells apart.

The table tells two methods apart on a test set if their means differ by more than the sum of their
standard deviations. Such an ordering *holds* here if our paired difference has the paper's sign and
is more than noise, is *reversed* if it has the other sign and is more than noise, and is *within
noise* otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from sadm_utils.evaluation.comparisons import holm, sign_flip_test
from sadm_utils.evaluation.statistics import Interval
from sadm_utils.results.measured import Measured, difference, paired, verdict
from sadm_utils.results.paper import OWN_SET, TEST_SETS, Row, paper_rows, paper_values

HOLDS, REVERSED, NOISE, NOT_RUN = "holds", "reversed", "within noise", "not run"
VERDICTS = (HOLDS, REVERSED, NOISE, NOT_RUN)
COUNTERPARTS = (("SADM", "Unet"), ("SADM_res", "Unet_res"))
NETWORKS = ("Unet", "Unet_res", "SADM", "SADM_res")
LEVEL = 0.05
BASE: Row = ("cDDPM", "")


@dataclass(frozen=True)
class Pair:
    """Two rows of the table on one test set; ``a`` is compared with ``b``."""

    a: Row
    b: Row
    test_set: str
    metric: str = "best_dice"


@dataclass(frozen=True)
class Judged:
    """A pair that the paper tells apart, and what was measured.

    Attributes
    ----------
    paper
        Difference of the paper's means, a - b, a fraction.
    here
        Paired difference a - b; None if one of the rows was not run.
    """

    pair: Pair
    paper: float
    here: Interval | None
    verdict: str


def against_base() -> list[Pair]:
    """Each method against the diffusion model alone."""
    return [Pair(row, BASE, s) for row in paper_rows() if row != BASE for s in TEST_SETS]


def against_counterpart() -> list[Pair]:
    """Each SADM against the network with the same input, whose map it adds to the residual."""
    return [
        Pair((with_it, source), (without, source), test_set)
        for source in OWN_SET
        for with_it, without in COUNTERPARTS
        for test_set in TEST_SETS
    ]


def own_against_other() -> list[Pair]:
    """Each network trained on a test set's own kind of anomaly against training on another."""
    return [
        Pair((network, own), (network, other), test_set)
        for network in NETWORKS
        for own, test_set in OWN_SET.items()
        for other in OWN_SET
        if other != own
    ]


def all_pairs(metric: str) -> list[Pair]:
    """Every two rows of the paper's table on every test set."""
    pairs = combinations(paper_rows(), 2)
    return [Pair(a, b, test_set, metric) for a, b in pairs for test_set in TEST_SETS]


def paper_difference(pair: Pair) -> float | None:
    """The paper's a - b, or None if that is not more than the sum of both deviations."""
    values = paper_values(pair.metric)
    (a, a_sd), (b, b_sd) = values[pair.a, pair.test_set], values[pair.b, pair.test_set]
    return a - b if abs(a - b) > a_sd + b_sd else None


def judge(pairs: Iterable[Pair], sweep: Measured, correct: bool = True) -> list[Judged]:
    """Compare each pair that the paper tells apart with the sweep's only variant.

    Parameters
    ----------
    correct
        Decide by the sign-flip test with Holm's correction over the pairs of a test set and
        metric; False: by the bootstrap interval of each pair alone.
    """
    (variant,) = sweep.variants
    judged = []
    for (metric, test_set), part in _grouped(pairs).items():
        values = sweep.values(metric, test_set)
        columns = [((variant, *pair.a), (variant, *pair.b)) for pair, _ in part]
        found = [difference(values, *both) for both in columns]
        sure = _certain(values, columns) if correct else [f and verdict(f) != 0 for f in found]
        for (pair, paper), interval, certain in zip(part, found, sure, strict=True):
            judged.append(Judged(pair, paper, interval, _verdict(paper, interval, certain)))
    return judged


def _grouped(pairs: Iterable[Pair]) -> dict[tuple[str, str], list[tuple[Pair, float]]]:
    """Pairs that the paper tells apart, with its difference, by (metric, test set)."""
    groups: dict[tuple[str, str], list[tuple[Pair, float]]] = {}
    for pair in pairs:
        paper = paper_difference(pair)
        if paper is not None:
            groups.setdefault((pair.metric, pair.test_set), []).append((pair, paper))
    return groups


def _certain(values: pd.DataFrame, columns: Sequence[tuple[Any, Any]]) -> list[bool]:
    """Whether the corrected p-value of each difference is below :data:`LEVEL`."""
    each = [paired(values, *both) for both in columns]
    p = [float("nan") if e is None else sign_flip_test(e, np.random.default_rng(0)) for e in each]
    return list(holm(p) < LEVEL)


def _verdict(paper: float, found: Interval | None, certain: bool | None) -> str:
    if found is None:
        return NOT_RUN
    if not certain:
        return NOISE
    return HOLDS if (found.mean > 0) == (paper > 0) else REVERSED


def tally(judged: Sequence[Judged]) -> dict[str, int]:
    """How many there are of each verdict, in the order of :data:`VERDICTS`."""
    counts = Counter(one.verdict for one in judged)
    return {name: counts[name] for name in VERDICTS}
