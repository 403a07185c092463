"""Training slices are a pure function of (seed, epoch, index)."""

import numpy as np
import pandas as pd
import pytest
import torch

from sadm_utils.data.augment import Augmenter
from sadm_utils.data.slices import SliceDataset
from sadm_utils.data.volumes import Volumes
from sadm_utils.errors import UserError


def volumes(count: int = 3, depth: int = 9) -> Volumes:
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 1, (count, depth, 12, 10)).astype(np.float16)
    mask = np.zeros(image.shape, np.uint8)
    mask[:, 2:6, 2:10, 2:8] = 1
    seg = np.zeros_like(mask)
    seg[:, 4, 5:7, 4:6] = 1
    names = [f"p{i}" for i in range(count)]
    return Volumes(image * mask, mask, seg, names, np.ones(count, int), pd.DataFrame())


def test_item():
    data = volumes()
    item = SliceDataset(data, seed=0)[1]
    assert item["volume"] == 1
    for part in ("image", "mask", "seg"):
        assert item[part].shape == (1, 12, 10) and item[part].dtype == torch.float32
        expected = getattr(data, part)[1, item["slice"]].astype(np.float32)
        np.testing.assert_array_equal(item[part][0].numpy(), expected)


def test_only_slices_with_enough_brain_are_drawn():
    dataset = SliceDataset(volumes(), seed=0, slices_per_volume=40, min_brain=0.2)
    assert {dataset[i]["slice"] for i in range(len(dataset))} == {2, 3, 4, 5}
    everything = SliceDataset(volumes(), seed=0, slices_per_volume=60, min_brain=0)
    assert {everything[i]["slice"] for i in range(len(everything))} == set(range(9))


def test_items_depend_on_seed_epoch_and_index_alone():
    def sight(dataset: SliceDataset, order) -> dict:
        return {i: dataset[i]["image"].numpy().tobytes() for i in order}

    options = {"slices_per_volume": 6, "augment": Augmenter(1, 1, 1, 1)}
    one, two = (SliceDataset(volumes(), seed=5, **options) for _ in range(2))
    forward, backward = sight(one, range(18)), sight(two, reversed(range(18)))
    assert forward == backward
    assert len(set(forward.values())) == 18
    two.set_epoch(1)
    later = sight(two, range(18))
    assert all(later[i] != forward[i] for i in range(18))
    assert later == sight(SliceDataset(volumes(), seed=5, epoch=1, **options), range(18))
    assert sight(SliceDataset(volumes(), seed=6, **options), range(18)) != forward


def test_every_volume_is_seen_equally_often():
    dataset = SliceDataset(volumes(), seed=0, slices_per_volume=4)
    assert len(dataset) == 12
    assert np.bincount([dataset[i]["volume"] for i in range(12)]).tolist() == [4, 4, 4]
    with pytest.raises(IndexError):
        dataset[12]


def test_batches_through_a_loader():
    loader = torch.utils.data.DataLoader(SliceDataset(volumes(), seed=0), batch_size=3)
    batch = next(iter(loader))
    assert batch["image"].shape == (3, 1, 12, 10) and batch["volume"].tolist() == [0, 1, 2]


def test_volume_without_brain_is_refused():
    data = volumes()
    data.mask[1] = 0
    with pytest.raises(UserError, match="p1"):
        SliceDataset(data, seed=0)
