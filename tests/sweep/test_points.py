"""The folder of a point: what is linked into it, and when it counts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sadm_utils.errors import UserError
from sadm_utils.sweep import points as module
from sadm_utils.sweep.points import finished, link_file, link_parents, log_tail
from sadm_utils.sweep.sources import sources_of


def make_stage(folder: Path, name: str) -> Path:
    stage = folder / name
    (stage / "maps").mkdir(parents=True)
    (stage / "maps" / "a.npz").write_text("a")
    (stage / "record.json").write_text("{}")
    return stage


def test_stages_of_parents_are_linked_not_copied(tmp_path: Path) -> None:
    stage = make_stage(tmp_path / "01-aa", "data")
    link_parents(tmp_path / "04-bb", {"01-aa": ["data"]})
    linked = tmp_path / "04-bb" / "data" / "maps" / "a.npz"
    assert linked.samefile(stage / "maps" / "a.npz")
    link_parents(tmp_path / "04-bb", {"01-aa": ["data"]})  # again: nothing to do


def test_a_stage_that_was_made_again_is_linked_again_and_the_old_one_stays(tmp_path: Path) -> None:
    stage = make_stage(tmp_path / "01-aa", "data")
    link_parents(tmp_path / "04-bb", {"01-aa": ["data"]})
    link_parents(tmp_path / "04-cc", {"01-aa": ["data"]})
    for file in ("record.json", "maps/a.npz"):
        (stage / file).unlink()
        (stage / file).write_text("new")
    link_parents(tmp_path / "04-bb", {"01-aa": ["data"]})
    assert (tmp_path / "04-bb" / "data" / "maps" / "a.npz").read_text() == "new"
    assert (tmp_path / "04-cc" / "data" / "maps" / "a.npz").read_text() == "a"


def test_a_link_does_not_write_into_what_it_replaces(tmp_path: Path) -> None:
    one, two, own = (tmp_path / name for name in ("one", "two", "own"))
    one.write_text("one")
    two.write_text("two")
    os.link(one, own)
    for _ in range(2):  # the second time it is the same file
        link_file(two, own)
        assert own.samefile(two) and one.read_text() == "one" and two.read_text() == "two"


def test_copy_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    stage = make_stage(tmp_path / "01-aa", "data")
    monkeypatch.setattr(os, "link", refuse)
    link_parents(tmp_path / "04-bb", {"01-aa": ["data"]})
    copy = tmp_path / "04-bb" / "data" / "maps" / "a.npz"
    assert copy.read_text() == "a" and not copy.samefile(stage / "maps" / "a.npz")


def test_half_linked_stage_is_linked_anew(tmp_path: Path) -> None:
    make_stage(tmp_path / "01-aa", "data")
    torn = tmp_path / "04-bb" / "data"
    torn.mkdir(parents=True)
    (torn / "rest").touch()
    link_parents(tmp_path / "04-bb", {"01-aa": ["data"]})
    assert sorted(p.name for p in torn.iterdir()) == ["maps", "record.json"]


def test_stage_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="stage data of the point 01-aa is gone: delete"):
        link_parents(tmp_path / "04-bb", {"01-aa": ["data"]})


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_damaged_record_does_not_count(tmp_path: Path, text: str) -> None:
    (tmp_path / module.FINISHED).write_text(text)
    assert finished(tmp_path) is None


def test_log_tail_is_short(tmp_path: Path) -> None:
    (tmp_path / module.LOG).write_text("\n".join(str(k) for k in range(100)) + "\r\n\n last\r")
    tail = log_tail(tmp_path)
    assert len(tail) == module.LOG_LINES and tail[-1] == " last"
    assert json.dumps(tail)


def test_sources_follow_the_imports_of_a_stage_only(tmp_path: Path) -> None:
    package = tmp_path / "sadm_utils"
    texts = {
        "cddpm/training.py": "from sadm_utils import device, viz\nimport sadm_utils.cddpm.model",
        "cddpm/model.py": "def f():\n    from sadm_utils.cddpm.noise import x",
        "cddpm/noise.py": "",
        "cddpm/figures.py": "",
        "device.py": "",
        "viz/__init__.py": "",
    }
    for name, text in texts.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    found = sources_of("04", package=package)
    assert set(found) == {"cddpm/training.py", "cddpm/model.py", "cddpm/noise.py", "device.py"}
    assert "spark/model.py" in sources_of("04") and "sadm/training.py" not in sources_of("04")
    assert "evaluation/protocol.py" in sources_of("06") and "config.py" not in sources_of("06")
