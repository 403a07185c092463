"""SparK against the released code's outputs, and the promise that hidden pixels stay hidden."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sadm_utils.errors import UserError
from sadm_utils.reference.names import reference_names
from sadm_utils.spark.model import SparK, encoder_state, fill_patches, load_pretrained, random_mask
from sadm_utils.spark.resnet import ResNet
from sadm_utils.spark.sparse import Visible
from tests.golden.compare import gradient_norms, norm_error, relative_error
from tests.golden.filled import filled

FILE = "spark_small.npz"
GOLDEN = np.load(Path(__file__).parents[1] / "golden" / FILE)

@pytest.fixture
def golden_model() -> SparK:
    return filled(SparK(depth=18))


def golden_inputs() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(GOLDEN["x"]), torch.from_numpy(GOLDEN["active"])


def test_eval_mode_equals_reference(golden_model, golden_error):
    image, active = golden_inputs()
    visible = Visible(active)
    shown = visible.at(*image.shape[-2:])
    golden_error(FILE, relative_error(shown, GOLDEN["active_ex"]), "exact")
    with torch.no_grad():
        loss, reconstruction = golden_model.eval()(image, active)
        maps = golden_model.encoder.features(visible.keep(image), visible)
    golden_error(FILE, relative_error(loss, GOLDEN["loss_eval"]))
    golden_error(FILE, relative_error(reconstruction, GOLDEN["rec_eval"]))
    for i, features in enumerate(reversed(maps)):
        assert list(features.shape) == GOLDEN[f"fea{i}_shape"].tolist()
        golden_error(FILE, relative_error(features.abs().mean(), GOLDEN[f"fea{i}_mean_abs"]))


def test_training_step_equals_reference(golden_error):
    """The deepest norms see three values here, which amplifies rounding up to a percent.

    The golden numbers were rounded by a sum over two threads, ours must agree with them as closely
    for one or for two threads; how a processor sums is not ours to choose.
    """
    results = [training_step(torch.float32, threads) for threads in (1, 2)]
    forward, gradient = min(results, key=lambda errors: errors[1])
    golden_error(FILE, forward)
    golden_error(FILE, gradient, "gradient")


def test_training_step_in_double_precision():
    """Without rounding of our own: what is left is the golden file's, 0.6 % at most."""
    forward, gradient = training_step(torch.float64, 1)
    assert forward < 1e-4 and gradient < 1e-2


def training_step(dtype: torch.dtype, threads: int) -> tuple[float, float]:
    """Largest errors of outputs and running statistics, and of gradients, in train mode."""
    image, active = golden_inputs()
    model = filled(SparK(depth=18)).to(dtype).train()
    names, before = reference_names(model), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        loss, reconstruction = model(image.to(dtype), active)
        loss.backward()
    finally:
        torch.set_num_threads(before)
    outputs = {
        "loss_train_nodroppath": loss,
        "rec_train_nodroppath": reconstruction,
        "sp_bn1_running_mean_after": model.encoder.bn1.running_mean,
        "sp_bn1_running_var_after": model.encoder.bn1.running_var,
    }
    forward = max(relative_error(ours, GOLDEN[name]) for name, ours in outputs.items())
    norms = gradient_norms((names[k], p) for k, p in model.named_parameters())
    return forward, norm_error(norms, GOLDEN["grad_keys"], GOLDEN["grad_norm"])


def test_parameter_count_at_paper_size():
    with torch.device("meta"):
        model = SparK(depth=50)
    counts = {k: sum(p.numel() for p in m.parameters()) for k, m in model.named_children()}
    assert counts["encoder"] == 23_501_760
    assert counts["decoder"] == 10_304_913
    assert sum(p.numel() for p in model.parameters()) == 37_964_305


def test_hidden_pixels_never_reach_the_reconstruction():
    model = SparK(width=8, decoder_width=32)
    image = torch.rand(4, 1, 96, 96)
    active = random_mask(4, (3, 3), 0.65, torch.Generator().manual_seed(0))
    other = torch.where(Visible(active).at(96, 96), image, torch.rand_like(image))
    with torch.no_grad():
        assert torch.equal(model.reconstruct(image, active), model.reconstruct(other, active))


def test_loss_ignores_visible_pixels_and_averages_hidden_ones():
    model = SparK(width=8, decoder_width=32).eval()
    image = torch.rand(2, 1, 64, 64)
    active = torch.tensor([[[[True, False], [False, False]]]]).expand(2, 1, 2, 2)
    loss, reconstruction = model(image, active)
    squared = (image - reconstruction) ** 2
    by_hand = (squared[..., 32:, :].sum() + squared[..., :32, 32:].sum()) / (2 * 3 * 32 * 32)
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)


@pytest.mark.parametrize(("grid", "count"), [((3, 3), 3), ((2, 2), 1), ((3, 2), 2)])
def test_mask_shows_the_same_number_everywhere_and_is_reproducible(grid, count):
    first = random_mask(200, grid, 0.65, torch.Generator().manual_seed(5))
    again = random_mask(200, grid, 0.65, torch.Generator().manual_seed(5))
    assert first.shape == (200, 1, *grid)
    assert (first.sum(dim=(1, 2, 3)) == count).all()
    assert torch.equal(first, again)
    share = first.float().mean(dim=0)
    assert (share - count / share.numel()).abs().max() < 0.12


def test_mask_is_drawn_from_the_generator():
    model = SparK(width=8, decoder_width=32).eval()
    image = torch.rand(3, 1, 64, 64)
    losses = [model(image, generator=torch.Generator().manual_seed(s))[0] for s in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_background_fills_slices_up_to_whole_patches():
    image = torch.rand(2, 1, 52, 64)
    whole = fill_patches(image)
    assert whole.shape == (2, 1, 64, 64) and torch.equal(whole[..., :52, :], image)
    assert not whole[..., 52:, :].any()
    assert torch.equal(fill_patches(whole), whole)


@pytest.mark.parametrize("size", [(32, 32), (80, 80), (64, 32)])
def test_unfit_slices_are_refused(size):
    with pytest.raises(UserError, match="2×2"):
        SparK(width=8, decoder_width=32)(torch.rand(1, 1, *size))


def test_encoder_is_initialized_but_for_its_last_layer():
    spark = SparK(width=8, decoder_width=32)
    encoder = ResNet(width=8, num_features=16)
    fc = encoder.fc.weight.clone()
    load_pretrained(encoder, spark.state_dict())
    assert torch.equal(encoder.fc.weight, fc)
    for name, tensor in encoder_state(spark.state_dict()).items():
        assert torch.equal(encoder.state_dict()[name], tensor), name
    with pytest.raises(UserError, match="depth or width"):
        load_pretrained(ResNet(width=16, num_features=16), spark.state_dict())
