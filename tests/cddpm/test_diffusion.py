"""One-step diffusion against the released code's losses, reconstructions and gradients."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sadm_utils.cddpm.diffusion import GaussianDiffusion
from sadm_utils.cddpm.simplex import simplex_noise
from sadm_utils.reference.names import reference_names
from sadm_utils.spark.resnet import ResNet
from tests.golden.compare import gradient_norms, norm_error, relative_error
from tests.golden.filled import filled, filled_unet

FILE = "diffusion_small.npz"
GOLDEN = np.load(Path(__file__).parents[1] / "golden" / FILE)


def golden(name: str) -> torch.Tensor:
    return torch.from_numpy(np.asarray(GOLDEN[name]))


def perfect(x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
    """A network that is told the answer: the condition is x0 itself."""
    return cond


def identity(x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
    return x


@torch.no_grad()
def test_losses_and_reconstructions_match(golden_error) -> None:
    net, diffusion = filled_unet(), GaussianDiffusion()
    image, cond, noise = golden("img"), golden("cond"), golden("noise")
    for t in (249, 499, 749):
        loss = diffusion.loss(net, image, t, cond, noise)
        golden_error(FILE, relative_error(loss, golden(f"loss_t{t}")))
        reconstruction = diffusion.reconstruct(net, image, t, cond, noise)
        golden_error(FILE, relative_error(reconstruction, golden(f"reco_t{t}")))
    t = golden("tvec")  # one step an image
    x_t = diffusion.q_sample(2 * image - 1, t, noise)
    golden_error(FILE, relative_error(x_t, golden("x_t")))
    reconstruction = diffusion.reconstruct(net, image, t, cond, noise)
    golden_error(FILE, relative_error(reconstruction, golden("reco_tvec")))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_of_network_and_encoder_match(layout, golden_error) -> None:
    net, encoder = filled_unet(), filled(ResNet(18, 64, 1, 128))
    net.eval().to(memory_format=layout), encoder.eval()
    image, t = golden("img"), golden("tvec")
    cond = encoder(image)
    golden_error(FILE, relative_error(cond, golden("cond")))
    loss = GaussianDiffusion().loss(net, image, t, cond, golden("noise"))
    golden_error(FILE, relative_error(loss, golden("loss_tvec")))
    loss.backward()
    for part, module in (("unet", net), ("encoder", encoder)):
        names = reference_names(module)
        norms = gradient_norms((names[k], p) for k, p in module.named_parameters())
        error = norm_error(norms, GOLDEN[f"grad_{part}_keys"], GOLDEN[f"grad_{part}_norm"])
        golden_error(FILE, error, "gradient")


@torch.no_grad()
def test_a_perfect_network_recovers_the_image() -> None:
    diffusion, image = GaussianDiffusion(), torch.rand(2, 1, 8, 12)
    x0 = 2 * image - 1
    assert diffusion.loss(perfect, image, torch.tensor([3, 900]), x0).item() == 0
    assert torch.allclose(diffusion.reconstruct(perfect, image, 500, x0), image, atol=1e-6)


@torch.no_grad()
def test_levels_are_steps_counted_from_one() -> None:
    diffusion, image = GaussianDiffusion(), torch.rand(2, 1, 16, 16)
    steps: list[int] = []

    def spy(x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
        steps.extend(t.tolist())
        return x

    each, mean = diffusion.reconstruct_ensemble(spy, image, image, levels=(1, 500, 1000))
    assert steps == [0, 0, 499, 499, 999, 999]
    assert each.shape == (3, 2, 1, 16, 16)
    assert torch.allclose(mean, each.mean(0))
    assert (each[0] - image).abs().max() < 0.05, "the first step adds almost no noise"
    with pytest.raises(ValueError, match="1 … 1000"):
        diffusion.reconstruct_ensemble(spy, image, image, levels=(0, 250))


@torch.no_grad()
def test_noise_function_and_generator_decide_the_noise() -> None:
    image = torch.rand(2, 1, 16, 16)

    def rebuild(seed: int, diffusion: GaussianDiffusion) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return diffusion.reconstruct(identity, image, 600, image, generator=generator)

    simplex = GaussianDiffusion()
    assert torch.equal(rebuild(1, simplex), rebuild(1, simplex))
    assert not torch.equal(rebuild(1, simplex), rebuild(2, simplex))
    silent = GaussianDiffusion(noise=lambda b, h, w, generator: torch.zeros(b, 1, h, w))
    expected = (silent.signal_rate[600] * (2 * image - 1) + 1) / 2
    assert torch.allclose(rebuild(1, silent), expected)
    noise = simplex_noise(2, 16, 16, torch.Generator().manual_seed(1))
    given = simplex.reconstruct(identity, image, 600, image, noise)
    assert torch.equal(given, rebuild(1, simplex))


def test_drawn_steps_cover_the_range() -> None:
    t = GaussianDiffusion(10).draw_steps(500, torch.Generator().manual_seed(0))
    assert t.unique().tolist() == list(range(10))


def test_nothing_is_saved() -> None:
    assert not GaussianDiffusion().state_dict()


@pytest.mark.parametrize("shift", [-0.1, 0.1, float("nan")])
def test_images_outside_the_range_are_refused(shift: float) -> None:
    image = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2) + shift
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        GaussianDiffusion().loss(identity, image, 0, image)
