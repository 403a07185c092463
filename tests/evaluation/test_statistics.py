"""Bootstrap intervals: known values, coverage, pairing, gaps in the data."""

import numpy as np
import pandas as pd
import pytest

from sadm_utils.evaluation.statistics import (
    bootstrap_interval,
    compare,
    paired_difference,
    summarize,
    summarize_runs,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def table() -> pd.DataFrame:
    hard = rng(3).random(12)
    rows = [
        (method, "draem", "Brats21", f"s{i}", "best_dice", hard[i] * 0.5 + gain + i * 1e-4 * gain)
        for method, gain in (("Unet", 0.0), ("SADM", 0.1))
        for i in range(12)
    ]
    columns = ["method", "annotations", "test_set", "subject", "metric", "value"]
    return pd.DataFrame(rows, columns=columns)


def test_mean_and_sd_by_hand():
    interval = bootstrap_interval([1, 2, 3, 4], rng())
    assert interval.mean == 2.5 and interval.sd == pytest.approx(np.sqrt(5 / 3))
    assert interval.n == 4 and 1 <= interval.low < 2.5 < interval.high <= 4


def test_same_generator_same_interval_and_level_widens_it():
    values = rng(1).random(20)
    assert bootstrap_interval(values, rng(5)) == bootstrap_interval(values, rng(5))
    narrow = bootstrap_interval(values, rng(5), level=0.5)
    wide = bootstrap_interval(values, rng(5), level=0.99)
    assert wide.low < narrow.low and narrow.high < wide.high


def test_width_is_that_of_the_normal_theory():
    values = rng(2).normal(size=400)
    interval = bootstrap_interval(values, rng())
    expected = 2 * 1.96 * values.std(ddof=1) / 20
    assert interval.high - interval.low == pytest.approx(expected, rel=0.1)


def test_coverage_is_near_the_level():
    hits = 0
    for seed in range(200):
        interval = bootstrap_interval(rng(seed).normal(1.0, 1.0, 30), rng(seed), n=400)
        hits += interval.low <= 1 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99


@pytest.mark.parametrize("subjects", [12, 14])
def test_with_few_subjects_an_interval_misses_about_once_in_twelve(subjects):
    values, draws = rng(subjects).normal(size=(2000, subjects)), rng(0)
    intervals = [bootstrap_interval(row, draws, n=1000) for row in values]
    missed = np.mean([not found.low <= 0 <= found.high for found in intervals])
    assert 1 / 15 < missed < 1 / 10


def test_nan_is_left_out_and_too_few_values_have_no_interval():
    assert bootstrap_interval([1, np.nan, 3], rng()).n == 2
    single, empty = bootstrap_interval([0.4], rng()), bootstrap_interval([np.nan], rng())
    assert (single.mean, single.n) == (0.4, 1) and np.isnan(single.low) and np.isnan(single.sd)
    assert empty.n == 0 and np.isnan(empty.mean)
    with pytest.raises(ValueError, match="level"):
        bootstrap_interval([1, 2], rng(), level=95)


def test_pairing_sees_what_separate_intervals_hide():
    hard = rng(0).random(15)
    a, b = hard + 0.05 + rng(1).normal(0, 0.01, 15), hard
    difference = paired_difference(a, b, rng())
    assert difference.low > 0 and difference.mean == pytest.approx(0.05, abs=0.01)
    assert bootstrap_interval(a, rng()).low < bootstrap_interval(b, rng()).high
    same = paired_difference(b, b, rng())
    assert same.low == same.mean == same.high == 0
    assert paired_difference([1, np.nan, 2], [0, 0, np.nan], rng()).n == 1
    with pytest.raises(ValueError, match="pairs"):
        paired_difference([1, 2], [1], rng())


def test_summarize_gives_one_row_a_group_that_does_not_depend_on_the_others():
    both = summarize(table())
    assert both["method"].tolist() == ["Unet", "SADM"] and (both["n"] == 12).all()
    alone = summarize(table()[table()["method"] == "SADM"])
    assert alone.iloc[0].to_dict() == both.iloc[1].to_dict()
    with pytest.raises(ValueError, match="subject"):
        summarize(table().drop(columns="subject"))


def test_runs_by_hand():
    """Two seeds of two subjects: the sd is over the seeds, the interval over the subjects."""
    columns = ["seed", "subject", "value"]
    values = pd.DataFrame([(0, "a", 0.1), (0, "b", 0.5), (1, "a", 0.3), (1, "b", 0.7)],
                          columns=columns)  # fmt: skip
    values = values.assign(fold=0, method="SADM", annotations="", test_set="ATLAS", metric="dice")
    (row,) = summarize_runs(values).to_dict("records")
    assert row["mean"] == pytest.approx(0.4)
    assert row["sd"] == pytest.approx(np.sqrt(2 * 0.1**2))  # means 0.3 and 0.5
    assert (row["low"], row["high"]) == (pytest.approx(0.2), pytest.approx(0.6))
    assert (row["n"], row["runs"]) == (2, 2)
    (single,) = summarize_runs(values[values["seed"] == 0]).to_dict("records")
    assert np.isnan(single["sd"]) and single["runs"] == 1
    both = pd.concat([values.assign(variant=v) for v in ("plain", "gaussian")])
    assert summarize_runs(both)["variant"].tolist() == ["plain", "gaussian"]
    with pytest.raises(ValueError, match="fold"):
        summarize_runs(values.drop(columns="fold"))


def test_mean_over_runs_lies_in_its_interval_whatever_subjects_a_run_lacks():
    """A metric that seed 0 has of s1 only, and seed 1 of s1 to s10."""
    nan = float("nan")
    lines = [(0, "s1", 10.0), (1, "s1", 10.0)]
    lines += [(seed, f"s{k}", value) for k in range(2, 11) for seed, value in ((0, nan), (1, 50.0))]
    values = pd.DataFrame(lines, columns=["seed", "subject", "value"])
    values = values.assign(fold=0, method="SADM", annotations="", test_set="ATLAS", metric="hd95")
    (row,) = summarize_runs(values).to_dict("records")
    assert row["mean"] == pytest.approx((10 + 9 * 50) / 10)
    assert row["low"] <= row["mean"] <= row["high"] and row["low"] > (10 + 46) / 2
    assert row["sd"] == pytest.approx((46 - 10) / np.sqrt(2)), "runs have the means 10 and 46"
    assert (row["n"], row["runs"]) == (10, 2)


def test_compare_matches_by_subject():
    shuffled = table().sample(frac=1, random_state=0)
    result = compare(shuffled, ("SADM", "draem"), ("Unet", "draem"), "Brats21")
    assert result.mean == pytest.approx(0.1, abs=1e-3) and result.sd < 1e-3
    assert result.low > 0 or result.high < 0
    with pytest.raises(ValueError, match="no best_dice of SADM"):
        compare(shuffled, ("SADM", "atlas_v2"), ("Unet", "draem"), "Brats21")
    gap = table().drop(index=3)
    with pytest.raises(ValueError, match="different subjects"):
        compare(gap, ("SADM", "draem"), ("Unet", "draem"), "Brats21")
