"""The stages of all chapters on a tiny data set: what they promise to each other."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sadm_utils import device
from sadm_utils.cddpm.training import (
    CddpmTraining,
    healthy_error,
    load_cddpm,
    reconstruct_slices,
    start_model,
    train_cddpm,
)
from sadm_utils.data.stage import data_stage, healthy, open_data, prepare_data, training_slices
from sadm_utils.errors import UserError
from sadm_utils.runs import Run
from sadm_utils.sadm import training as sadm_training
from sadm_utils.sadm.training import (
    SadmTraining,
    load_network,
    stage_name,
    train_sadm,
)
from sadm_utils.spark.training import SparkTraining, load_spark, train_spark
from sadm_utils.training import SCHEDULE_SALT
from tests.conftest import COUNTS, OpenTiny


def record(run: Run, stage: str) -> dict[str, Any]:
    return json.loads((run.path / stage / "record.json").read_text())


@pytest.fixture
def run(open_tiny: OpenTiny, finished_dir: Path) -> Run:
    """The finished run, to read from."""
    return open_tiny(finished_dir)


def test_every_stage_is_recorded_and_nothing_else_is_left(run: Run) -> None:
    assert record(run, "data")["metrics"]["subjects"] == COUNTS
    epochs = {"spark": 2, "cddpm": 2, "sadm-draem-input": 3, "sadm-brats21-residual": 3}
    for name, count in epochs.items():
        metrics = record(run, name)["metrics"]
        assert metrics["epochs"] == count and all(np.isfinite(v) for v in metrics.values())
        history = (run.path / name / "history.csv").read_text().splitlines()
        assert len(history) == count + 1 and history[0].startswith("epoch,step,loss")
    left = {p.name for p in run.path.rglob("*") if p.suffix in (".tmp", ".ckpt", ".pt", ".pkl")}
    assert not left and not list(run.path.rglob("progress.json"))
    assert record(run, "sadm-draem-input")["parents"].keys() == {"data", "cddpm"}
    assert record(run, "cddpm")["parents"].keys() == {"data", "spark"}


def test_everything_is_reused(run: Run, capsys: pytest.CaptureFixture) -> None:
    before = {p: p.read_text() for p in run.path.glob("*/record.json")}
    prepare_data(run), train_spark(run), train_cddpm(run), train_sadm(run, "draem")
    assert capsys.readouterr().out.count("reused") == 5
    assert {p: p.read_text() for p in run.path.glob("*/record.json")} == before


def test_loaded_models_are_frozen_and_complete(run: Run) -> None:
    model = load_cddpm(run)
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert not load_spark(run).training
    for inputs, residual in (("input", False), ("residual", True)):
        network = load_network(run, "draem", inputs)
        assert network.residual is residual and not network.training
        assert not any(p.requires_grad for p in network.parameters())


def test_encoder_starts_from_spark_only_if_asked(open_tiny: OpenTiny, chain_dir: Path) -> None:
    encoder = load_spark(open_tiny(chain_dir)).encoder.state_dict()
    warm = start_model(open_tiny(chain_dir)).encoder.state_dict()
    cold = start_model(open_tiny(chain_dir, cddpm__pretrained=False)).encoder.state_dict()
    name = "layer2.0.conv1.weight"
    assert torch.equal(warm[name], encoder[name]) and not torch.equal(cold[name], encoder[name])
    assert torch.equal(warm["fc.weight"], cold["fc.weight"])


def test_first_weights_depend_on_the_seed_alone(open_tiny: OpenTiny, chain_dir: Path) -> None:
    states = []
    for disturbed in (False, True):
        run = open_tiny(chain_dir)
        torch.rand(17 if disturbed else 1)  # cells of a notebook draw too
        states.append(start_model(run).state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*map(dict.values, states), strict=True))


def test_training_again_gives_the_same_weights(open_tiny: OpenTiny, chain_dir: Path) -> None:
    """Also for one of two networks alone: what was reused beside it does not matter."""
    run = open_tiny(chain_dir)
    names = ("spark", "sadm-draem-residual")
    before = [record(run, name)["weights_sha256"] for name in names]
    for name in names:
        shutil.rmtree(run.path / name)
    torch.rand(5)
    train_spark(run), train_sadm(run, "draem")
    assert [record(run, name)["weights_sha256"] for name in names] == before


def test_training_with_another_seed_gives_others(open_tiny: OpenTiny, chain_dir: Path) -> None:
    run = open_tiny(chain_dir, seed=1)
    before = record(run, "spark")["weights_sha256"]
    assert train_spark(run)["weights_sha256"] != before
    assert (run.path / "spark.old1" / "record.json").exists()


def test_diffusion_model_does_not_move_in_chapter_5(
    open_tiny: OpenTiny, chain_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_tiny(chain_dir)
    model = load_cddpm(run)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    used: list[bool] = []
    rebuild = model.reconstruct_at

    def watched(*arguments: Any, **named: Any) -> torch.Tensor:
        used.append(any(module.training for module in model.modules()))
        return rebuild(*arguments, **named)

    monkeypatch.setattr(model, "reconstruct_at", watched)
    monkeypatch.setattr(sadm_training, "load_cddpm", lambda run: model)
    for inputs in ("input", "residual"):
        shutil.rmtree(run.path / stage_name("brats21", inputs))
    train_sadm(run, "brats21")
    assert used and not any(used), "the model ran in training mode: batch norm and drop path"
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in model.parameters())


def test_training_slices_stay_images_however_much_they_are_changed(
    run: Run, open_tiny: OpenTiny
) -> None:
    chances = {f"data__augment__{n}": 1.0 for n in ("gamma", "bias_field", "blur", "ghosting")}
    none = {name: 0.0 for name in chances}
    volumes, train = healthy(run, open_data(run), "train"), run.config.sadm.train
    plain, changed = (
        training_slices(open_tiny(run.path, **options), volumes, train)(1)
        for options in (none, chances)
    )
    for index in range(len(plain)):
        before, after = plain[index], changed[index]
        assert before["slice"] == after["slice"]
        assert not torch.equal(before["image"], after["image"])
        assert after["image"].min() >= 0 and after["image"].max() <= 1
        assert torch.equal(before["seg"], after["seg"])


class Steps:
    """Mixed into a module: its step can be set, and nothing is logged."""

    global_step = 0

    def log(self, *_: Any, **__: Any) -> None:
        pass


def losses(module: Any, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Losses of the steps 0, 1 and 1 again, in eval mode so that batch norm does not matter."""
    module.eval()
    found = []
    for step in (0, 1, 1):
        type(module).global_step = step
        found.append(module.training_step(batch, 0).detach())
    return found


def test_step_of_chapter_3(run: Run) -> None:
    class Module(Steps, SparkTraining): ...

    batch, model = {"image": torch.rand(3, 1, 64, 64)}, load_spark(run)
    first, second, again = losses(Module(model, run.config.spark.train, 5), batch)
    draws = [device.generator(5, SCHEDULE_SALT, step) for step in (0, 1)]
    expected = [model(batch["image"], generator=draw)[0] for draw in draws]
    torch.testing.assert_close([first, second], expected)
    assert first != second and second == again


def test_step_of_chapter_4(run: Run) -> None:
    class Module(Steps, CddpmTraining): ...

    batch, model = {"image": torch.rand(3, 1, 64, 64)}, load_cddpm(run)
    first, second, again = losses(Module(model, run.config.cddpm.train, 5), batch)
    draws = [device.generator(5, SCHEDULE_SALT, step) for step in (0, 1)]
    expected = [model.loss(batch["image"], draw) for draw in draws]
    torch.testing.assert_close([first, second], expected)
    assert first != second and second == again


def test_step_of_chapter_5(run: Run) -> None:
    class Module(Steps, SadmTraining): ...

    network = load_network(run, "draem", "residual")
    image, reconstruction = torch.rand(2, 3, 1, 64, 64)
    anomaly = (torch.rand(3, 1, 64, 64) > 0.8).float()
    batch = {"image": image, "reconstruction": reconstruction, "anomaly": anomaly}
    found = losses(Module(network, run.config.sadm.train, 5), batch)[0]
    y = network(reconstruction, image).sigmoid().double()
    expected = -(anomaly * y.log() + (1 - anomaly) * (1 - y).log()).mean()
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


def test_levels_of_the_test_concern_chapter_5_and_not_the_diffusion_model(
    run: Run, open_tiny: OpenTiny
) -> None:
    other = open_tiny(run.path, cddpm__levels=[500])
    assert load_cddpm(other).levels == (500,)
    with pytest.raises(UserError, match="'sadm-draem-input' .* cddpm.levels = .*05_sadm"):
        load_network(other, "draem", "input")


def test_healthy_error_is_measured_inside_the_brain(run: Run) -> None:
    volumes = healthy(run, open_data(run), "val")
    model = SimpleNamespace(training=False, eval=lambda: model, train=lambda mode: None)
    weights = [torch.zeros(1)]
    model.parameters = lambda: iter(weights)
    model.reconstruct = lambda image, draw: torch.stack([image + 0.1, image + 0.3])
    assert healthy_error(volumes, run)(model) == pytest.approx(0.2, abs=2e-3)
    outside = torch.from_numpy(volumes.mask[0] == 0).float()
    assert outside.sum() > 0
    model.reconstruct = lambda image, draw: torch.where(image > 0, image, 9.0)[None]
    assert healthy_error(volumes, run)(model) < 1


def test_noise_differs_between_batches_and_not_between_calls(run: Run) -> None:
    model, image = load_cddpm(run), torch.rand(1, 1, 64, 64).expand(4, 1, 64, 64)
    one, two = (reconstruct_slices(model, image, seed=3, batch_size=2) for _ in range(2))
    assert one.shape == (2, 4, 1, 64, 64) and torch.equal(one, two)
    each = [one[0, k] for k in range(4)]
    assert not any(torch.allclose(each[0], other, atol=1e-4) for other in each[1:])
    assert not torch.equal(one, reconstruct_slices(model, image, seed=4, batch_size=2))


def test_recorded_error_is_that_of_the_kept_weights(run: Run) -> None:
    measure = healthy_error(healthy(run, open_data(run), "val"), run)
    kept = record(run, "cddpm")["metrics"]["healthy_l1"]
    assert measure(load_cddpm(run)) == pytest.approx(kept, rel=1e-4)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"cddpm__train__epochs": 3}, "cddpm.train.epochs = 2, but this run has 3.*04_cddpm"),
        ({"encoder__width": 8}, "'(spark|cddpm)' .*encoder.width = 4, but this run has 8"),
        ({"data__curvature_steps": 1}, "'data' .*curvature_steps = 0, .* 1: rerun .*01_data"),
        ({"seed": 1}, "'(spark|cddpm)' .*seed = 0, but this run has 1"),
    ],
)
def test_chapter_5_refuses_what_was_made_otherwise(
    run: Run, open_tiny: OpenTiny, overrides: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        train_sadm(open_tiny(run.path, **overrides), "draem")


def test_chapter_5_refuses_other_data(
    open_tiny: OpenTiny, run: Run, tiny_data: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(tiny_data, tmp_path / "other")
    moved = Run(run.path, run.config, other, run.seed)
    with pytest.raises(UserError, match="'data' .*DATA_DIR = .*01_data_preparation"):
        train_sadm(moved, "draem")


def test_a_new_diffusion_model_makes_its_children_stale(
    open_tiny: OpenTiny, chain_dir: Path
) -> None:
    fast = open_tiny(chain_dir, cddpm__train__epochs=1)
    train_cddpm(fast)
    with pytest.raises(UserError, match="'sadm-draem-input' .*another 'cddpm'.*05_sadm"):
        load_network(fast, "draem", "input")
    assert record(fast, "cddpm")["metrics"]["epochs"] == 1


def test_changed_scan_makes_the_data_stage_stale(
    open_tiny: OpenTiny, tiny_data: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_data, tmp_path / "data")
    run = Run(tmp_path, open_tiny().config, folder, 0)
    before = data_stage(run, folder).key
    assert data_stage(run, folder).key == before
    scan = next(folder.glob("Test/MSLUB/t1/*.nii.gz"))
    os.utime(scan, (1, 1))
    touched = data_stage(run, folder).key
    assert touched != before
    lists = folder / "splits" / "MSLUB_test.csv"
    lists.write_text(lists.read_text().replace(",50,", ",51,"))
    assert data_stage(run, folder).key not in (before, touched)


def test_phantoms_count_by_their_recipe_and_not_by_their_age(
    open_tiny: OpenTiny, tiny_data: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_data, tmp_path / "phantom")
    run = Run(tmp_path, open_tiny().config, None, 0)
    (folder / "phantom.json").write_text('{"simulation": "1"}')
    before = data_stage(run, folder).key
    os.utime(next(folder.glob("Test/MSLUB/t1/*.nii.gz")), (1, 1))
    assert data_stage(run, folder).key == before
    (folder / "phantom.json").write_text('{"simulation": "2"}')
    assert data_stage(run, folder).key != before


def test_sets_without_a_validation_list_are_taken(run: Run) -> None:
    assert list(open_data(run).splits) == list(COUNTS)
