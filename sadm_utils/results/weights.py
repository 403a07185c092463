"""The weighting curves of Figure 5, here and in the paper, and what the best weight wins."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

from sadm_utils.evaluation.statistics import Interval, paired_difference
from sadm_utils.evaluation.tables import NOTHING
from sadm_utils.reference.page import markdown
from sadm_utils.results import words
from sadm_utils.results.figures import beta_panels
from sadm_utils.results.measured import RESAMPLES, Measured
from sadm_utils.results.paper import figure_5

ALT_WEIGHTS = "Dice over the fusion weight for {pairs}: this book as solid line{paper}."


def weights_section(sweep: Measured, folder: Path) -> str:
    """Figure 5: the paper's four pairs with its values, then all other pairs of the sweep.

    Without a curve, there is no text.
    """
    paper = figure_5()
    if sweep.curve.empty:
        return ""
    shown = list(dict.fromkeys(zip(paper["annotations"], paper["test_set"], strict=True)))
    every = dict.fromkeys(zip(sweep.curve["annotations"], sweep.curve["test_set"], strict=True))
    parts = [_weights(sweep, paper, shown, folder / "weights_paper.png", ", the paper's dashed")]
    rest = [pair for pair in every if pair not in shown]
    if rest:
        parts += ["The other pairs, which the paper does not show:"]
        parts.append(_weights(sweep, paper, rest, folder / "weights_other.png", ""))
    parts.append(best_weights(sweep, paper, list(every)))
    return "\n\n".join(parts)


def _weights(
    sweep: Measured, paper: pd.DataFrame, pairs: list[tuple[str, str]], path: Path, also: str
) -> str:
    beta_panels(sweep.curve, paper, pairs).savefig(path)
    names = words.listed([f"{source} to {test_set}" for source, test_set in pairs])
    return words.image(path.name, ALT_WEIGHTS.format(pairs=names, paper=also))


def best_weights(sweep: Measured, paper: pd.DataFrame, pairs: list[tuple[str, str]]) -> str:
    """Markdown: the best weight of each pair and what the plain sum (0.5) loses, here and there.

    Ours has a paired interval over subjects if their curves were kept. The best weight is chosen on
    these subjects, so that the sum loses nothing or more; only an interval well above 0 says much.
    """
    lines = []
    for pair in pairs:
        here, there, each = (_of_pair(t, pair) for t in (sweep.curve, paper, sweep.curve_subjects))
        *best, lost = _best_weight(here)
        gap = _lost_by_sum(here, each)
        spread = f" {words.interval(gap)}" if gap and not math.isnan(gap.low) else ""
        lines.append([f"{pair[0]} → {pair[1]}", *best, f"{lost}{spread}", *_best_weight(there)])
    what = ("best β", "⌈Dice⌉ at it", "lost by the sum")
    return markdown(("trained → tested", *(f"{x}: {w}" for x in ("here", "paper") for w in what)),
                    lines)  # fmt: skip


def _of_pair(table: pd.DataFrame, pair: tuple[str, str]) -> pd.DataFrame:
    return table[(table["annotations"] == pair[0]) & (table["test_set"] == pair[1])]


def _best_weight(found: pd.DataFrame) -> tuple[str, str, str]:
    mean = 100 * found.groupby("beta")["best_dice"].mean()
    if mean.isna().all():
        return NOTHING, NOTHING, NOTHING
    at_sum = mean[_nearest(mean.index, 0.5)]
    return f"{mean.idxmax():.2g}", f"{mean.max():.1f}", f"{mean.max() - at_sum:.1f}"


def _nearest(betas: pd.Index, wanted: float) -> float:
    return betas[abs(betas.to_numpy(float) - wanted).argmin()]


def _lost_by_sum(curve: pd.DataFrame, each: pd.DataFrame) -> Interval | None:
    """⌈Dice⌉ at the curve's best weight minus that at 0.5: paired over subjects, runs averaged.

    None unless the subjects of all its runs were kept.
    """
    mean = curve.groupby("beta")["best_dice"].mean()
    runs, kept = (set(zip(t["seed"], t["fold"], strict=True)) for t in (curve, each))
    if runs != kept or mean.isna().all():
        return None
    values = each.groupby(["subject", "beta"])["best_dice"].mean().unstack("beta")
    best, half = (values[_nearest(values.columns, beta)] for beta in (mean.idxmax(), 0.5))
    rng = np.random.default_rng(0)
    return paired_difference(best.to_numpy(), half.to_numpy(), rng, RESAMPLES)
