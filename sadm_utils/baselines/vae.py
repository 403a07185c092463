"""VAE: an autoencoder whose vector is a draw from a distribution (chapter 8; Baur et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sadm_utils.baselines.ae import Autoencoder

LOG_VARIANCE = 10.0
"""Largest size of a logarithm of a variance, so that no exponential overflows."""


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log_variance)) from N(0, 1), in nats.

    Parameters
    ----------
    mean, log_variance
        Of each number of the vectors, (B, latent).

    Returns
    -------
    ½ Σ (μ² + σ² − ln σ² − 1) of each vector, (B,).
    """
    return 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(1)


class VariationalAutoencoder(Autoencoder):
    """Row VAE. Loss: mean |x̂ − x| + λ KL / pixels.

    With λ = 1 this is the evidence lower bound of pixels with a Laplace distribution of scale 1,
    divided by the number of pixels. A reconstruction decodes the mean, without a draw.
    """

    title = "VAE"
    uses = (*Autoencoder.uses, "baselines.kl_weight")
    features_of_latent = 2

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the vectors of slices: (B, latent) each."""
        mean, log_variance = self.encode(image).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-LOG_VARIANCE, LOG_VARIANCE)

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        image = batch["image"]
        mean, log_variance = self.posterior(image)
        draw = torch.randn(mean.shape, generator=generator).to(mean)
        rebuilt = self.decode(mean + draw * (0.5 * log_variance).exp())
        pixels = image[0].numel()
        kl = kl_divergence(mean, log_variance).mean() / pixels
        return (rebuilt - image).abs().mean() + self.config.baselines.kl_weight * kl

    def reconstruct(self, image: Tensor, generator: torch.Generator) -> Tensor:
        return self.decode(self.posterior(image)[0]).clamp(0, 1)
