"""Paired tests against SciPy and by hand, Holm's correction by hand, and the marks in the table."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import permutation_test

from sadm_utils.evaluation import comparisons
from sadm_utils.evaluation.comparisons import (
    EXACT_UP_TO,
    by_subject,
    compare_rows,
    holm,
    mark_noise,
    noisy_rows,
    sign_flip_test,
)
from sadm_utils.evaluation.statistics import summarize
from sadm_utils.evaluation.tables import results_table


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def subjects(count: int = 16, **gains: float) -> pd.DataFrame:
    """Rows that differ by a gain and a little noise, on subjects that are hard for all of them."""
    random = rng(5)
    hard = random.uniform(0.2, 0.7, count)
    rows = [
        (method, "draem", "Brats21", f"s{i}", "best_dice", hard[i] + gain + random.normal(0, 0.02))
        for method, gain in gains.items()
        for i in range(count)
    ]
    columns = ["method", "annotations", "test_set", "subject", "metric", "value"]
    return pd.DataFrame(rows, columns=columns)


def test_random_signs_have_the_floor_of_all_signs(monkeypatch):
    monkeypatch.setattr(comparisons, "EXACT_UP_TO", 3)
    assert sign_flip_test(np.ones(13), rng(), 10_000) >= 2 / 2**13
    assert all(sign_flip_test(np.ones(14), rng(seed), 10_000) >= 2 / 2**14 for seed in range(9))


def test_sign_flips_by_hand():
    # Sums of ±1 ±2 ±4 are ±7, ±5, ±3, ±1: as large as 7 are 2 of 8, as large as 5 are 4 of 8.
    assert sign_flip_test([1, 2, 4], rng()) == 2 / 8
    assert sign_flip_test([-1, 2, 4], rng()) == 4 / 8
    assert sign_flip_test([0.3], rng()) == 1 and sign_flip_test([0, 0], rng()) == 1
    assert sign_flip_test([1, np.nan, 2, 4], rng()) == 2 / 8
    assert np.isnan(sign_flip_test([np.nan], rng()))
    # Equal sums that differ by rounding count as equal.
    assert sign_flip_test([0.1, 0.2, -0.3], rng()) == 1


@pytest.mark.parametrize("count", [5, EXACT_UP_TO])
def test_exact_test_equals_scipy(count):
    values = rng(count).normal(0.4, 1, count)
    expected = permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert sign_flip_test(values, rng()) == pytest.approx(expected.pvalue, abs=1e-12)


def test_random_signs_agree_with_scipy_and_depend_on_the_seed_alone():
    values = rng(2).normal(0.4, 1, 18)
    exact = permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    ).pvalue
    p = sign_flip_test(values, rng(), 20_000)
    assert p == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000))
    assert p == sign_flip_test(values, rng(), 20_000)
    assert sign_flip_test(np.ones(40), rng(), 999) == 1 / 1000, "never 0"


def test_the_test_is_wrong_as_often_as_it_says():
    p = [sign_flip_test(rng(seed).normal(size=8), rng()) for seed in range(400)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.035)


def test_holm_by_hand():
    # In order .005·4, .01·3, .03·2, .04·1: 0.02, 0.03, 0.06, and 0.04 may not fall below 0.06.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.4, 0.6]), [0.8, 0.8])
    np.testing.assert_allclose(holm([0.7, 0.9]), [1, 1])
    np.testing.assert_allclose(holm([np.nan, 0.02, 0.2]), [np.nan, 0.04, 0.2])
    assert holm([]).size == 0


def test_rows_are_compared_with_the_best_and_noise_is_told_from_difference():
    table = compare_rows(subjects(SADM=0.2, SADM_res=0.203, Unet=0.0), "Brats21")
    assert table.columns.tolist() == [
        "method", "annotations", "mean", "difference", "low", "high", "p", "p_holm", "n", "noise",
    ]  # fmt: skip
    assert table["mean"].is_monotonic_decreasing and table["method"][2] == "Unet"
    assert table["difference"].tolist()[0] == 0 and np.isnan(table["p"][0])
    assert table["noise"].tolist() == [False, True, False]
    assert table["difference"][2] == pytest.approx(-0.2, abs=0.02)
    assert table["low"][2] < table["difference"][2] < table["high"][2] < 0
    assert table["p_holm"].tolist()[1:] == holm(table["p"])[1:].tolist()


def test_a_reference_row_can_be_named_and_lower_can_be_better():
    data = subjects(SADM=0.2, Unet=0.0)
    table = compare_rows(data, "Brats21", reference=("Unet", "draem"))
    assert table["difference"].tolist() == [pytest.approx(0.2, abs=0.02), 0]
    assert table["noise"].tolist() == [False, False]
    distances = compare_rows(data.assign(metric="hd95"), "Brats21", "hd95")
    assert distances["method"].tolist() == ["Unet", "SADM"]
    for bad in ({"reference": ("AE", "")}, {"metric": "dice"}):
        with pytest.raises(ValueError, match="on Brats21"):
            compare_rows(data, "Brats21", **bad)


def test_runs_of_a_subject_are_averaged_first():
    one = subjects(SADM=0.2, Unet=0.0)
    two = one.assign(value=one["value"] + 0.1)
    both = compare_rows(pd.concat([one, two]).sample(frac=1, random_state=0), "Brats21")
    single = compare_rows(one, "Brats21")
    np.testing.assert_allclose(both["difference"], single["difference"])
    np.testing.assert_allclose(both["mean"], single["mean"] + 0.05)
    assert both["n"].tolist() == single["n"].tolist() == [16, 16]


def test_variants_are_rows_of_their_own():
    one = subjects(SADM=0.2).assign(variant="simplex", annotations=np.nan)
    two = one.assign(variant="gaussian", value=one["value"] - 0.1)
    table = compare_rows(pd.concat([one, two]), "Brats21")
    assert table["variant"].tolist() == ["simplex", "gaussian"] and table["annotations"][0] == ""
    named = compare_rows(pd.concat([one, two]), "Brats21", reference=("gaussian", "SADM", ""))
    assert named["difference"][0] == pytest.approx(0.1)


def test_missing_values_leave_pairs_out():
    data = subjects(SADM=0.2, Unet=0.0, AE=0.0)
    data.loc[(data["method"] == "Unet") & (data["subject"] == "s3"), "value"] = np.nan
    data.loc[(data["method"] == "AE") & (data["subject"] != "s3"), "value"] = np.nan
    table = compare_rows(data, "Brats21").set_index("method")
    assert table["n"].to_dict() == {"SADM": 16, "Unet": 15, "AE": 1}
    assert table["noise"].to_dict() == {"SADM": False, "Unet": False, "AE": True}
    data.loc[data["method"] == "AE", "value"] = 1.0  # the best, but of a single subject
    data.loc[(data["method"] == "AE") & (data["subject"] != "s3"), "value"] = np.nan
    assert compare_rows(data, "Brats21")["method"].tolist() == ["SADM", "Unet", "AE"]
    with pytest.raises(ValueError, match="lacks"):
        by_subject(data.drop(columns="subject"), "Brats21", "best_dice")


def test_rows_of_several_variants_are_not_marked_together():
    data = subjects(SADM=0.2, Unet=0.0)
    table = results_table(summarize(data, n=50), ["best_dice"])
    both = pd.concat([data.assign(variant="a"), data.assign(variant="b")])
    with pytest.raises(ValueError, match="one variant"):
        mark_noise(table, both)


def test_table_marks_what_cannot_be_told_from_the_best():
    data = subjects(SADM=0.2, SADM_res=0.203, Unet=0.0)
    table = results_table(summarize(data, n=50), ["best_dice", "auprc"])
    marked = mark_noise(table, data)
    cells = dict(zip(marked["method"], marked["Brats21 ⌈Dice⌉"], strict=True))
    expected = compare_rows(data, "Brats21").set_index("method")["noise"]
    assert {k: v.endswith(" †") for k, v in cells.items()} == expected.to_dict()
    assert sum(expected) == 1
    pd.testing.assert_frame_equal(
        table.drop(columns="Brats21 ⌈Dice⌉"), marked.drop(columns="Brats21 ⌈Dice⌉")
    )
    assert not table["Brats21 ⌈Dice⌉"].str.contains("†").any(), "the table itself is left alone"


def test_a_metric_without_a_value_marks_nothing():
    table = subjects(A=0.3, B=0.0)
    assert noisy_rows(table, "Brats21", "best_dice") == set()
    assert noisy_rows(table.assign(value=np.nan), "Brats21", "best_dice") == set()
    assert noisy_rows(table, "ATLAS", "best_dice") == set()
