"""The page "Performance and cost" shows what is in the file, misses included."""

import json

import pytest

from sadm_utils import speed
from sadm_utils.config import load_config

ROW = {
    "title": "Noise", "value": 12345.6, "unit": "images/s", "target": 20000.0, "higher": True,
    "floor": 50000.0, "memory_mb": 12.3, "memory_target_mb": 250.0,
    "peers": [{"name": "NumPy", "value": 385.0, "ratio": 32.1}],
}  # fmt: skip
LAST = {"title": "B", "value": 1, "unit": "s"}
CURVE = {"key": "training_batch", "axis": "batch", "x": [1, 2], "y": [3, 5], "unit": "slices/s"}
FOUND = {
    "machine": {"date": "2026-01-02 03:04", "processor": "X", "threads": 2, "torch": "2"},
    "ceilings": {"copy_gb_s": 12.0},
    "rows": [ROW, {**ROW, "title": "Blur", "value": 20000.0}, LAST],
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
    assert "1 of 2 targets of speed and 2 of 2 of memory are met. Missed: Noise.\n" in text
    assert "A batch 2 times as large gives the cDDPM's step 1.67 times the rate" in text
    assert "bfloat16, by batch, 3 slices/s at 1 and 5 slices/s at 2, memory 10 and 20 MB." in text
    assert "| A step | 76 % | 24 % |" in text
    assert "| B | 1 s |  |  |  |  |" in text
    assert speed.FIGURE in text and (root / speed.FIGURE).stat().st_size > 1000
    assert text.startswith("before ") and text.endswith(" after")


def test_words_tell_of_misses_that_the_machine_cannot_help():
    slow = {"title": "Step", "value": 3.0, "unit": "s", "target": 1.0, "floor": 2.0}
    fat = {**LAST, "memory_mb": 9.0, "memory_target_mb": 8.0}
    words = speed.missed_words([ROW, slow, {**slow, "floor": 0.5}, fat])
    assert words.startswith("0 of 3 targets of speed and 1 of 2 of memory are met. Missed: Noise; ")
    assert "memory of B. In 1 of the 3 misses of speed, the floor itself misses" in words
    assert speed.missed_words([{**slow, "value": 1.0}]) == "1 of 1 targets of speed are met."


def test_page_names_the_commits():
    rows = [{**ROW, "commit": c} for c in ("abc", "abc", "def-dirty")]
    words = speed.commit_words({"rows": rows})
    assert words.startswith("Code: commit `abc`, `def-dirty` (*dirty*: with changes")
    assert speed.commit_words({"rows": rows[:1]}) == "Code: commit `abc`. "
    assert speed.commit_words(FOUND) == ""


def test_wide_panels_show_whole_decades_and_others_begin_at_zero():
    wide = {**CURVE, "x": [10, 1000], "y": [3934.0, 4030.0], "memory_mb": [6, 578]}
    axes = speed.growth_figure([wide, CURVE]).axes
    assert [ax.get_yscale() for ax in axes] == ["log", "linear", "log"]
    assert axes[0].get_ylim() == (1000, 10000) and axes[2].get_ylim() == (1, 1000)
    assert axes[1].get_ylim() == pytest.approx((0, 5.5))


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
