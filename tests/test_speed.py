"""The page "Performance and cost" shows what is in the file, misses included."""

import json

import pytest

from sadm_utils import speed
from sadm_utils.config import load_config

ROW = {
    "title": "Noise", "value": 12345.6, "unit": "images/s", "target": 20000.0, "higher": True,
    "met": False, "floor": 50000.0, "memory_mb": 12.3, "memory_target_mb": 250.0,
    "peers": [{"name": "NumPy", "value": 385.0, "ratio": 32.1}],
}  # fmt: skip
CURVE = {"key": "training_batch", "axis": "batch", "x": [1, 2], "y": [3, 5], "unit": "slices/s"}
FOUND = {
    "machine": {"date": "2026-01-02 03:04", "processor": "X", "threads": 2, "torch": "2"},
    "ceilings": {"copy_gb_s": 12.0},
    "rows": [ROW, {**ROW, "title": "Blur", "met": True}, {"title": "B", "value": 1, "unit": "s"}],
    "profiles": [
        {"title": "A step", "seconds": 2.0, "shares": {"convolutions": 0.764, "rest": 0.236}},
    ],
    "growth": [CURVE, {**CURVE, "memory_mb": [10, 20]}],
}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "project_root", lambda: tmp_path)
    (tmp_path / "benchmarks").mkdir()
    return tmp_path


def test_page_holds_figures_misses_and_the_picture(root):
    (root / "benchmarks" / "results.json").write_text(json.dumps(FOUND))
    text = speed.fill_speed(f"before {speed.MARK} after", root).replace(speed.SPACE, " ")
    assert "12,346 images/s | ≥ 20,000 ✗ | 50,000 | NumPy 385 (× 32.1) | 12 (≤ 250) ✓ |" in text
    assert "1 of 2 targets are met. Missed: Noise." in text
    assert "| A step | 76 % | 24 % |" in text
    assert "| B | 1 s |  |  |  |  |" in text
    assert speed.FIGURE in text and (root / speed.FIGURE).stat().st_size > 1000
    assert text.startswith("before ") and text.endswith(" after")


def test_projection_multiplies_the_measured_step():
    row = {"key": "cddpm_step_bf16", "value": 1.5, "details": {"gflop_per_image": 450.0}}
    table = speed.projection_table([row, ROW], load_config("paper"))
    # 1600 × 358 images: 572,800 · 1.5 s are 9.94 days, 572,800 · 450e9 / (0.3 · 989e12) s 14 min
    assert table.splitlines()[2:] == [
        "| cDDPM, the paper's stage I | 1,600 × 358 | 258 | 9.94 | 14 |"
    ]
    assert speed.projection_table([ROW], load_config("paper")) == speed.NOTHING


def test_page_says_if_nothing_was_measured(root):
    assert speed.NOTHING in speed.fill_speed(speed.MARK, root)


def test_other_pages_stay(root):
    assert speed.fill_speed("text", root) == "text"
