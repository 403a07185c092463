"""Sweep files that cannot be meant are refused with one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sadm_utils.errors import UserError
from sadm_utils.runs import project_root
from sadm_utils.sweep import plan as plan_module
from sadm_utils.sweep.plan import plan_sweep
from sadm_utils.sweep.sweep_file import read_sweep
from tests.sweep.toy import make_plan, with_chapter_8, write_file

BAD: list[tuple[dict[str, Any], str]] = [
    ({"seed": [0]}, "unknown key 'seed': did you mean seeds"),
    ({"profile": "tiny"}, "Unknown profile 'tiny': choose one of"),
    ({"profile": 3}, "profile must be a text, not 3"),
    ({"annotations": ["brats"]}, "unknown annotations 'brats': did you mean brats21"),
    ({"methods": ["aae"]}, "unknown method 'aae': did you mean"),
    ({"seeds": []}, "seeds is an empty list: nothing would be run"),
    ({"seeds": ["a"]}, "seeds must be a list of whole numbers of at least 0"),
    ({"seeds": [-1]}, "seeds must be a list of whole numbers of at least 0"),
    ({"seeds": [1, 1]}, "seeds names something twice"),
    ({"folds": [0, 1]}, "the phantom cohort has only fold 0"),
    ({"data_dir": "/no/such/folder"}, "data_dir '/no/such/folder' does not exist"),
    ({"overrides": {"cddpm.nois": "gaussian"}}, "did you mean cddpm.noise"),
    ({"overrides": {"cddpm.noise": "pink"}}, "'cddpm.noise' must be one of simplex"),
    ({"overrides": ["cddpm.noise"]}, "overrides must map settings to values"),
    ({"overrides": {"data.fold": 1}}, "data.fold is set by the list 'folds'"),
    ({"variants": {"odd": {"sadm.depth": "x"}}}, "variant 'odd': .*takes int"),
    ({"variants": ["a"]}, "variants must map names to overrides"),
    ({"grid": {"cddpm.noise": "simplex"}}, "grid: cddpm.noise must be a list of values to try"),
    ({"grid": {"cddpm.noise": []}}, "grid: cddpm.noise must be a list of values to try"),
    ({"grid": {"cddpm.noise": ["simplex", "simplex"]}}, "grid names .* twice"),
    ({"notebooks": ["02"]}, "unknown notebook '02'"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "sentence"), BAD, ids=[b[1][:40] for b in BAD])
def test_bad_file(tmp_path: Path, keys: dict[str, Any], sentence: str) -> None:
    path = write_file(tmp_path, **keys)
    with pytest.raises(UserError, match=sentence) as caught:
        read_sweep(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing", "- a\n- b", "{}"])
def test_file_without_a_sweep(tmp_path: Path, text: str) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match="describes no sweep"):
        read_sweep(path)


def test_file_that_is_missing_or_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Cannot read the sweep file .*none.yaml: No such file"):
        read_sweep(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("seeds: [0")
    with pytest.raises(UserError, match="is not YAML"):
        read_sweep(broken)


def test_parameter_that_a_notebook_does_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = plan_module._notebook
    one = project_root() / "notebooks" / "01_data_preparation.ipynb"
    monkeypatch.setattr(plan_module, "_notebook", lambda k: one if k == "05" else real(k))
    with pytest.raises(UserError, match="Unknown parameter 'ANNOTATIONS' of 01_data"):
        make_plan(tmp_path)


def test_fold_that_the_data_do_not_have(tmp_path: Path) -> None:
    lists = tmp_path / "data" / "splits"
    lists.mkdir(parents=True)
    (lists / "IXI_train_fold0.csv").touch()
    path = write_file(tmp_path, data_dir=str(tmp_path / "data"), folds=[0, 3], annotations=[])
    with pytest.raises(UserError, match="no IXI_train_fold3.csv: remove 3 from folds"):
        read_sweep(path)


def test_defaults_and_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("profile: smoke\nseeds: 3\noverrides: {cddpm.train.learning_rate: 1e-3}\n")
    sweep = read_sweep(path)
    assert sweep.seeds == (3,) and sweep.folds == (0,) and sweep.methods == ()
    assert sweep.annotations == ("draem", "brats21", "atlas_v2") and sweep.name == "a"
    assert sweep.variants == {"plain": {"cddpm.train.learning_rate": 0.001}}


def test_shipped_files_can_be_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_chapter_8(monkeypatch, tmp_path)
    files = sorted((project_root() / "sweeps").glob("*.yaml"))
    assert {f.stem for f in files} >= {"smoke", "table"}
    for file in files:
        assert plan_sweep(read_sweep(file)).points
        assert set(yaml.safe_load(file.read_text()))  # not only comments
