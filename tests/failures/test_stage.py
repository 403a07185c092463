"""The stage of chapter 9 on the small finished run: measured, kept, reused, drawn."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sadm_utils.errors import UserError
from sadm_utils.failures import figures, stage
from sadm_utils.failures.damage import DAMAGES, Volume
from sadm_utils.failures.lesions import DARKNESS, DIAMETERS_MM
from sadm_utils.failures.stage import PLAIN, SPOILED, Broken, break_it, measure
from sadm_utils.predict import open_finished_run
from sadm_utils.predict.finished import METHOD


@pytest.fixture(scope="module")
def broken(finished_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Broken:
    import shutil

    folder = shutil.copytree(finished_dir, tmp_path_factory.mktemp("broken") / "run")
    return break_it(open_finished_run(folder), show=lambda words: None)


def test_every_damage_method_and_subject_is_measured(broken: Broken) -> None:
    rows = broken.damages
    assert len(rows) == 2 * sum(map(len, SPOILED.values()))
    assert set(SPOILED["sick"]) < set(SPOILED["healthy"]) == set(DAMAGES)
    assert not rows.duplicated(["damage", "kind", "method"]).any()
    assert rows.loc[rows["kind"] == "healthy", "recall"].isna().all()
    assert rows["marked"].between(0, 1).all()
    assert len(broken.sizes) == len(DIAMETERS_MM) * len(DARKNESS) * 2
    assert set(broken.thresholds) == {PLAIN, METHOD}


def test_table_is_what_the_kept_maps_say(broken: Broken) -> None:
    limit = broken.thresholds[METHOD]
    for name in ("intact", "contrast", "cut"):
        maps = broken.maps(name)
        marked = (broken.score(maps) >= limit) & (maps.mask > 0)
        frame = broken.damages.query("kind == 'healthy' and damage == @name")
        share = frame.set_index("method")["marked"][METHOD]
        assert np.isclose(marked.sum() / maps.mask.sum(), share, atol=0.01)  # kept as float16


def test_measures_by_hand() -> None:
    mask = np.ones((4, 4, 4), np.uint8)
    mask[0] = 0
    seg, score = np.zeros_like(mask), np.zeros(mask.shape, np.float32)
    seg[1, :2, 0], score[1, 1:3, 0], score[0] = 1, 0.9, 5.0
    found = measure(score, Volume(score, mask, seg, 10.0), 0.5)
    assert found["marked_ml"] == 2.0 and found["marked"] == 2 / 48
    assert found["recall"] == found["precision"] == found["dice"] == 0.5


def test_finished_stage_is_reused(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    before = json.loads((broken.folder / "record.json").read_text())
    monkeypatch.setattr(stage, "_compute", lambda *a: pytest.fail("computed again"))
    again = break_it(open_finished_run(broken.folder.parent))
    assert again.damages.equals(broken.damages)
    assert json.loads((broken.folder / "record.json").read_text()) == before


def test_without_evaluation_there_is_a_sentence(broken: Broken) -> None:
    run = open_finished_run(broken.folder.parent)
    path = run.path / "evaluation" / "record.json"
    text = path.read_text()
    path.unlink()
    try:
        with pytest.raises(UserError, match="06_evaluation"):
            break_it(run)
    finally:
        path.write_text(text)


def test_the_cut_goes_where_most_damages_are_seen() -> None:
    nothing = np.zeros((2, 2, 6), bool)
    maps = SimpleNamespace(mask=~nothing, seg=nothing.astype(np.uint8))
    one, other = nothing.copy(), nothing.copy()
    one[..., 1], one[0, 0, 4] = True, True  # most of it where the other is not
    other[..., 4], other[0, 0, 5] = True, True
    assert figures._cut(maps, [one, other], 2) == 4
    assert figures._cut(maps, [one, nothing], 2) == 1
    assert figures._cut(maps, [nothing], 2) == 3  # six tenths of the way up
    maps.seg[..., 2] = 1
    assert figures._cut(maps, [one, other], 2) == 2  # a lesion comes first


def test_figures_and_words_come_from_the_tables(broken: Broken) -> None:
    gallery = figures.before_and_after(broken, ["ghosts", "thick"], kind="sick")
    assert len(gallery.axes) == 9
    assert figures.before_and_after(broken, ["nod"], axis=0).get_figwidth() < 7
    bars = figures.false_alarms(broken).axes[0]
    assert len(bars.patches) == 2 * len(DAMAGES)
    assert len(figures.drawn_lesions(broken).axes) == len(DARKNESS)
    table = figures.damages_table(broken)
    assert list(table["scan"]) == [damage.title for damage in DAMAGES.values()]
    loudest = table.iloc[1:].loc[table.iloc[1:]["healthy: marked, ml"].idxmax(), "scan"]
    assert f"*{loudest}*" in figures.damages_words(broken)
