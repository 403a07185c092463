"""Records are read as a whole or refused, and differences are paired by run and subject."""

import math

import numpy as np
import pandas as pd
import pytest

from sadm_utils.errors import UserError
from sadm_utils.evaluation.statistics import Interval
from sadm_utils.results.measured import (
    BETA_COLUMNS,
    COLUMNS,
    Measured,
    difference,
    read_sweep,
    verdict,
)
from sadm_utils.sweep.values import BETA_SUBJECTS, CURVE, SUBJECTS, TABLE
from tests.results import made_up
from tests.results.made_up import (
    as_in_the_paper,
    forget_subjects_of_curves,
    write_pictures,
    write_sweep,
)

ROWS = [("cDDPM", ""), ("FAE (SparK)", ""), ("SADM_res", "draem")]


def test_columns_are_those_that_a_sweep_writes():
    written = (SUBJECTS, TABLE, CURVE)
    assert [sorted(columns) for columns in written] == [sorted(c) for c in COLUMNS.values()]
    assert sorted(BETA_SUBJECTS) == sorted(BETA_COLUMNS)


def test_no_record_is_none(root):
    assert read_sweep("table") is None


def test_record_is_read_with_the_paper_s_names_and_empty_annotations(root):
    write_sweep(root, "table", as_in_the_paper(), ROWS, seeds=(0, 1))
    sweep = read_sweep("table")
    found = dict.fromkeys(zip(sweep.table["method"], sweep.table["annotations"], strict=True))
    assert list(found) == [("cDDPM", ""), ("FAE", ""), ("SADM_res", "draem")]
    assert sweep.variants == ["plain"] and sweep.about["profile"] == "table"
    cell = sweep.cells("best_dice")["plain", ("cDDPM", ""), "Brats21"]
    assert cell.mean == pytest.approx(0.5855 + 0.0005) and cell.high - cell.mean > 0
    assert (cell.subjects, cell.runs) == (len(made_up.SUBJECTS), 2)
    assert len(sweep.values("auprc", "ATLAS")) == 2 * len(made_up.SUBJECTS)


@pytest.mark.parametrize("file", ["subjects.csv.gz", "table.csv", "beta_curve.csv"])
def test_an_incomplete_record_is_one_sentence(root, file):
    folder = write_sweep(root, "table", as_in_the_paper(), ROWS)
    table = pd.read_csv(folder / file)
    table.drop(columns="variant").to_csv(folder / file, index=False)
    with pytest.raises(UserError, match=rf"{file} lacks the columns \['variant'\]"):
        read_sweep("table")
    (folder / file).write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=f"{file} is damaged"):
        read_sweep("table")
    (folder / file).unlink()
    with pytest.raises(UserError, match=f"{file} is missing: collect the sweep again"):
        read_sweep("table")


def test_older_record_without_spread_of_the_curve_is_read(root):
    folder = write_sweep(root, "table", as_in_the_paper(), ROWS, variants=("a", "b"))
    new = read_sweep("table").only("b")
    assert new.curve["low"].notna().all() and set(new.curve_subjects["variant"]) == {"b"}
    forget_subjects_of_curves(folder)
    old = read_sweep("table").only("b")
    assert len(old.curve) == len(new.curve) and old.curve_subjects.empty
    assert old.curve[["low", "high"]].isna().all(axis=None)
    assert list(old.curve["best_dice"]) == list(new.curve["best_dice"])


def test_damaged_about_is_one_sentence(root):
    folder = write_sweep(root, "table", as_in_the_paper(), ROWS)
    (folder / "about.json").write_text("{")
    with pytest.raises(UserError, match=r"about\.json is damaged"):
        read_sweep("table")


def lines(variant, method, values, seed=0):
    return [
        {"variant": variant, "seed": seed, "fold": 0, "method": method, "annotations": "",
         "test_set": "ATLAS", "subject": subject, "metric": "auprc", "value": value}
        for subject, value in values.items()
    ]  # fmt: skip


def test_difference_pairs_by_run_and_averages_runs_of_a_subject():
    subjects = pd.DataFrame([
        *lines("v", "A", {"x": 0.5, "y": 0.7}), *lines("v", "A", {"x": 0.7, "y": 0.7}, seed=1),
        *lines("v", "B", {"x": 0.4, "y": 0.4}), *lines("v", "B", {"x": 0.4, "z": 0.0}, seed=1),
    ])  # fmt: skip
    sweep = Measured("t", subjects, subjects, subjects, {})
    values = sweep.values("auprc", "ATLAS")
    found = difference(values, ("v", "A", ""), ("v", "B", ""))
    assert found.n == 2, "z has no pair, and y only one"
    assert found.mean == pytest.approx(((0.1 + 0.3) / 2 + 0.3) / 2)
    assert found.low == pytest.approx(0.2) and found.high == pytest.approx(0.3)
    assert difference(values, ("v", "A", ""), ("v", "C", "")) is None


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.1, 0.2, 1), (-0.2, -0.1, -1), (-0.1, 0.1, 0), (math.nan, math.nan, 0)],
)
def test_verdict_needs_the_whole_interval(low, high, expected):
    assert verdict(Interval(np.nan, np.nan, low, high, 3)) == expected


def test_pictures_are_those_of_the_first_variant_and_older_records_have_none(root):
    rows = [("cDDPM", ""), ("SADM_res", "draem")]
    target = write_sweep(root, "t", as_in_the_paper(), rows, variants=("plain", "other"))
    assert read_sweep("t").pictures is None
    write_pictures(target, rows)
    sweep = read_sweep("t")
    assert set(sweep.pictures) == {"Brats21", "ATLAS", "MSLUB", "DRAEM"}
    assert set(sweep.pictures["ATLAS"].maps) == set(rows)
    assert sweep.only("plain").pictures is sweep.pictures
    assert sweep.only("other").pictures is None
