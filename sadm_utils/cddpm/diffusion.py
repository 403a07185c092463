"""One-step diffusion reconstruction (chapter 4; paper, section 2.1).

Images are in [0, 1] outside and in [-1, 1] inside this module, nowhere else.
"""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from sadm_utils.cddpm.schedule import cosine_betas, signal_and_noise_rates
from sadm_utils.cddpm.simplex import simplex_noise
from sadm_utils.processes import rows

TOLERANCE = 1e-3
"""How far an image may leave [0, 1] before it is refused."""


class Denoiser(Protocol):
    """A network that predicts x0 (B, 1, H, W) from x_t, step indices (B,) and a condition."""

    def __call__(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor: ...


class NoiseFunction(Protocol):
    """A source of noise fields (batch, 1, height, width), like `simplex_noise`."""

    def __call__(
        self, batch: int, height: int, width: int, generator: torch.Generator | None
    ) -> Tensor: ...


def to_signed(image: Tensor) -> Tensor:
    """Map [0, 1] to [-1, 1]; a ValueError names the range if it is not [0, 1]."""
    low, high = (v.item() for v in torch.aminmax(image.detach()))
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):
        raise ValueError(f"Images must be in [0, 1]; these are in [{low:.4g}, {high:.4g}].")
    return 2 * image - 1


def to_unit(x: Tensor) -> Tensor:
    """Map [-1, 1] to [0, 1], without clipping."""
    return (x + 1) / 2


class GaussianDiffusion(nn.Module):
    """Corrupt an image to a step t and let a network predict the clean one in a single step.

    x_t = √ᾱ_t x0 + √(1 − ᾱ_t) ε, with x0 = 2·image − 1. The network predicts x0 itself.
    The name is the literature's; here ε is simplex noise by default, not Gaussian.

    The module has no parameters, and its buffers are not saved.

    Parameters
    ----------
    timesteps : int
        Number T of steps; step indices run from 0 to T − 1.
    noise : callable
        Called as ``noise(batch, height, width, generator)`` where no noise is given.
    """

    signal_rate: Tensor
    noise_rate: Tensor

    def __init__(
        self,
        timesteps: int = 1000,
        noise: NoiseFunction = simplex_noise,
    ) -> None:
        super().__init__()
        self.timesteps = timesteps
        self.noise = noise
        signal, noise_rate = signal_and_noise_rates(cosine_betas(timesteps))
        self.register_buffer("signal_rate", signal, persistent=False)
        self.register_buffer("noise_rate", noise_rate, persistent=False)

    def draw_noise(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw ε of the shape, type and device of `image` (B, 1, H, W)."""
        batch, _, height, width = image.shape
        return self.noise(batch, height, width, generator).to(image)

    def draw_steps(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw step indices uniformly from 0 … T − 1 for training: int64 (batch,)."""
        device = generator.device if generator is not None else "cpu"
        options = {"generator": generator, "device": device}
        t = rows(lambda n: torch.randint(self.timesteps, (n,), **options), batch)
        return t.to(self.signal_rate.device)

    def q_sample(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Sample x_t from q(x_t | x0): x0 and noise (B, 1, H, W), t (B,), scale [-1, 1]."""
        signal, sigma = self.signal_rate[t], self.noise_rate[t]
        return signal[:, None, None, None] * x0 + sigma[:, None, None, None] * noise

    def predict(
        self,
        net: Denoiser,
        x0: Tensor,
        t: Tensor | int,
        cond: Tensor,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Corrupt x0 (B, 1, H, W) to step t and predict it back; both on the [-1, 1] scale."""
        steps = torch.as_tensor(t, device=x0.device).expand(x0.shape[0])
        noise = self.draw_noise(x0, generator) if noise is None else noise
        return net(self.q_sample(x0, steps, noise), steps, cond).float()

    def loss(
        self,
        net: Denoiser,
        image: Tensor,
        t: Tensor | int,
        cond: Tensor,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Mean absolute error of the predicted x0, on the [-1, 1] scale (paper, section 2.1).

        Parameters
        ----------
        net : callable
            Denoiser, called as ``net(x_t, t, cond)``.
        image : Tensor
            Clean images in [0, 1], (B, 1, H, W).
        t : Tensor or int
            Step indices (B,), or one for all.
        cond : Tensor
            Condition vectors, (B, cond_dim).
        noise : Tensor, optional
            ε, (B, 1, H, W); drawn with `generator` if missing.

        Returns
        -------
        Tensor
            Scalar loss: twice the mean absolute error in intensity units of [0, 1].
        """
        x0 = to_signed(image)
        return (self.predict(net, x0, t, cond, noise, generator) - x0).abs().mean()

    def reconstruct(
        self,
        net: Denoiser,
        image: Tensor,
        t: Tensor | int,
        cond: Tensor,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Reconstruct images in one step from step index t; parameters as in `loss`.

        Returns
        -------
        Tensor
            x̂ on the [0, 1] scale but not clipped, float32 (B, 1, H, W).
        """
        return to_unit(self.predict(net, to_signed(image), t, cond, noise, generator))

    def reconstruct_ensemble(
        self,
        net: Denoiser,
        image: Tensor,
        cond: Tensor,
        levels: Sequence[int] = (250, 500, 750),
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Reconstruct from several noise levels, and average (paper, section 2.1).

        Parameters
        ----------
        levels : sequence of int
            Noise levels from 1 to T. Level t is step index t − 1, since indices start at 0.
        generator : torch.Generator, optional
            Source of the noise, which is drawn anew for each level.

        Returns
        -------
        each : Tensor
            Reconstructions per level, (L, B, 1, H, W), not clipped.
        mean : Tensor
            Their mean over the levels, (B, 1, H, W).
        """
        bad = [level for level in levels if not 1 <= level <= self.timesteps]
        if bad or not levels:
            raise ValueError(f"Noise levels must be in 1 … {self.timesteps}; got {list(levels)}.")
        step = partial(self.reconstruct, net, image, cond=cond, generator=generator)
        each = torch.stack([step(t=level - 1) for level in levels])
        return each, each.mean(dim=0)
