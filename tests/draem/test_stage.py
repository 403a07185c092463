"""Measured masks: numbers of hand-made masks, and the stage of a small store."""

import numpy as np
import pandas as pd
import pytest
import torch

from sadm_utils.data.store import Store
from sadm_utils.draem import stage
from sadm_utils.runs import compute_once, open_run


def test_mask_table_by_hand():
    mask = torch.zeros(3, 1, 10, 10)
    mask[0, 0, 0, 0] = mask[0, 0, 1, 1] = mask[0, 0, 5, 5] = 1  # the first two touch by a corner
    mask[1, 0, :5] = 1
    brain = torch.zeros(3, 1, 10, 10)
    brain[:, :, 1:] = 1
    rows = stage.mask_table(mask, brain)
    assert rows["area"].tolist() == [3, 50, 0]
    assert rows["components"].tolist() == [2, 1, 0]
    assert rows["outside"][:2].tolist() == pytest.approx([100 / 3, 20])
    summary = stage.summarize_masks(rows)
    assert np.isnan(rows["outside"][2])
    assert summary["outside_mean"] == pytest.approx(80 / 3, abs=1e-3)
    assert summary["empty"] == pytest.approx(100 / 3, abs=1e-3)
    assert summary["area_median"] == 3 and summary["components_mean"] == 1


@pytest.fixture
def run(tmp_path):
    """A run with a finished stage ``data`` of two healthy volumes, 8 slices of 32×32 pixels."""
    run = open_run("smoke", tmp_path)
    brain = np.zeros((2, 8, 32, 32), np.uint8)
    brain[:, :, 8:24, 8:24] = 1
    split, folder = "IXI_train_fold0", tmp_path / "data"

    def write():
        np.save(folder / f"{split}_image.npy", (0.5 * brain).astype(np.float16))
        for part, values in (("mask", brain), ("seg", 0 * brain)):
            np.save(folder / f"{split}_{part}.npy", values)
        rows = pd.DataFrame(
            {"split": split, "row": [0, 1], "subject": ["a", "b"], "label": 0, "image_sha256": "x"}
        )
        rows.to_csv(folder / "manifest.csv", index=False)
        return {"hash": "x"}

    compute_once(run.stage("data", {}, seeded=False), write)
    assert Store(folder, pd.read_csv(folder / "manifest.csv"))[split].subjects == ["a", "b"]
    return run


def test_measure_draem_once(run, monkeypatch):
    monkeypatch.setattr(stage, "DRAWS", 60)
    metrics = stage.measure_draem(run)["metrics"]
    assert set(metrics["same"]) == set(stage.RELEASED)
    assert metrics["same"]["area_mean"] == pytest.approx(stage.RELEASED["area_mean"], abs=2)
    assert metrics["run"]["outside_mean"] == 0 < metrics["anywhere"]["outside_mean"]
    assert metrics["run"]["area_max"] <= 25
    monkeypatch.setattr(stage, "mask_table", None)  # a second call must not compute
    assert stage.measure_draem(run)["metrics"] == metrics


def test_synthesizer_follows_the_configuration(tmp_path):
    run = open_run("smoke", tmp_path, overrides={"draem.threshold": 0.25})
    assert stage.build_synthesizer(run).threshold == (0.25, 0.25)
    assert stage.build_synthesizer(run, threshold=(0.2, 0.6)).threshold == (0.2, 0.6)
