"""Chapter 5's slices, their cached reconstructions, and the map of the finished network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sadm_utils import device
from sadm_utils.cddpm.training import load_cddpm
from sadm_utils.data.stage import healthy, open_data, training_slices
from sadm_utils.errors import UserError
from sadm_utils.runs import Run
from sadm_utils.sadm.training import (
    LEVEL_SALT,
    AnnotatedSlices,
    load_network,
    stage_name,
    supervised_map,
    train_sadm,
    training_volumes,
)
from tests.conftest import OpenTiny


@pytest.fixture
def run(open_tiny: OpenTiny, finished_dir: Path) -> Run:
    """The finished run, to read from."""
    return open_tiny(finished_dir)


def tensors(dataset: Any) -> dict[str, torch.Tensor]:
    return dataset.datasets


@pytest.fixture
def slices(run: Run) -> AnnotatedSlices:
    return AnnotatedSlices(run, open_data(run), load_cddpm(run), "draem")


def test_cached_slices_equal_a_recomputation(run: Run, slices: AnnotatedSlices) -> None:
    first, second = slices(0), slices(1)
    assert slices(2) is first and slices(3) is second, "distinct_epochs is 2"
    fresh = AnnotatedSlices(run, open_data(run), load_cddpm(run), "draem")
    for name, value in tensors(fresh(1)).items():
        assert torch.equal(value, tensors(second)[name]), name
        assert not torch.equal(value, tensors(first)[name]), name


def test_cached_reconstructions_are_the_models_own(run: Run, slices: AnnotatedSlices) -> None:
    items = tensors(slices(1))
    draw, model = device.generator(run.seed, LEVEL_SALT, 1), slices.model
    levels = torch.tensor([300, 600])
    steps = levels[torch.randint(2, (len(items["image"]),), generator=draw)] - 1
    assert steps.unique().tolist() == [299, 599]
    with device.autocast():
        expected = model.reconstruct_at(items["image"], steps, draw).float()
    torch.testing.assert_close(items["reconstruction"], expected)


def test_without_a_return_only_one_epoch_is_held(open_tiny: OpenTiny, finished_dir: Path) -> None:
    run = open_tiny(finished_dir, sadm__distinct_epochs=9)
    slices = AnnotatedSlices(run, open_data(run), load_cddpm(run), "brats21")
    slices(0), slices(1)
    assert list(slices.cache) == [1]


def test_synthetic_slices_hold_their_anomaly(run: Run, slices: AnnotatedSlices) -> None:
    items = tensors(slices(0))
    clean = training_slices(run, healthy(run, open_data(run), "train"), run.config.sadm.train)(0)
    image = torch.stack([clean[i]["image"] for i in range(len(clean))])
    changed = (items["image"] != image).float()
    assert set(items["anomaly"].unique().tolist()) == {0.0, 1.0}
    assert (changed <= items["anomaly"]).all() and changed.sum() > 0
    assert items["image"].min() >= 0 and items["image"].max() <= 1
    assert len(clean) == 6 == len(items["image"])


def test_annotated_slices_come_from_behind_the_holdout(run: Run) -> None:
    store = open_data(run)
    volumes = training_volumes(run, store, "brats21")
    assert volumes.subjects == store["Brats21_val"].subjects[2:]
    slices = AnnotatedSlices(run, store, load_cddpm(run), "brats21")
    seen = {slices.slices(epoch)[i]["volume"] for epoch in range(3) for i in range(4)}
    assert slices.slices(0).volumes.subjects == volumes.subjects and seen == {0, 1}
    assert training_volumes(run, store, "draem").subjects == store["IXI_train_fold0"].subjects


def test_fewer_annotated_subjects_give_an_epoch_of_the_same_length(
    run: Run, open_tiny: OpenTiny
) -> None:
    store, model = open_data(run), load_cddpm(run)
    every = AnnotatedSlices(run, store, model, "brats21")
    first = AnnotatedSlices(
        open_tiny(run.path, sadm__annotated_subjects=1), store, model, "brats21"
    )
    assert first.slices(0).volumes.subjects == every.slices(0).volumes.subjects[:1]
    assert len(first.slices(0)) == len(every.slices(0)) == 4
    greedy = open_tiny(run.path, sadm__annotated_subjects=3)
    with pytest.raises(UserError, match="annotated_subjects is 3, but only 2 .* lower it"):
        AnnotatedSlices(greedy, store, model, "brats21")


def test_sources_that_the_data_lacks_are_refused(run: Run, open_tiny: OpenTiny) -> None:
    store = open_data(run)
    with pytest.raises(UserError, match="'atlas_v2' needs the split ATLAS_val.*choose draem"):
        training_volumes(run, store, "atlas_v2")
    greedy = open_tiny(run.path, data__holdout=4)
    with pytest.raises(UserError, match="Brats21_val has 4 subjects and data.holdout keeps 4"):
        training_volumes(greedy, store, "brats21")
    for use in (lambda: train_sadm(run, "brats"), lambda: training_volumes(run, store, "brats")):
        with pytest.raises(UserError, match="ANNOTATIONS is 'brats': choose one of draem, brats"):
            use()
    with pytest.raises(UserError, match="inputs are 'both': choose one of input, residual"):
        stage_name("draem", "both")


def test_sure_voxels_keep_their_order_in_half_precision() -> None:
    class Sure(torch.nn.Module):
        """A network that is ever surer, in bfloat16."""

        residual = False

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, residual: torch.Tensor, image: torch.Tensor, known: None) -> torch.Tensor:
            return (5 + 5 * image).bfloat16()

    image = torch.linspace(0, 1, 9).view(1, 1, 3, 3)
    found = supervised_map(Sure(), image, image[None])
    assert found.dtype == torch.float32 and (found.flatten().diff() > 0).all() and found.max() < 1


def test_supervised_map_is_the_mean_over_the_levels(run: Run) -> None:
    image, each = torch.rand(5, 1, 64, 64), torch.rand(2, 5, 1, 64, 64)
    network = load_network(run, "draem", "residual")
    with torch.no_grad(), device.autocast():
        maps = [network(r, image).sigmoid().float() for r in each]
    found = supervised_map(network, image, each, batch_size=2)
    torch.testing.assert_close(found, (maps[0] + maps[1]) / 2, atol=1e-2, rtol=0)
    assert not torch.allclose(maps[0], maps[1])
    alone = load_network(run, "draem", "input")
    assert torch.equal(supervised_map(alone, image, each), supervised_map(alone, image, each * 0))
