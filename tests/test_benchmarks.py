"""The benchmarks run, and what they compare agrees; figures are not judged at these sizes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import peers
from benchmarks.__main__ import GROUPS, main, parse
from benchmarks.inputs import brain_volume
from benchmarks.measure import Timing, interleave, ratio
from benchmarks.profiles import REST, kind_of, shares
from benchmarks.results import Row, peer, table
from sadm_utils.evaluation.anomaly_map import reconstruction_map
from sadm_utils.evaluation.metrics import volume_metrics


def test_quick_rows_are_measured_and_written(tmp_path: Path, capsys) -> None:
    groups = ["synthesis", "noise", "items", "evaluation", "thresholds"]
    file = tmp_path / "results.json"
    main([*groups, "--quick", "--out", str(file)])
    printed = capsys.readouterr().out
    tree = json.loads(file.read_text())
    rows = {row["key"]: row for row in tree["rows"]}
    assert len(rows) == 6 and [s["key"] for s in tree["growth"]] == ["thresholds"]
    assert set(tree["ceilings"]) and tree["machine"]["threads"] >= 1
    for row in rows.values():
        assert row["title"] in printed
        assert row["value"] > 0 and row["floor"] > 0 and row["date"]
        assert all(p["ratio"] > 0 and p["value"] > 0 for p in row["peers"])
    assert rows["simplex_noise"]["details"]["largest_difference"] < 1e-5
    found = rows["thresholds"]["details"]
    assert -1e-9 <= found["dice_gap_true"] <= found["dice_gap_stated"] + 1e-9
    assert found["auprc_error_true"] <= found["auprc_error_stated"] + 1e-9


def test_quick_preparation(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    main(["slices", "--quick", "--out", str(file)])
    rows = {row["key"]: row for row in json.loads(file.read_text())["rows"]}
    assert rows.keys() == {"stored_slices", "registered_scan"}
    assert all(row["value"] > 0 for row in rows.values()) and rows["stored_slices"]["peers"]


def test_profile_finds_where_the_time_goes() -> None:
    image, weight = torch.randn(4, 64, 64, 64), torch.randn(64, 64, 3, 3)  # a thousandth is ReLU
    seconds, found = shares(lambda: torch.relu(torch.conv2d(image, weight)))
    assert sum(found.values()) == pytest.approx(1) and seconds > 0
    assert found["convolutions"] > found[REST] > 0 == found["optimizer"]
    assert kind_of("aten::_fused_adamw_") == "optimizer" and kind_of("aten::normal_") == REST
    assert kind_of("aten::native_group_norm") == "normalization"


def test_profiles_are_written(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    main(["profiles", "--quick", "--out", str(file)])
    found = json.loads(file.read_text())["profiles"]
    assert len(found) == 5 and all(one["shares"]["convolutions"] > 0.1 for one in found)


def test_update_keeps_the_other_rows(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    main(["synthesis", "--quick", "--out", str(file)])
    main(["noise", "--quick", "--update", "--out", str(file)])
    keys = [row["key"] for row in json.loads(file.read_text())["rows"]]
    assert keys == ["draem_synthesis", "simplex_noise"]


def test_our_evaluation_agrees_with_the_libraries() -> None:
    parts = brain_volume((20, 22, 16))
    inside = parts["mask"] > 0
    ours = reconstruction_map(parts["image"], parts["reconstruction"], parts["mask"])
    theirs = peers.residual_map(parts["image"], parts["reconstruction"], parts["mask"])
    assert np.abs(ours - theirs)[inside].max() < 1e-3
    metrics = volume_metrics(ours, parts["seg"])
    for name, value in peers.metrics(ours, parts["seg"]).items():
        assert metrics[name] == pytest.approx(value, abs=1e-6), name


def test_functions_take_turns() -> None:
    calls = []
    works = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = interleave(works, rounds=2)
    assert "".join(calls) == "ab" + "ab" + "ba"  # a call each to warm up; then back and forth
    assert len(times["a"].wall) == len(times["b"].cpu) == 2
    assert ratio(Timing([2.0, 8.0, 6.0]), Timing([1.0, 2.0, 2.0])) == 3


def test_targets_are_judged_by_direction_and_memory() -> None:
    fast = Row("k", "t", 5000, "images/s", target=4000, higher=True, floor=10_000)
    assert fast.met and fast.of_floor == 2
    assert not Row("k", "t", 3, "s", target=2).met
    assert not Row("k", "t", 1, "s", target=2, memory_mb=300, memory_target_mb=250).met
    assert Row("k", "t", 1, "s").met is None
    text = table([fast, Row("j", "u", 3, "s", target=2, peers=(peer("scipy", 9, 3),))])
    assert "yes" in text and "NO" in text and "scipy 9 (3x)" in text


def test_command_line_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    for arguments in (["speed"], ["noise", "--quick"]):
        with pytest.raises(SystemExit):
            parse(arguments)
    assert parse([]).groups == [] and len(GROUPS) >= 10
