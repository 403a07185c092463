"""What only a whole test set has (pooled metrics, detection) is collected like all else."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sadm_utils.evaluation.protocol import Scored, measure_healthy, measure_set
from sadm_utils.evaluation.statistics import summarize
from sadm_utils.evaluation.tables import METRIC_NAMES, write_results
from sadm_utils.sweep.layout import render
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
