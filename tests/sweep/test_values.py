"""Metrics of whole test sets and weighting curves are collected with their runs and spread."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sadm_utils.errors import UserError
from sadm_utils.evaluation.protocol import Scored, measure_healthy, measure_set
from sadm_utils.evaluation.statistics import bootstrap_interval, summarize
from sadm_utils.evaluation.tables import METRIC_NAMES, write_beta_subjects, write_results
from sadm_utils.sweep.layout import render
from sadm_utils.sweep.values import RESAMPLES as OF_THE_SWEEP
from sadm_utils.sweep.values import ROW, TABLE, Values, make_table, read_chains

WHOLE = {"pooled_best_dice", "pooled_auprc", "detection_auroc", "slice_auroc"}
RESAMPLES = 20


def volumes(rng: np.random.Generator, row: tuple[str, str], sick: bool) -> list[Scored]:
    """Three subjects of 12 × 12 × 4 voxels, scored by one row that rebuilds the image."""
    made = []
    for number in range(3):
        mask, seg = np.zeros((12, 12, 4)), np.zeros((12, 12, 4))
        mask[1:-1, 1:-1] = 1
        seg[3 : 5 + number, 3:6, 1:3] = sick
        image = rng.random(mask.shape).astype(np.float32) * mask
        score = ((0.1 * seg + rng.random(mask.shape)) * mask).astype(np.float32)
        made.append(Scored(f"s{number}", mask, seg, [(*row, score)], 1.0, image, {row: image / 2}))
    return made


def write_evaluation(stage: Path, row: tuple[str, str], seed: int) -> pd.DataFrame:
    """Everything that is measured, in the files of chapters 6 and 8; returns the rows."""
    rng = np.random.default_rng(seed)
    well = measure_healthy(volumes(rng, row, False), volumes(rng, row, False))
    parts = volumes(rng, row, True), volumes(rng, row, True)
    found = measure_set("Brats21", *parts, well, seed, RESAMPLES)
    subjects = pd.DataFrame(found.subjects)
    rows = pd.concat([summarize(subjects, seed, RESAMPLES), pd.DataFrame(found.whole)])
    write_results(stage, rows.reset_index(drop=True), {"seed": seed}, subjects)
    return rows


def sweep_of(folder: Path, seeds: tuple[int, ...]) -> tuple[Values, dict[int, pd.DataFrame]]:
    """Chains of an evaluation and of a comparison method, read back; and the rows of the first."""
    chains: list[dict[str, Any]] = []
    records, rows = {}, {}
    for seed in seeds:
        names = [f"06-{seed}", f"08-{seed}"]
        chains.append({"variant": "plain", "seed": seed, "fold": 0, "results": names})
        rows[seed] = write_evaluation(folder / "points" / names[0] / "evaluation", ("A", ""), seed)
        write_evaluation(folder / "points" / names[1] / "evaluation-ae", ("AE", ""), seed)
        records[names[0]] = {"stages": ["evaluation"]}
        records[names[1]] = {"stages": ["ae", "evaluation-ae"]}
    return read_chains({"chains": chains}, records, folder), rows


def test_every_metric_of_an_evaluation_is_collected_for_chapters_6_and_8(tmp_path: Path) -> None:
    values, rows = sweep_of(tmp_path, (0,))
    assert set(rows[0]["metric"]) == set(METRIC_NAMES)
    table = make_table(values)
    assert list(table) == TABLE and not table.duplicated(["variant", *ROW]).any()
    for method in ("A", "AE"):
        assert set(table[table["method"] == method]["metric"]) == set(METRIC_NAMES), method
    assert set(values.whole["metric"]) == WHOLE
    assert "detection AUROC" in render(table, "markdown", ["detection_auroc"])


@pytest.mark.parametrize("file", ["subjects.csv", "results.json", "beta_subjects.csv"])
def test_an_unreadable_file_is_one_sentence(tmp_path: Path, file: str) -> None:
    sweep_of(tmp_path, (0,))
    (tmp_path / "points" / "06-0" / "evaluation" / file).write_bytes(b"\xff\xfe")
    chains = [{"variant": "plain", "seed": 0, "fold": 0, "results": ["06-0"]}]
    with pytest.raises(UserError, match=rf"{file} cannot be read .*: delete .*06-0 and run"):
        read_chains({"chains": chains}, {"06-0": {"stages": ["evaluation"]}}, tmp_path)


def whole_of(table: pd.DataFrame) -> dict[str, Any]:
    found = table[(table["method"] == "A") & (table["metric"] == "slice_auroc")]
    (line,) = found.to_dict("records")
    return line


def test_one_run_keeps_its_interval_and_several_have_a_spread_instead(tmp_path: Path) -> None:
    values, rows = sweep_of(tmp_path / "one", (0,))
    own = rows[0].set_index("metric").loc["slice_auroc"]
    line = whole_of(make_table(values))
    assert [line[k] for k in ("mean", "low", "high")] == [own[k] for k in ("mean", "low", "high")]
    assert (line["n_runs"], line["n_subjects"]) == (1, 6) and math.isnan(line["sd_runs"])

    values, rows = sweep_of(tmp_path / "two", (1, 2))
    means = [r.set_index("metric").loc["slice_auroc", "mean"] for r in rows.values()]
    line = whole_of(make_table(values))
    assert means[0] != means[1] and line["mean"] == pytest.approx(np.mean(means))
    assert line["sd_runs"] == pytest.approx(np.std(means, ddof=1)) and line["n_runs"] == 2
    assert math.isnan(line["low"]) and math.isnan(line["high"]) and line["n_subjects"] == 6


def test_a_run_without_a_value_does_not_count(tmp_path: Path) -> None:
    sweep_of(tmp_path, (1, 2))
    path = tmp_path / "points" / "06-2" / "evaluation" / "results.json"
    content = json.loads(path.read_text())
    for row in content["rows"]:
        row |= dict.fromkeys(("mean", "sd", "low", "high")) | {"n": 0}
    path.write_text(json.dumps(content))
    chains = [{"variant": "plain", "seed": s, "fold": 0, "results": [f"06-{s}"]} for s in (1, 2)]
    records = {f"06-{s}": {"stages": ["evaluation"]} for s in (1, 2)}
    line = whole_of(make_table(read_chains({"chains": chains}, records, tmp_path)))
    assert line["n_runs"] == 1 and line["low"] <= line["mean"] <= line["high"]


CURVES = {1: {"A": 0.2, "B": 0.4}, 2: {"A": 0.4, "B": 0.8}}
"""⌈Dice⌉ of each subject at β = 0, by seed; at β = 1 it is half of that."""


def curves_of(folder: Path, kept: tuple[int, ...]) -> Values:
    """Two runs with a weighting curve; the values of subjects are there for the seeds ``kept``."""
    chains, records = [], {}
    for seed, values in CURVES.items():
        stage = folder / "points" / f"06-{seed}" / "evaluation"
        write_evaluation(stage, ("A", ""), seed)
        each = pd.DataFrame(
            [("draem", "ATLAS", subject, beta, value / (1 + beta))
             for beta in (0.0, 1.0) for subject, value in values.items()],
            columns=["annotations", "test_set", "subject", "beta", "best_dice"],
        )  # fmt: skip
        keys = ["annotations", "test_set", "beta"]
        means = each.groupby(keys)["best_dice"].mean().reset_index().to_dict("records")
        content = json.loads((stage / "results.json").read_text())
        (stage / "results.json").write_text(json.dumps({**content, "beta_curve": means}))
        if seed in kept:
            write_beta_subjects(stage, each)
        chains.append({"variant": "plain", "seed": seed, "fold": 0, "results": [f"06-{seed}"]})
        records[f"06-{seed}"] = {"stages": ["evaluation"]}
    return read_chains({"chains": chains}, records, folder)


def test_curve_has_the_interval_over_subjects_with_their_runs_averaged(tmp_path: Path) -> None:
    values = curves_of(tmp_path, kept=(1, 2))
    curve = values.beta_curve.set_index(["seed", "beta"])
    assert curve["best_dice"].to_dict() == pytest.approx(
        {(1, 0.0): 0.3, (1, 1.0): 0.15, (2, 0.0): 0.6, (2, 1.0): 0.3}
    )
    for beta, means in ((0.0, [0.3, 0.6]), (1.0, [0.15, 0.3])):
        expected = bootstrap_interval(means, np.random.default_rng(0), OF_THE_SWEEP)
        for seed in CURVES:
            ends = curve.loc[(seed, beta), ["low", "high"]].astype(float)
            assert list(ends) == pytest.approx([expected.low, expected.high])
    assert len(values.beta_subjects) == 2 * 2 * 2


def test_curve_of_runs_without_values_of_subjects_has_no_interval(tmp_path: Path) -> None:
    for name, kept in (("some", (1,)), ("none", ())):
        curve = curves_of(tmp_path / name, kept).beta_curve
        assert len(curve) == 4 and curve[["low", "high"]].isna().all(axis=None), name


def test_values_of_weights_are_small(tmp_path: Path) -> None:
    row = ("draem", "ATLAS", "a", 0.1, 1 / 3)
    columns = ["annotations", "test_set", "subject", "beta", "best_dice"]
    write_beta_subjects(tmp_path, pd.DataFrame([row], columns=columns))
    text = (tmp_path / "beta_subjects.csv").read_text()
    assert text == ",".join(columns) + "\ndraem,ATLAS,a,0.1,0.3333\n"
    write_beta_subjects(tmp_path, pd.DataFrame([]))
    assert (tmp_path / "beta_subjects.csv").read_text() == ",".join(columns) + "\n"
