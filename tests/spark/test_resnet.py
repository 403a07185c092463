"""The ResNet against the released code's outputs, and its sizes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sadm_utils.spark.resnet import ResNet, drop_path
from tests.golden.compare import relative_error
from tests.golden.filled import filled

FILE = "encoder_small.npz"
GOLDEN = np.load(Path(__file__).parents[1] / "golden" / FILE)


@pytest.fixture
def encoder() -> ResNet:
    return filled(ResNet(depth=18, num_features=128))


def test_eval_mode_equals_reference(encoder, golden_error):
    with torch.no_grad():
        y = encoder.eval()(torch.from_numpy(GOLDEN["x"]))
    golden_error(FILE, relative_error(y, GOLDEN["y_eval"]))


def test_train_mode_and_running_statistics_equal_reference(encoder, golden_error):
    with torch.no_grad():
        y = encoder.train()(torch.from_numpy(GOLDEN["x_train"]))
    for ours, name in (
        (y, "y_train_nodroppath"),
        (encoder.bn1.running_mean, "bn1_running_mean_after"),
        (encoder.bn1.running_var, "bn1_running_var_after"),
    ):
        golden_error(FILE, relative_error(ours, GOLDEN[name]))


@pytest.mark.parametrize(
    ("depth", "num_features", "count"),
    [(50, 512, 24_550_848), (50, None, 23_501_760), (18, 128, 11_235_904), (18, None, 11_170_240)],
)
def test_parameter_count(depth, num_features, count):
    with torch.device("meta"):
        encoder = ResNet(depth=depth, num_features=num_features)
    assert sum(p.numel() for p in encoder.parameters()) == count


@pytest.mark.parametrize("size", [64, 96])
def test_feature_maps(size):
    encoder = ResNet(depth=18, width=8).eval()
    maps = encoder.features(torch.rand(2, 1, size, size))
    assert [m.shape[1] for m in maps] == list(encoder.channels) == [8, 16, 32, 64]
    assert [m.shape[2] for m in maps] == [size // 4, size // 8, size // 16, size // 32]
    assert encoder(torch.rand(2, 1, size, size)).shape == (2, 64)


def test_unknown_depth_is_refused():
    with pytest.raises(ValueError, match="18, 50"):
        ResNet(depth=34)


def test_drop_path_keeps_the_mean_and_does_nothing_in_eval():
    torch.manual_seed(0)
    ones = torch.ones(4000, 1, 1, 1)
    dropped = drop_path(ones, 0.25, training=True)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)
    assert drop_path(ones, 0.25, training=False) is ones


def test_drop_path_grows_linearly():
    encoder = ResNet(depth=18, width=8, drop_path=0.07)
    rates = [b.rate for b in [*encoder.layer1, *encoder.layer2, *encoder.layer3, *encoder.layer4]]
    assert rates == pytest.approx(np.linspace(0, 0.07, 8))
