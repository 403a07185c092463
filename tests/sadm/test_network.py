"""The segmentation network against the released code's outputs, and its own promises."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sadm_utils.reference.names import reference_names
from sadm_utils.sadm.network import SegmentationUNet, StandardizedConv2d, middle_divisor
from tests.golden.compare import gradient_norms, norm_error, relative_error
from tests.golden.filled import filled

FILE = "segunet_small.npz"
GOLDEN = np.load(Path(__file__).parents[1] / "golden" / FILE)


def test_logits_loss_and_gradients_match(golden_error) -> None:
    net = filled(SegmentationUNet())
    reconstruction, image, seg = (torch.from_numpy(GOLDEN[k]) for k in ("reco", "input", "seg"))
    logits = net(reconstruction, image)
    loss = F.binary_cross_entropy_with_logits(logits, seg)
    loss.backward()
    for ours, name in ((logits, "logits"), (logits.sigmoid(), "sigmoid"), (loss, "bce_loss")):
        golden_error(FILE, relative_error(ours, GOLDEN[name]))
    names = reference_names(net)
    norms = gradient_norms((names[k], p) for k, p in net.named_parameters())
    golden_error(FILE, norm_error(norms, GOLDEN["grad_keys"], GOLDEN["grad_norm"]), "gradient")


@pytest.mark.parametrize(("residual", "count"), [(True, 16_736_705), (False, 14_139_841)])
def test_parameter_count(residual: bool, count: int) -> None:
    with torch.device("meta"):
        net = SegmentationUNet(residual=residual)
    assert sum(p.numel() for p in net.parameters()) == count


def test_norm_groups() -> None:
    assert [middle_divisor(c) for c in (1, 16, 64, 128, 256, 512)] == [1, 4, 8, 16, 16, 32]


def test_standardized_convolution_ignores_scale_and_offset_of_its_weights() -> None:
    conv, x = StandardizedConv2d(2, 3), torch.randn(1, 2, 6, 6)
    y = conv(x)
    with torch.no_grad():
        conv.weight.mul_(7).add_(3)
    assert torch.allclose(conv(x), y, atol=1e-3)
    assert torch.allclose(conv(torch.ones_like(x)).std((2, 3)), torch.zeros(1, 3), atol=1e-6)


@torch.no_grad()
def test_input_only_variant_ignores_the_reconstruction() -> None:
    net, image = SegmentationUNet(8, depth=3, residual=False), torch.rand(2, 1, 16, 24)
    assert net(None, image).shape == image.shape
    assert torch.equal(net(None, image), net(torch.rand_like(image), image))
    siamese = SegmentationUNet(8, depth=3)
    reconstruction = torch.rand_like(image)
    assert not torch.allclose(siamese(image, image), siamese(reconstruction, image))


@torch.no_grad()
def test_images_of_a_batch_do_not_mix() -> None:
    net, image, other = SegmentationUNet(8, depth=2), torch.rand(3, 1, 8, 8), torch.rand(3, 1, 8, 8)
    alone = torch.cat([net(r[None], x[None]) for r, x in zip(other, image, strict=True)])
    assert torch.allclose(net(other, image), alone, atol=1e-5)


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a reconstruction"):
        SegmentationUNet(8, depth=2)(None, torch.rand(1, 1, 12, 16))


@torch.no_grad()
def test_a_side_that_cannot_be_halved_is_filled_up_with_background() -> None:
    net = SegmentationUNet(8, depth=3)
    image, other = torch.rand(2, 2, 1, 10, 15).unbind()
    larger = [torch.nn.functional.pad(x, (0, 1, 0, 2)) for x in (other, image)]
    found = net(other, image)
    assert found.shape == image.shape
    assert torch.equal(found, net(*larger)[..., :10, :15])


def test_features_of_the_image_can_be_computed_once_for_many_reconstructions() -> None:
    net = filled(SegmentationUNet(width=8, depth=2)).eval()
    x, *others = torch.rand(4, 2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    known = net.encode(x)
    for other in others:
        torch.testing.assert_close(net(other, x, known), net(other, x))
