"""The stages of a comparison method: trained once, refused if they do not fit, evaluated."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from sadm_utils.baselines import stage as stage_module
from sadm_utils.baselines.registry import METHODS, method_class
from sadm_utils.baselines.stage import (
    baseline_results,
    evaluate_baseline,
    evaluation_name,
    load_maps,
)
from sadm_utils.baselines.training import (
    baseline_stage,
    load_baseline,
    settings_of,
    stage_name,
    train_baseline,
)
from sadm_utils.config import flatten, load_config
from sadm_utils.data.stage import open_data
from sadm_utils.device import generator
from sadm_utils.errors import UserError
from sadm_utils.evaluation import stage as chapter6
from sadm_utils.sweep.pictures import write_pictures
from sadm_utils.sweep.slices import STEPS, read_pictures
from tests.baselines.conftest import SMALL


@pytest.fixture
def trained(open_prepared):
    run = open_prepared()
    train_baseline(run, "ae")
    return run


def test_chain_of_one_method(trained, capsys):
    evaluate_baseline(trained, "ae")
    folder = trained.path / evaluation_name("ae")
    rows, extra = baseline_results(trained, "ae")
    assert set(rows["method"]) == {"AE"} and set(rows["annotations"]) == {""}
    assert set(rows["test_set"]) == {"Brats21", "MSLUB", "DRAEM"}
    assert {"best_dice", "auprc", "dice"} <= set(rows["metric"])
    assert {t["test_set"] for t in extra["thresholds"]} == {"Brats21", "DRAEM"}
    assert extra["healthy_l1"]["n"] == 2 and 0 < extra["healthy_l1"]["mean"] < 1
    subjects = pd.read_csv(folder / "subjects.csv")
    dice = subjects[(subjects["metric"] == "best_dice") & (subjects["test_set"] == "Brats21")]
    line = rows[(rows["metric"] == "best_dice") & (rows["test_set"] == "Brats21")].iloc[0]
    assert line["mean"] == pytest.approx(dice["value"].mean()) and line["n"] == len(dice) == 2
    capsys.readouterr()
    evaluate_baseline(trained, "ae")
    assert "reused" in capsys.readouterr().out


def test_everything_that_chapter_6_measures_is_measured(trained):
    evaluate_baseline(trained, "ae", show=len)
    rows, extra = baseline_results(trained, "ae")
    found = set(rows[rows["test_set"] == "Brats21"]["metric"])
    assert found >= {"dice_fpr5", "pooled_best_dice", "detection_auroc", "slice_auroc", "hd95"}
    assert found >= {"l1_healthy", "l1_lesion", "l1_ratio"}
    assert {rate["rate"] for rate in extra["healthy_rates"]} == {0.01, 0.05, 0.1}


def test_distances_are_in_millimeters(trained):
    store, method = open_data(trained), load_baseline(trained, "ae")
    volume = next(stage_module._scored(trained, method, store["Brats21_test"]))
    assert volume.voxel_mm == trained.config.data.voxel_mm == 6.0


def test_kept_maps_are_what_the_method_makes(trained):
    evaluate_baseline(trained, "ae", show=len)
    kept = load_maps(trained, "ae", "Brats21")
    method = load_baseline(trained, "ae")
    score = method.anomaly_map(kept["image"], kept["mask"], trained.config.evaluation, 0)
    assert np.allclose(kept["score"], score, atol=2e-3) and kept["score"].max() > 0
    rebuilt = method.reconstruction(kept["image"], 0)
    assert np.allclose(kept["reconstruction"], rebuilt, atol=2e-3)
    assert kept["seg"].any() and kept["seg"].dtype == np.uint8


def test_the_kept_subject_is_the_one_that_chapter_6_shows(trained):
    evaluate_baseline(trained, "ae", show=len)
    folder = trained.path / evaluation_name("ae") / "maps"
    for test_set, (_, test) in chapter6.test_sets(trained, open_data(trained)).items():
        subject = chapter6.kept_subject(test)
        assert [f.stem for f in folder.joinpath(test_set).iterdir()] == [subject]
        seg = load_maps(trained, "ae", test_set)["seg"]
        np.testing.assert_array_equal(seg, test.volume(test.subjects.index(subject), "seg"))


def test_a_sweep_collects_the_kept_maps(trained, tmp_path):
    evaluate_baseline(trained, "ae", show=len)
    (tmp_path / "points").mkdir()
    (tmp_path / "points" / "08-ae").symlink_to(trained.path.resolve())
    record = {"notebook": "08_baselines", "stages": ["baseline-ae", evaluation_name("ae")]}
    write_pictures({"chains": [{"results": ["08-ae"]}]}, {"08-ae": record}, tmp_path)
    found = read_pictures(tmp_path / "results" / "slices.npz")
    assert set(found) == {"Brats21", "MSLUB", "DRAEM"}
    kept, picture = load_maps(trained, "ae", "MSLUB"), found["MSLUB"]
    plane = kept["score"][:, :, picture.index]
    assert picture.annotation.sum() == kept["seg"].sum(axis=(0, 1)).max() > 0
    assert np.allclose(picture.maps["AE", ""], plane, atol=0.51 * np.ptp(plane) / STEPS)
    assert set(picture.reconstructions) == {("AE", "")}


def test_training_is_reused_and_repeats(trained, open_prepared, capsys):
    first = json.loads((trained.path / "baseline-ae" / "record.json").read_text())
    assert first["metrics"]["healthy_l1"] > 0 and first["metrics"]["epochs"] == 2
    capsys.readouterr()
    assert train_baseline(open_prepared(), "ae") == first
    assert "reused" in capsys.readouterr().out


def test_another_setting_is_refused_and_an_unused_one_is_not(trained, open_prepared):
    with pytest.raises(UserError, match=r"baselines\.width = 4.*08_baselines"):
        load_baseline(open_prepared(baselines__width=8), "ae")
    unused = open_prepared(baselines__kl_weight=2.0, cddpm__width=16, draem__threshold=0.4)
    load_baseline(unused, "ae")
    assert baseline_stage(unused, "ae").complete


def test_weights_are_loaded_strictly(trained):
    method = load_baseline(trained, "ae")
    assert not method.training and not any(p.requires_grad for p in method.parameters())
    extra = {**method.state_dict(), "more": torch.zeros(1)}
    with pytest.raises(RuntimeError, match="more"):
        method.load_state_dict(extra)


def test_evaluation_needs_a_trained_method(open_prepared):
    with pytest.raises(UserError, match=r"'baseline-vae' is missing.*08_baselines"):
        evaluate_baseline(open_prepared(), "vae")


def test_a_subject_that_was_trained_on_is_refused(trained, monkeypatch):
    real = chapter6.test_sets

    def with_a_known_one(run, store):
        known = store["IXI_train_fold0"]
        return {**real(run, store), "Brats21": (known.subset(slice(0, 0)), known)}

    monkeypatch.setattr(chapter6, "test_sets", with_a_known_one)
    with pytest.raises(UserError, match="trained on"):
        evaluate_baseline(trained, "ae", show=len)


def test_a_diverged_training_names_its_own_setting(open_prepared, monkeypatch):
    method = method_class("ddpm")
    monkeypatch.setattr(
        method, "loss", lambda self, batch, draw: self.unet.head.weight.sum() * float("nan")
    )
    with pytest.raises(UserError, match=r"lower baselines\.diffusion_train\.learning_rate"):
        train_baseline(open_prepared(), "ddpm")


class Recorder:
    """A configuration that notes which settings are read."""

    def __init__(self, node: Any, read: set[str], prefix: str = "") -> None:
        self._node, self._read, self._prefix = node, read, prefix

    def __getattr__(self, name: str) -> Any:
        value, key = getattr(self._node, name), f"{self._prefix}{name}"
        if dataclasses.is_dataclass(value):
            return Recorder(value, self._read, f"{key}.")
        if name in {f.name for f in dataclasses.fields(self._node)}:
            self._read.add(key)
        return value


@pytest.mark.parametrize("name", METHODS)
def test_a_method_names_all_settings_that_it_reads(name, batch):
    config, read = load_config("smoke", SMALL | {"data.crop_mm": [384, 384, 48]}), set()
    batch = {part: F.interpolate(values, scale_factor=2) for part, values in batch.items()}
    cls = method_class(name)
    method = cls(Recorder(config, read))
    method.loss(batch, generator(1))
    declared = set(flatten(settings_of(config, cls.uses)))
    if cls.pretrained:  # of which the stage spark is made
        declared |= {key for key in read if key.startswith("encoder.")}
    assert read <= declared, f"add {sorted(read - declared)} to {cls.__name__}.uses"
    volume = batch["image"][:, 0].permute(1, 2, 0).numpy().repeat(2, axis=2)
    method.eval().anomaly_map(volume, volume > 0, config.evaluation, 0)
    declared |= set(flatten(settings_of(config, cls.test_uses)))
    assert read <= declared, f"add {sorted(read - declared)} to {cls.__name__}.test_uses"


def test_stage_names():
    assert stage_name("ae") == "baseline-ae"
    with pytest.raises(UserError, match="did you mean"):
        stage_name("aee")
