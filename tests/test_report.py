"""Tables and cost cards as readers see them."""

import json

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from sadm_utils.report import cost_card, disk_mib, duration, minus, table
from sadm_utils.runs import open_run


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.97, "10 s"), (59.4, "59 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_table_formats_numbers_and_escapes_text():
    frame = pd.DataFrame({"name": ["a<b", "c"], "value": [0.123456, float("nan")], "n": [1, 20000]})
    shown = table(frame, digits=2)
    html = shown._repr_html_()
    assert "a&lt;b" in html and "<td>0.12</td>" in html and "<td>—</td>" in html
    assert "20000" in html and "0.12" in repr(shown)
    assert not shown.index and table(frame.set_index("name")).index


def test_table_breaks_no_number_and_cuts_no_sentence():
    sentence = "A sentence that is longer than any column, and is broken between its words."
    cells = ["58.55 ± 0.78 [-6.1, 60.9]", sentence, "a few words"]
    html = table(pd.DataFrame({"a": cells}))._repr_html_()
    assert "58.55\u00a0±\u00a00.78 [−6.1,\u00a060.9]" in html and "a\u00a0few\u00a0words" in html
    assert "A\u00a0sentence\u00a0that\u00a0is\u00a0longer\u00a0than any" in html
    assert sentence in html.replace("\u00a0", " ") and "overflow-x: auto" in html


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("-0.4 [-1.0, -0.1]", "−0.4 [−1.0, −0.1]"),
        ("-0.0 [-0.05, +0.0]", "0.0 [−0.05, 0.0]"),
        ("+7.1 (paper -12.8)", "+7.1 (paper −12.8)"),
        ("t2-0.nii.gz, 1e-05, 5-fold, -0.0e-3", "t2-0.nii.gz, 1e-05, 5-fold, −0.0e-3"),
    ],
)
def test_numbers_have_a_true_minus(text, shown):
    assert minus(text) == shown


@pytest.mark.parametrize(
    ("value", "text"), [(-0.0, "0.00"), (1234.5, "1,234"), (9.999, "10.00"), (3e-7, "3.00e-07")]
)
def test_table_keeps_significant_digits(value, text):
    assert table(pd.DataFrame({"v": [value]})).frame["v"].tolist() == [text]


def test_cost_card_reads_records(tmp_path):
    run = open_run("smoke", tmp_path)
    folder = tmp_path / "spark"
    folder.mkdir()
    record = {"duration_s": 75.2, "device": "CPU", "profile": "smoke", "seed": 3, "commit": ""}
    record |= {"key": "k", "identity": "i", "parents": {}, "metrics": {}}
    (folder / "record.json").write_text(json.dumps(record))
    weights = {"conv.weight": torch.zeros(2, 3), "bn.running_mean": torch.zeros(7)}
    weights["bn.num_batches_tracked"] = torch.tensor(1)
    save_file(weights, folder / "weights.safetensors")
    shown = cost_card(run, "spark")
    row = shown.frame.iloc[0].to_dict()
    assert (row["time"], row["parameters"]) == ("1 min 15 s", "6")
    assert (row["seed"], row["code"]) == ("3", "—")
    assert 0 < disk_mib(folder) < 1 and disk_mib(tmp_path / "nothing") == 0
    assert "GiB" in shown.caption
