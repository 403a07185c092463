"""Which of the paper's orderings hold: every pair of rows that its table tells apart.

The table tells two methods apart on a test set if their means differ by more than the sum of their
standard deviations. Such an ordering *holds* here if the paired difference has the paper's sign
with its whole bootstrap interval, is *reversed* if the whole interval lies on the other side, and
is *within noise* in between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from sadm_utils.evaluation.statistics import Interval
from sadm_utils.results.measured import Measured, difference, verdict
from sadm_utils.results.paper import OWN_SET, TEST_SETS, Row, paper_rows, paper_values

HOLDS, REVERSED, NOISE, NOT_RUN = "holds", "reversed", "within noise", "not run"
VERDICTS = (HOLDS, REVERSED, NOISE, NOT_RUN)
COUNTERPARTS = (("SADM", "Unet"), ("SADM_res", "Unet_res"))
NETWORKS = ("Unet", "Unet_res", "SADM", "SADM_res")
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


def judge(pairs: Iterable[Pair], sweep: Measured) -> list[Judged]:
    """Compare each pair that the paper tells apart with the sweep's only variant."""
    (variant,) = sweep.variants
    values = {}
    judged = []
    for pair in pairs:
        paper = paper_difference(pair)
        if paper is None:
            continue
        key = pair.metric, pair.test_set
        if key not in values:
            values[key] = sweep.values(*key)
        found = difference(values[key], (variant, *pair.a), (variant, *pair.b))
        judged.append(Judged(pair, paper, found, _verdict(paper, found)))
    return judged


def _verdict(paper: float, found: Interval | None) -> str:
    if found is None:
        return NOT_RUN
    sign = verdict(found) * (1 if paper > 0 else -1)
    return {1: HOLDS, -1: REVERSED, 0: NOISE}[sign]


def tally(judged: Sequence[Judged]) -> dict[str, int]:
    """How many there are of each verdict, in the order of :data:`VERDICTS`."""
    counts = Counter(one.verdict for one in judged)
    return {name: counts[name] for name in VERDICTS}
