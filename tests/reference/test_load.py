"""Strict loading of the released weights, and equality of what comes out."""

import numpy as np
import pytest
import torch

from sadm_utils.errors import UserError
from sadm_utils.reference import load_reference
from sadm_utils.reference.load import expected_shapes, find_kind, find_size
from tests.golden.compare import relative_error
from tests.reference.weights import GOLDEN, golden_state, inventory, parameter_order

SIZES = ("small", "paper")
COUNTS = {
    ("unet", "paper"): 44_068_481, ("unet", "small"): 2_765_729,
    ("encoder", "paper"): 24_550_848, ("encoder", "small"): 11_235_904,
    ("spark", "paper"): 37_964_305, ("spark", "small"): 22_252_625,
    ("segunet", "paper"): 16_736_705, ("segunet", "small"): 16_736_705,
    ("cddpm", "paper"): 68_619_329, ("cddpm", "small"): 14_001_633,
    ("sadm", "paper"): 85_356_034, ("sadm", "small"): 30_738_338,
}  # fmt: skip


def golden(name: str) -> dict[str, torch.Tensor]:
    file = np.load(GOLDEN / f"{name}.npz")
    return {k: torch.from_numpy(v) for k, v in file.items() if v.dtype.kind in "fiub"}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["unet", "encoder", "spark", "segunet", "cddpm", "sadm"])
def test_names_shapes_and_parameter_counts_are_the_inventory(kind, size):
    shapes = inventory(kind, size)
    assert expected_shapes(kind, size) == shapes
    empty = {key: torch.zeros(shape) for key, shape in shapes.items()}
    model = load_reference(kind, empty, size)
    assert sum(p.numel() for p in model.parameters()) == COUNTS[kind, size]
    assert not model.training and not any(t.is_meta for t in model.state_dict().values())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["cddpm", "sadm"])
def test_what_we_train_is_what_they_train(kind, size):
    """Counted by the released code's list of parameters, which leaves out its buffers."""
    shapes = inventory(kind, size)
    count = sum(int(np.prod(shapes[name])) for name in parameter_order(kind, size))
    assert count == COUNTS[kind, size]


@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "file", "inputs", "outputs"),
    [
        ("unet", "unet_small", ("x", "t", "cond"), ("y",)),
        ("encoder", "encoder_small", ("x",), ("y_eval",)),
        ("spark", "spark_small", ("x", "active"), ("loss_eval", "rec_eval")),
        ("segunet", "segunet_small", ("reco", "input"), ("logits",)),
    ],
)
def test_loaded_networks_compute_the_golden_outputs(kind, file, inputs, outputs, golden_error):
    net, g = load_reference(kind, golden_state(kind), "small"), golden(file)
    results = net(*(g[name] for name in inputs))
    for ours, name in zip(results if len(outputs) > 1 else [results], outputs, strict=True):
        golden_error(f"{file}.npz", relative_error(ours, g[name]))


@torch.no_grad()
def test_whole_modules_reconstruct_and_score(golden_error):
    sadm, g = load_reference("sadm", golden_state("sadm"), "small"), golden("diffusion_small")
    cddpm = load_reference("cddpm", golden_state("cddpm"), "small")
    for t in (249, 499, 749):
        for model in (cddpm, sadm):
            reconstruction = model.reconstruct(g["img"], t, g["noise"])
            golden_error("diffusion_small.npz", relative_error(reconstruction, g[f"reco_t{t}"]))
    each = cddpm.reconstruct(g["img"], g["tvec"], g["noise"])
    golden_error("diffusion_small.npz", relative_error(each, g["reco_tvec"]))
    g = golden("segunet_small")
    score = sadm.score(g["input"], g["reco"])
    golden_error("segunet_small.npz", relative_error(score, g["sigmoid"]))


def test_the_weights_are_a_copy():
    state = golden_state("segunet")
    net = load_reference("segunet", state, "small")
    state["last.weight"].zero_()
    assert net.head.weight.abs().sum() > 0


def test_every_missing_and_unexpected_key_is_named():
    state = golden_state("unet")
    del state["out.0.bias"], state["time_embed.0.weight"]
    state |= {"extra.one": torch.zeros(1), "extra.two": torch.zeros(1)}
    with pytest.raises(UserError) as error:
        load_reference("unet", state, "small")
    for name in ("out.0.bias", "time_embed.0.weight", "extra.one", "extra.two"):
        assert name in str(error.value)


def test_one_key_too_many_is_refused():
    state = golden_state("cddpm") | {"encoder.encoder.fc2.weight": torch.zeros(1)}
    with pytest.raises(UserError, match="1 unexpected: encoder.encoder.fc2.weight"):
        load_reference("cddpm", state, "small")


def test_another_size_is_told():
    with pytest.raises(UserError, match="looks like size 'small'.*size='small'"):
        load_reference("unet", golden_state("unet"))
    meta = {k: torch.zeros(s, device="meta") for k, s in inventory("sadm", "paper").items()}
    with pytest.raises(UserError, match="looks like size 'paper'.*ResNet-50"):
        load_reference("sadm", meta, "small")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("kind", "prefix"), [("cddpm", ""), ("sadm", ""), ("spark", "model.")])
def test_kind_and_size_are_found(kind, prefix, size):
    shapes = inventory(kind, size)
    meta = {key: torch.zeros(shape, device="meta") for key, shape in shapes.items()}
    assert find_size(kind, meta) == size
    assert find_kind({prefix + key: tensor for key, tensor in meta.items()}) == kind


def test_a_foreign_state_dict_is_told():
    with pytest.raises(UserError, match="not one of the released code's.*layer.weight"):
        find_kind({"layer.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    ("kind", "state", "size", "words"),
    [
        ("net", {"a": torch.zeros(1)}, "paper", "unet, encoder, spark, segunet, cddpm, sadm"),
        ("unet", {"a": torch.zeros(1)}, "large", "paper, small"),
        ("unet", {}, "paper", "not empty"),
        ("unet", {"a": 1}, "paper", "no tensor"),
    ],
)
def test_misuse_is_refused(kind, state, size, words):
    with pytest.raises(UserError, match=words):
        load_reference(kind, state, size)
