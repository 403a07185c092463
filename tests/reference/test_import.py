"""A released checkpoint becomes a stage that chapters 5 and 6 accept."""

import json

import numpy as np
import pytest
import torch

from sadm_utils.cddpm.training import load_cddpm
from sadm_utils.cli import main
from sadm_utils.errors import UserError
from sadm_utils.evaluation.stage import evaluation_stage, finished_networks
from sadm_utils.reference import load_reference
from sadm_utils.reference.stage import import_reference
from sadm_utils.runs import open_run
from sadm_utils.sadm.training import load_network, sadm_stage
from sadm_utils.spark.training import load_spark
from tests.reference.weights import golden_state

#: What a run needs to use weights of the small size; those of the paper's need nothing.
SMALL = {"cddpm.width": 32, "encoder.depth": 18, "data.crop_mm": [128, 128, 100]}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    for kind in ("cddpm", "sadm", "spark"):
        state = golden_state(kind)
        if kind == "spark":
            state = {f"model.{key}": tensor for key, tensor in state.items()}
        torch.save({"state_dict": state, "epoch": 3}, folder / f"{kind}.ckpt")
    return folder


@pytest.fixture
def run(tmp_path):
    """A run whose data are finished, at the released code's small size."""
    run = open_run("paper", tmp_path / "run", overrides=SMALL)
    stage = run.stage("data", {}, seeded=False)
    stage.begin()
    stage.finish({})
    return run


def test_chapter_5_trains_on_imported_weights(run, checkpoints, capsys):
    main_without_exit(["import-reference", str(checkpoints / "cddpm.ckpt"), "--out",
                       str(run.path / "cddpm")])  # fmt: skip
    assert "cddpm of size small, 14,001,633 parameters" in capsys.readouterr().out
    ours = load_cddpm(run)
    theirs = load_reference("cddpm", golden_state("cddpm"), "small")
    assert all(torch.equal(v.cpu(), ours.state_dict()[k].cpu())
               for k, v in theirs.state_dict().items())  # fmt: skip
    stage = sadm_stage(run, "draem", "residual")  # the stage that notebook 05 begins
    assert stage.parents["cddpm"] == run.require("cddpm")["identity"]
    imported = run.require("cddpm")["imported"]
    assert imported["file"] == "cddpm.ckpt" and len(imported["sha256"]) == 64


def test_chapter_6_evaluates_an_imported_sadm(run, checkpoints):
    import_reference(checkpoints / "sadm.ckpt", run.path / "sadm-brats21-residual")
    assert finished_networks(run) == [("brats21", "residual")]
    assert set(evaluation_stage(run).parents) == {"data", "cddpm", "sadm-brats21-residual"}
    network = load_network(run, "brats21", "residual").cpu()
    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = load_reference("sadm", golden_state("sadm"), "small").score(image, 0.9 * image)
        assert torch.allclose(network(0.9 * image, image).sigmoid(), theirs, atol=1e-6)
    import_reference(checkpoints / "sadm.ckpt", run.path / "sadm-draem-residual")  # shares cddpm


def test_chapter_4_starts_from_an_imported_spark(run, checkpoints):
    import_reference(checkpoints / "spark.ckpt", run.path / "spark")
    theirs = golden_state("spark")["sparse_encoder.sp_cnn.conv1.weight"]
    assert torch.equal(load_spark(run).encoder.conv1.weight.cpu(), theirs)


def test_a_run_of_another_size_names_the_setting(run, checkpoints):
    import_reference(checkpoints / "cddpm.ckpt", run.path / "cddpm")
    with pytest.raises(UserError, match="encoder.depth = 18, but this run has 50"):
        load_cddpm(open_run("paper", run.path, overrides={"cddpm.width": 32}))


def test_another_diffusion_model_in_the_run_is_refused(run, checkpoints, tmp_path):
    import_reference(checkpoints / "cddpm.ckpt", run.path / "cddpm")
    state = golden_state("sadm")
    state["encoder.encoder.bn1.running_mean"] += 0.1
    torch.save({"state_dict": state}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="another diffusion model"):
        import_reference(tmp_path / "other.ckpt", run.path / "sadm-draem-residual")
    assert not (run.path / "sadm-draem-residual").exists()


def test_another_schedule_is_refused(tmp_path):
    state = golden_state("cddpm")
    state["diffusion.sqrt_alphas_cumprod"] = torch.from_numpy(np.linspace(1, 0, 1000)).float()
    torch.save({"state_dict": state}, tmp_path / "model.ckpt")
    with pytest.raises(UserError, match="another noise schedule"):
        import_reference(tmp_path / "model.ckpt", tmp_path / "cddpm")


def test_folders_that_do_not_fit_are_refused(checkpoints, tmp_path):
    with pytest.raises(UserError, match="must be a folder cddpm"):
        import_reference(checkpoints / "cddpm.ckpt", tmp_path / "model")
    with pytest.raises(UserError, match="sadm-draem-residual or sadm-brats21-residual"):
        import_reference(checkpoints / "sadm.ckpt", tmp_path / "cddpm")
    (tmp_path / "cddpm").mkdir()
    (tmp_path / "cddpm" / "weights.safetensors").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        import_reference(checkpoints / "cddpm.ckpt", tmp_path / "cddpm")
    assert (tmp_path / "cddpm" / "weights.safetensors").read_text() == "mine"


def test_one_key_too_many_leaves_nothing_behind(tmp_path):
    state = golden_state("cddpm") | {"extra": torch.zeros(1)}
    torch.save({"state_dict": state}, tmp_path / "model.ckpt")
    with pytest.raises(UserError, match="1 unexpected: extra"):
        import_reference(tmp_path / "model.ckpt", tmp_path / "run" / "cddpm")
    assert not (tmp_path / "run").exists()


def test_the_record_tells_where_the_weights_came_from(checkpoints, tmp_path):
    import_reference(checkpoints / "cddpm.ckpt", tmp_path / "cddpm")
    record = json.loads((tmp_path / "cddpm" / "record.json").read_text())
    assert record["imported"]["kind"] == "cddpm" and record["imported"]["size"] == "small"
    assert record["parents"] == {} and record["profile"] == "paper"


def main_without_exit(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert not end.value.code
