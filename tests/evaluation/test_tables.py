"""Tables as text and Markdown, and results as files."""

import json

import numpy as np
import pandas as pd
import pytest

from sadm_utils.errors import UserError
from sadm_utils.evaluation.statistics import ROW_COLUMNS
from sadm_utils.evaluation.tables import (
    format_value,
    read_results,
    results_table,
    to_markdown,
    to_text,
    write_results,
)

ROWS = pd.DataFrame(
    [
        ("cDDPM", "", "Brats21", "best_dice", 0.5855, 0.0078, 0.561, 0.609, 20),
        ("cDDPM", "", "Brats21", "auprc", 0.5909, 0.0091, 0.57, 0.61, 20),
        ("SADM_res", "draem", "Brats21", "best_dice", 0.6053, 0.0054, 0.59, 0.62, 20),
        ("SADM_res", "draem", "ATLAS", "best_dice", 0.2778, np.nan, np.nan, np.nan, 1),
    ],
    columns=list(ROW_COLUMNS),
)


def test_values_are_percentages():
    assert format_value(0.5855, 0.0078, 0.561, 0.609) == "58.6 ± 0.8 [56.1, 60.9]"
    assert format_value(0.5855) == "58.6"
    assert format_value(0.0312, 0.001, percent=False) == "0.0312 ± 0.0010"
    assert format_value(float("nan")) == "–"


def test_table_layout():
    table = results_table(ROWS)
    assert table.columns.tolist() == [
        "method", "annotations", "Brats21 ⌈Dice⌉", "Brats21 AUPRC", "ATLAS ⌈Dice⌉", "ATLAS AUPRC",
    ]  # fmt: skip
    assert table["method"].tolist() == ["cDDPM", "SADM_res"]
    assert table["annotations"].tolist() == ["–", "draem"]
    assert table.loc[0, "Brats21 ⌈Dice⌉"] == "58.6 ± 0.8 [56.1, 60.9]"
    assert table.loc[1, "ATLAS ⌈Dice⌉"] == "27.8" and table.loc[1, "Brats21 AUPRC"] == "–"
    short = results_table(ROWS, ["auprc"], ["Brats21"], interval=False)
    assert short.values.tolist() == [["cDDPM", "–", "59.1 ± 0.9"]]
    with pytest.raises(ValueError, match="sd"):
        results_table(ROWS.drop(columns="sd"))


def test_distances_and_errors_are_no_percentages():
    rows = pd.DataFrame(
        [
            ("cDDPM", "", "ATLAS", "hd95", 12.34, 5.67, 10.0, 15.0, 9),
            ("cDDPM", "", "ATLAS", "l1_healthy", 0.02346, 0.001, 0.02, 0.03, 9),
        ],
        columns=list(ROW_COLUMNS),
    )
    table = results_table(rows, ["hd95", "l1_healthy"])
    assert table["ATLAS HD95 in mm"][0] == "12.3 ± 5.7 [10.0, 15.0]"
    assert table["ATLAS l1 error, healthy"][0] == "0.0235 ± 0.0010 [0.0200, 0.0300]"


def test_text_and_markdown():
    table = results_table(ROWS, ["best_dice"], interval=False)
    text = to_text(table).splitlines()
    assert len(text) == 4 and text[0].index("annotations") == text[3].index("draem")
    assert to_markdown(table).splitlines()[:3] == [
        "| method | annotations | Brats21 ⌈Dice⌉ | ATLAS ⌈Dice⌉ |",
        "| :-- | :-- | --: | --: |",
        "| cDDPM | – | 58.6 ± 0.8 | – |",
    ]


def test_files_round_trip_as_standard_json(tmp_path):
    extra = {"beta": {"values": np.array([0.0, 0.5]), "dice": [np.float32(0.25), float("nan")]}}
    write_results(tmp_path / "evaluation", ROWS, extra, subjects=pd.DataFrame({"subject": ["a"]}))
    text = (tmp_path / "evaluation" / "results.json").read_text(encoding="utf-8")
    assert "NaN" not in text and json.loads(text)["rows"][3]["sd"] is None
    rows, more = read_results(tmp_path / "evaluation")
    pd.testing.assert_frame_equal(rows, ROWS, check_dtype=False)
    assert more == {"beta": {"values": [0.0, 0.5], "dice": [0.25, None]}}
    csv = pd.read_csv(tmp_path / "evaluation" / "results.csv", keep_default_na=False)
    assert csv["method"].tolist() == ROWS["method"].tolist()
    assert sorted(p.name for p in (tmp_path / "evaluation").iterdir()) == [
        "results.csv", "results.json", "subjects.csv",
    ]  # fmt: skip


def test_missing_or_damaged_results_say_so(tmp_path):
    with pytest.raises(UserError, match="06_evaluation"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text('{"rows": [')
    with pytest.raises(UserError, match="damaged"):
        read_results(tmp_path)
    with pytest.raises(ValueError, match="taken"):
        write_results(tmp_path, ROWS, {"rows": []})
