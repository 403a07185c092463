"""Tables of a sweep, from made-up records with means computed by hand."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sadm_utils.errors import UserError
from sadm_utils.evaluation.scoring import VolumeMaps
from sadm_utils.evaluation.stage import save_maps
from sadm_utils.evaluation.statistics import bootstrap_interval
from sadm_utils.results.words import on_phantoms
from sadm_utils.sweep.claim import PLAN
from sadm_utils.sweep.collect import collect
from sadm_utils.sweep.layout import CAPTION, paper_table, render
from sadm_utils.sweep.points import REUSED
from sadm_utils.sweep.values import RESAMPLES, TABLE
from sadm_utils.sweep.wall import WALL

RECORD = {
    "seconds": 10.0, "peak_bytes": 5, "threads": 1, "commit": "abc", "package": "0.1.0",
    "finished": "2026-01-02T00:00:00+0000", "versions": {"torch": "2"}, "device": "CPU",
    "python": "3.12", "sources": {"a.py": "1"}, "parameters": {},
    "settings": {"x": 1, "y": 2, "evaluation.median": 1},
    "stages": ["evaluation"],
}  # fmt: skip
VALUES = {  # (variant, seed): value of each subject
    ("plain", 0): {"A": 0.2, "B": 0.4},
    ("plain", 1): {"A": 0.4, "B": 0.8},
    ("other", 0): {"A": 0.5, "B": math.nan},
}


def point_id(variant: str, seed: int) -> str:
    return f"06-{variant}{seed}"


def write_sweep(folder: Path, **changes: dict[str, Any]) -> Path:
    """A sweep folder with three chains; ``changes`` go into the record of a point by its id."""
    points, chains = [], []
    for (variant, seed), values in VALUES.items():
        name = point_id(variant, seed)
        points.append({"id": name, "notebook": "06_evaluation"})
        chains.append({"variant": variant, "seed": seed, "fold": 0, "points": [name],
                       "results": [name]})  # fmt: skip
        own = folder / "points" / name
        write_stage(own / "evaluation", values)
        record = {"id": name, "notebook": "06_evaluation", **RECORD}
        record |= changes.get(name.replace("06-", ""), {})
        (own / "point.json").write_text(json.dumps(record))
    sweep = {"name": "toy", "profile": "smoke", "data_dir": "", "seeds": [0, 1]}
    (folder / PLAN).write_text(json.dumps({"sweep": sweep, "points": points, "chains": chains}))
    return folder


def write_stage(stage: Path, values: dict[str, float]) -> None:
    stage.mkdir(parents=True)
    rows = [
        {"method": method, "annotations": source, "test_set": name, "subject": subject,
         "metric": metric, "value": value * factor}
        for method, source, factor in (("SADM_res", "draem", 1.0), ("cDDPM", "", 0.5))
        for name in ("Brats21", "DRAEM")
        for metric in ("best_dice", "auprc")
        for subject, value in values.items()
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(stage / "subjects.csv", index=False)
    curve = [{"annotations": "draem", "test_set": "Brats21", "beta": 0.5, "best_dice": 0.7}]
    (stage / "results.json").write_text(json.dumps({"rows": [], "beta_curve": curve}))


def row(table: pd.DataFrame, variant: str, method: str, test_set: str = "Brats21") -> pd.Series:
    chosen = (table[["variant", "method", "test_set", "metric"]]
              == [variant, method, test_set, "best_dice"]).all(axis=1)  # fmt: skip
    (line,) = table[chosen].to_dict("records")
    return pd.Series(line)


def test_means_by_hand(tmp_path: Path) -> None:
    found = collect(write_sweep(tmp_path))
    line = row(found.table, "plain", "SADM_res")
    # Runs have the means 0.3 and 0.6; subjects, over both runs, 0.3 and 0.6.
    assert line["mean"] == pytest.approx(0.45)
    assert line["sd_runs"] == pytest.approx(0.3 / math.sqrt(2))
    assert (line["n_subjects"], line["n_runs"]) == (2, 2)
    interval = bootstrap_interval([0.3, 0.6], np.random.default_rng(0), RESAMPLES)
    assert (line["low"], line["high"]) == pytest.approx((interval.low, interval.high))
    assert row(found.table, "plain", "cDDPM")["mean"] == pytest.approx(0.225)


def test_one_run_has_no_spread_and_a_missing_value_does_not_count(tmp_path: Path) -> None:
    line = row(collect(write_sweep(tmp_path)).table, "other", "SADM_res")
    assert line["mean"] == 0.5 and math.isnan(line["sd_runs"]) and math.isnan(line["low"])
    assert (line["n_subjects"], line["n_runs"]) == (1, 1)


def test_files(tmp_path: Path) -> None:
    found = collect(write_sweep(tmp_path))
    folder = tmp_path / "results"
    subjects = pd.read_csv(folder / "subjects.csv.gz").fillna({"annotations": ""})
    assert list(subjects) == [
        "variant", "seed", "fold", "method", "annotations", "test_set", "subject", "metric",
        "value",
    ]  # fmt: skip
    assert len(subjects) == 3 * 2 * 2 * 2 * 2
    pd.testing.assert_frame_equal(subjects, found.subjects, check_dtype=False)
    assert list(pd.read_csv(folder / "table.csv")) == [
        "variant", "method", "annotations", "test_set", "metric", "mean", "sd_runs", "low",
        "high", "n_subjects", "n_runs",
    ]  # fmt: skip
    curve = pd.read_csv(folder / "beta_curve.csv")
    assert len(curve) == 3 and set(curve["best_dice"]) == {0.7}
    assert list(curve) == [
        "variant", "seed", "fold", "annotations", "test_set", "beta", "best_dice", "low", "high",
    ]  # fmt: skip
    assert curve[["low", "high"]].isna().all(axis=None), "no values of subjects: no interval"
    assert pd.read_csv(folder / "beta_subjects.csv.gz").empty
    about = json.loads((folder / "about.json").read_text())
    assert about["data"] == about["tier"] == "phantom"
    assert about["seconds"] == 30.0 and about["commits"] == ["abc"]
    assert about["cost"]["06_evaluation"] == {
        "points": 3, "seconds": 30.0, "mean_seconds": 10.0, "peak_bytes": 5,
    }  # fmt: skip


def test_own_data_are_no_phantoms_whatever_their_folder_is_called(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path)
    plan = json.loads((folder / PLAN).read_text())
    plan["sweep"]["data_dir"] = "/data/phantom"
    (folder / PLAN).write_text(json.dumps(plan))
    about = collect(folder).about
    assert (about["data"], about["tier"]) == ("phantom", "own") and not on_phantoms(about)


def test_same_values_make_the_same_file(tmp_path: Path) -> None:
    files = [collect(write_sweep(tmp_path / name)) and
             (tmp_path / name / "results" / "subjects.csv.gz") for name in "ab"]  # fmt: skip
    assert files[0].read_bytes() == files[1].read_bytes()


def test_two_that_collect_at_once_do_not_share_a_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, replace = write_sweep(tmp_path), os.replace
    stage = folder / "points" / point_id("plain", 0) / "evaluation"
    ones = np.ones((4, 4, 2), np.float32)
    save_maps(stage / "maps" / "Brats21", VolumeMaps("s0", *[ones] * 5, {}))
    names: list[str] = []

    def note(source: Path, target: Path) -> None:
        names.append(Path(source).name)
        replace(source, target)

    monkeypatch.setattr("os.replace", note)
    collect(folder)
    assert len(names) >= 4 and all(str(os.getpid()) in name for name in names)
    assert all(any(file in n for n in names) for file in ("subjects.csv.gz", "slices.npz"))
    assert not [p.name for p in (folder / "results").iterdir() if p.name.startswith(".")]


def test_unfinished_and_failed_points_are_told_of(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path)
    own = folder / "points" / point_id("plain", 1)
    (own / "point.json").rename(own / "gone")
    (own / "failed.json").write_text(json.dumps({"error": "It broke."}))
    found = collect(folder)
    assert found.about["failed"] == {"06-plain1": "It broke."}
    assert found.sentences == [
        "2 of 3 points are finished, 1 failed: the table holds what is there."
    ]
    assert row(found.table, "plain", "SADM_res")["mean"] == pytest.approx(0.3)


CONFLICTS = [
    ({"sources": {"a.py": "2", "b.py": "1"}, "commit": "def"}, "the source a.py"),
    ({"versions": {"torch": "3"}, "commit": "def"}, "the version of torch"),
    ({"settings": {"x": 5}, "commit": "def"}, "the setting x"),
]


@pytest.mark.parametrize(("change", "what"), CONFLICTS, ids=[c[1] for c in CONFLICTS])
def test_results_of_different_versions(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    folder = write_sweep(tmp_path, plain1=change)
    sentence = (
        rf"different versions: {what} of 06-plain0 \(commit abc\) is not that of 06-plain1 "
        r"\(commit def\)\. Run 'sadm sweep' with --refresh .* or add --mixed"
    )
    with pytest.raises(UserError, match=sentence):
        collect(folder)
    assert not (folder / "results").exists()
    found = collect(folder, mixed=True)
    assert "is not that of" in found.about["mixed"] and len(found.sentences) == 1


def test_what_differs_by_intent_mixes(tmp_path: Path) -> None:
    own = {"settings": {"x": 5}, "parameters": {"OVERRIDES": {"x": 5}}}
    assert collect(write_sweep(tmp_path, plain1=own)).about["mixed"] == ""


def test_other_commit_with_the_same_sources_mixes(tmp_path: Path) -> None:
    found = collect(write_sweep(tmp_path, plain1={"commit": "def", "sources": {"b.py": "1"}}))
    assert found.about["commits"] == ["abc", "def"]


def test_points_of_another_sweep_cost_nothing_here(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path, plain0={"seconds": 100.0, "peak_bytes": 9})
    (folder / "points" / point_id("plain", 0) / REUSED).write_text("{}")
    about = collect(folder).about
    assert (about["reused"], about["reused_seconds"]) == (1, 100.0)
    assert about["seconds"] == 20.0 and about["cost"]["06_evaluation"]["points"] == 2
    assert about["peak_bytes"] == 5 and about["finished"] == 3
    assert "wall_s" not in about
    for seed in ("plain1", "other0"):
        (folder / "points" / f"06-{seed}" / REUSED).write_text("{}")
    about = collect(folder).about
    assert (about["seconds"], about["cost"], about["peak_bytes"]) == (0, {}, 0)


@pytest.mark.parametrize("whole", [True, False])
def test_wall_time_is_told_if_it_is_that_of_all_starts(tmp_path: Path, whole: bool) -> None:
    folder = write_sweep(tmp_path)
    (folder / WALL).write_text(json.dumps({"wall_s": 12.5, "jobs": 2, "whole": whole}))
    about = collect(folder).about
    assert about["jobs"] == 2 and about.get("wall_s") == (12.5 if whole else None)


def test_builds_of_the_same_library_mix(tmp_path: Path) -> None:
    found = collect(write_sweep(tmp_path, plain1={"versions": {"torch": "2+cu124"}}))
    assert found.about["mixed"] == ""


def test_nothing_to_collect(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no sweep .*make one with 'sadm sweep'"):
        collect(tmp_path)
    folder = write_sweep(tmp_path / "a")
    for path in folder.glob("points/*/point.json"):
        path.unlink()
    with pytest.raises(UserError, match="No evaluation is finished in"):
        collect(folder)
    (folder / PLAN).write_text("{")
    with pytest.raises(UserError, match="plan.json is damaged: delete it"):
        collect(folder)


def make_table(*rows: tuple[str, str, str]) -> pd.DataFrame:
    """Method, annotations, test set; ⌈Dice⌉ and AUPRC of each."""
    lines = [
        {"variant": "plain", "method": m, "annotations": a, "test_set": t, "metric": metric,
         "mean": 0.5855, "sd_runs": 0.0078, "low": 0.561, "high": 0.609}
        for m, a, t in rows
        for metric in ("best_dice", "auprc")
    ]  # fmt: skip
    return pd.DataFrame(lines)


ROWS = [
    ("SADM_res", "brats21", "DRAEM"), ("Unet", "draem", "DRAEM"), ("DRAEM-Net", "draem", "DRAEM"),
    ("PII", "pii", "DRAEM"), ("cDDPM", "", "DRAEM"), ("AE", "", "DRAEM"), ("AE", "", "Brats21"),
    ("Intensity", "", "ATLAS"),
]  # fmt: skip


def test_layout_follows_the_paper() -> None:
    table = paper_table(make_table(*ROWS), ["best_dice", "auprc"])
    assert list(table["method"]) == [
        "Intensity", "AE", "cDDPM", "PII", "DRAEM-Net", "Unet", "SADM_res",
    ]  # fmt: skip
    assert list(table["annotations"]) == ["–", "–", "–", "PII", "DRAEM", "DRAEM", "BRATS"]
    assert list(table)[2:] == [
        "BRATS ⌈Dice⌉", "BRATS AUPRC", "ATLAS ⌈Dice⌉", "ATLAS AUPRC", "DRAEM ⌈Dice⌉",
        "DRAEM AUPRC",
    ]  # fmt: skip
    assert table["BRATS ⌈Dice⌉"][1] == "58.6 ± 0.8 [56.1, 60.9]"
    assert table["ATLAS ⌈Dice⌉"][1] == "–"


def test_latex_is_a_document_with_equal_rows() -> None:
    text = render(make_table(*ROWS), "latex")
    assert text.startswith(r"\documentclass") and text.endswith(r"\end{document}")
    assert text.count("{") == text.count("}") and text.count("$") % 2 == 0
    for name in ("tabular", "document"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 1
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in rows[1:]} == {7} and len(rows) == 2 + 7
    assert rows[0].count(r"\multicolumn{2}") == 3 and r"\cmidrule(lr){3-4}" in text
    assert r"SADM\_res & BRATS" in text and r"58.6 $\pm$ 0.8 {\scriptsize [56.1, 60.9]}" in text
    assert all(sign not in text for sign in ("±", "⌈", "–")) and r"95 \%" in text


def test_markdown_and_text() -> None:
    markdown = render(make_table(*ROWS), "markdown", ["auprc"])
    assert markdown.splitlines()[0] == (
        "| method | annotations | BRATS AUPRC | ATLAS AUPRC | DRAEM AUPRC |"
    )
    assert markdown.endswith(CAPTION)
    text = render(make_table(*ROWS))
    assert text.count("method") == 3 and "DRAEM-Net" in text  # a block a test set


@pytest.mark.parametrize("style", ["text", "latex"])
def test_what_cannot_be_told_from_the_best_is_marked_within_its_variant(style) -> None:
    lines, subjects = [], []
    for variant, shift in (("a", 0.0), ("b", 0.3)):
        for method, mean in (("FAE", 0.4), ("AE", 0.399), ("VAE", 0.1 + shift)):
            key = (variant, method, "", "ATLAS", "auprc")
            lines.append((*key, mean, 0.01, mean - 0.1, mean + 0.1, 8, 1))
            subjects += [(*key, f"s{k}", mean + 0.01 * (-1) ** (k + len(method)))
                         for k in range(8)]  # fmt: skip
    names = ["variant", "method", "annotations", "test_set", "metric"]
    table = pd.DataFrame(lines, columns=[*names, *TABLE[5:]])
    text = render(table, style, ["auprc"], pd.DataFrame(subjects, columns=[*names, "subject",
                                                                           "value"]))  # fmt: skip
    mark = r"$^\dagger$" if style == "latex" else "†"
    rows = [x for x in text.splitlines() if x.startswith(("FAE", "AE", "VAE"))]
    assert [mark in row for row in rows] == [True, False, False] + [True, True, False]
    assert sum(row.startswith("FAE*") for row in rows) == 2


def test_distances_and_errors_are_no_percentages() -> None:
    table = make_table(*ROWS)
    table = table.assign(metric=table["metric"].map({"best_dice": "hd95", "auprc": "l1_healthy"}))
    shown = paper_table(table.assign(mean=12.3456, sd_runs=0.5), ["hd95", "l1_healthy"])
    assert shown["BRATS HD95 in mm"][1].startswith("12.3") and "mm" in CAPTION
    assert not [cell for cell in shown.iloc[1] if cell.startswith("1234")]


def test_unknown_metric() -> None:
    with pytest.raises(UserError, match="Unknown --metric 'dize': choose from best_dice, auprc"):
        render(make_table(*ROWS), "text", ["dize"])
