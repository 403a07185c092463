"""The page "On real scans" shows what a run has measured, or says that there is none."""

from pathlib import Path

import pandas as pd

from sadm_utils.evaluation.tables import format_value, read_results
from sadm_utils.real_scans import MARK, NOTHING, fill_real_scans


def test_page_shows_tables_findings_and_pictures(finished_dir: Path, tmp_path: Path) -> None:
    text = fill_real_scans(f"before {MARK} after", finished_dir, tmp_path)
    assert text.startswith("before ") and text.endswith(" after")
    rows, _ = read_results(finished_dir / "evaluation")
    row = rows[rows["metric"] == "best_dice"].iloc[0]
    assert format_value(row["mean"], row["sd"], row["low"], row["high"]) in text
    manifest = pd.read_csv(finished_dir / "data" / "manifest.csv")
    for split, count in manifest["split"].value_counts().items():
        assert f"| {split} | {count} |" in text
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert pictures and all(f"{{image}} {name}" in text for name in pictures)


def test_page_without_a_run(tmp_path: Path) -> None:
    assert NOTHING in fill_real_scans(MARK, tmp_path / "real", tmp_path)
    assert fill_real_scans("other", tmp_path / "real", tmp_path) == "other"
