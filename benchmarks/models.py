"""The networks of the rows: ours, and a plain copy that computes the same the ordinary way."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sadm_utils import device
from sadm_utils.cddpm.model import ConditionedDiffusion, build_cddpm
from sadm_utils.cddpm.training import CddpmTraining
from sadm_utils.config import Config, load_config
from sadm_utils.sadm.network import SegmentationUNet
from sadm_utils.sadm.training import SadmTraining, build_network
from sadm_utils.spark.model import SparK
from sadm_utils.spark.training import SparkTraining, build_spark
from sadm_utils.training import TrainedModule

QUICK = {
    "encoder.depth": 18, "encoder.width": 8, "cddpm.width": 32, "cddpm.blocks": 1,
    "spark.decoder_width": 32, "sadm.width": 8,
}  # fmt: skip


def settings(quick: bool) -> tuple[Config, int]:
    """The paper's configuration and slice size, or a small one."""
    config = load_config("paper", QUICK if quick else None)
    return config, 64 if quick else config.slice_shape[0]


@contextmanager
def precision(bf16: bool) -> Iterator[None]:
    """Let the package believe that the processor is fast at bfloat16, or that it is not."""
    with mock.patch.object(device, "has_fast_bfloat16", lambda where=None: bf16):
        yield


def autocast(bf16: bool) -> torch.autocast:
    """What Lightning does for the precision ``bf16-mixed``; nothing for ``32-true``."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bf16)


@torch.no_grad()
def wake(model: nn.Module) -> None:
    """Give silent branches a voice: layers that start at 0 would let an untrained network idle."""
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if not weight.any() and name.endswith("weight"):
            fan = weight[0].numel() if weight.ndim > 1 else 25
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.5 / fan**0.5)


def plain_copy(model: nn.Module) -> Any:
    """The same network and weights, stored channels first as PyTorch does by default."""
    return copy.deepcopy(model).to(memory_format=torch.contiguous_format)


class Step:
    """A training step: forward, backward, optimizer.

    Parameters
    ----------
    module
        Gives the optimizer of the book's training.
    loss
        Computes the loss of a fixed batch.
    bf16
        Mixed precision.
    plain
        An unfused optimizer that loops over the weights, instead of the book's.
    """

    def __init__(
        self, module: TrainedModule, loss: Callable[[], Tensor], bf16: bool, plain: bool = False
    ) -> None:
        self.loss, self.bf16 = loss, bf16
        self.optimizer: torch.optim.Optimizer = module.configure_optimizers()["optimizer"]
        if plain:
            self.optimizer = torch.optim.AdamW(module.parameters(), foreach=False, fused=False)

    def __call__(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.bf16):
            loss = self.loss()
        loss.backward()
        self.optimizer.step()


def cddpm(config: Config) -> ConditionedDiffusion:
    """The diffusion model with random weights, in train mode."""
    model = build_cddpm(config)
    wake(model)
    return model


def cddpm_step(
    config: Config, model: ConditionedDiffusion, image: Tensor, bf16: bool, plain: bool = False
) -> Step:
    """Encoder and U-Net learn together; each step draws its noise and its levels."""
    generator = torch.Generator().manual_seed(0)
    layout = torch.contiguous_format if plain else torch.channels_last
    image = image.contiguous(memory_format=layout)
    module = CddpmTraining(model, config.cddpm.train, 0)
    return Step(module, lambda: model.loss(image, generator), bf16, plain)


def spark(config: Config) -> SparK:
    """The masked autoencoder with random weights, in train mode."""
    model = build_spark(config)
    wake(model)
    return model


def spark_step(
    config: Config, model: SparK, image: Tensor, bf16: bool, plain: bool = False
) -> Step:
    """Each step hides other patches."""
    generator = torch.Generator().manual_seed(0)
    module = SparkTraining(model, config.spark.train, 0)
    return Step(module, lambda: model(image, generator=generator)[0], bf16, plain)


def sadm(config: Config) -> SegmentationUNet:
    """The segmentation network on image and residual."""
    return build_network(config, "residual")


def sadm_step(
    config: Config,
    network: SegmentationUNet,
    image: Tensor,
    truth: Tensor,
    bf16: bool,
    rebuild: Callable[[], Tensor],
    plain: bool = False,
) -> Step:
    """One step; ``rebuild`` gives the reconstruction, from a cache or by the diffusion model."""

    def loss() -> Tensor:
        logits = network(rebuild(), image)
        return F.binary_cross_entropy_with_logits(logits.float(), truth)

    return Step(SadmTraining(network, config.sadm.train, 0), loss, bf16, plain)
