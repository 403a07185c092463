"""Load the released code's weights into this book's networks, strictly in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from torch import Tensor, nn

from sadm_utils.errors import UserError
from sadm_utils.reference.models import NETWORKS, SIZES, on_meta, unused_entries
from sadm_utils.reference.names import reference_names, reference_shapes


@dataclass
class Difference:
    """What keeps a state dict from fitting: names, each with a shape where it matters."""

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshaped: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.misshaped)

    @property
    def text(self) -> str:
        named = (("missing", self.missing), ("unexpected", self.unexpected),
                 ("of another shape", self.misshaped))  # fmt: skip
        return "; ".join(f"{len(keys)} {what}: {', '.join(keys)}" for what, keys in named if keys)


def load_reference(kind: str, state_dict: Mapping[str, Any], size: str = "paper") -> nn.Module:
    """Build one of the released code's models with the given weights.

    Parameters
    ----------
    kind
        ``unet``, ``encoder``, ``spark`` or ``segunet``, with keys relative to the network; or
        ``cddpm`` or ``sadm``, with the keys of the whole Lightning module.
    state_dict
        Tensors by the released code's names, or a checkpoint with such a ``state_dict``.
    size
        ``paper`` or ``small``.

    Returns
    -------
    nn.Module
        In eval mode, on the CPU, in float32, with its own copy of the weights: a
        :class:`~sadm_utils.cddpm.unet.UNet`, :class:`~sadm_utils.spark.resnet.ResNet`,
        :class:`~sadm_utils.spark.model.SparK`, :class:`~sadm_utils.sadm.network.SegmentationUNet`,
        :class:`~sadm_utils.reference.models.ReleasedDiffusion` or
        :class:`~sadm_utils.reference.models.ReleasedSadm`.

    Raises
    ------
    UserError
        For an unknown kind or size, a state dict of another size, or any entry that is missing,
        unexpected or of another shape; all of them are named.
    """
    for value, valid, what in ((kind, NETWORKS, "kind"), (size, SIZES, "size")):
        if value not in valid:
            raise UserError(f"Unknown {what} {value!r}: choose one of {', '.join(valid)}.")
    weights = _tensors(state_dict)
    difference = _compare(kind, weights, size)
    if difference.count:
        raise UserError(_explain(kind, weights, size, difference))
    model = on_meta(kind, size).to_empty(device="cpu")
    for prefix, attribute in NETWORKS[kind]:
        network = model.get_submodule(attribute)
        own = network.state_dict()
        network.load_state_dict({
            name: weights[prefix + theirs].to(own[name].dtype).reshape(own[name].shape)
            for name, theirs in reference_names(network).items()
        })  # fmt: skip
    _set_schedule(model, weights)
    return model.eval()


def find_size(kind: str, state_dict: Mapping[str, Any]) -> str:
    """The size that fits a state dict best; it may still not fit."""
    weights = _tensors(state_dict)
    return min(SIZES, key=lambda size: _compare(kind, weights, size).count)


def find_kind(state_dict: Mapping[str, Any]) -> str:
    """``sadm``, ``cddpm`` or ``spark``: what a whole Lightning module's state dict belongs to.

    Raises
    ------
    UserError
        If it is none of them.
    """
    weights = _tensors(state_dict)
    for start, kind in (("SegUnet.", "sadm"), ("diffusion.model.", "cddpm"), ("model.", "spark")):
        if any(key.startswith(start) for key in weights):
            return kind
    some = ", ".join(list(weights)[:3])
    raise UserError(
        "The state dict is not one of the released code's (DDPM_2D, SADM_2D or Spark_2D): its "
        f"entries are {some} and so on."
    )


@cache
def expected_shapes(kind: str, size: str) -> dict[str, tuple[int, ...]]:
    """Shape of each entry of a state dict of the released code."""
    model = on_meta(kind, size)
    shapes = dict(unused_entries(kind, size))
    for prefix, attribute in NETWORKS[kind]:
        network = model.get_submodule(attribute)
        shapes |= {prefix + name: shape for name, shape in reference_shapes(network).items()}
    return shapes


def _tensors(state_dict: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """The state dict of a checkpoint, or the mapping itself, after a check of its types."""
    if isinstance(state_dict, Mapping) and isinstance(state_dict.get("state_dict"), Mapping):
        state_dict = state_dict["state_dict"]
    if not isinstance(state_dict, Mapping) or not state_dict:
        raise UserError("The state dict must be a mapping of names to tensors that is not empty.")
    for key, value in state_dict.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise UserError(f"The entry {key!r} of the state dict is no tensor with a name.")
    return state_dict


def _compare(kind: str, weights: Mapping[str, Tensor], size: str) -> Difference:
    expected = expected_shapes(kind, size)
    both = [key for key in expected if key in weights]
    return Difference(
        [key for key in expected if key not in weights],
        [key for key in weights if key not in expected],
        [
            f"{key} {tuple(weights[key].shape)} instead of {expected[key]}"
            for key in both
            if tuple(weights[key].shape) != expected[key]
        ],
    )


def _explain(
    kind: str, weights: Mapping[str, Tensor], size: str, difference: Difference
) -> str:
    """One sentence; of a state dict of another size, only what does not fit that size either."""
    closest = find_size(kind, weights)
    if _compare(kind, weights, closest).count >= difference.count:
        return f"The state dict is no {kind} of size {size!r}: {difference.text}."
    rest = _compare(kind, weights, closest)
    remedy = f", which it does not fit either: {rest.text}." if rest.count else "."
    return (
        f"The state dict is no {kind} of size {size!r} ({SIZES[size].text}) but looks like size "
        f"{closest!r} ({SIZES[closest].text}): load it with size={closest!r}{remedy}"
    )


def _set_schedule(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Take the two factors of x_t from the state dict, as loading in the released code does."""
    diffusion = getattr(getattr(model, "cddpm", model), "diffusion", None)
    if diffusion is not None:
        diffusion.signal_rate = weights["diffusion.sqrt_alphas_cumprod"].float().clone()
        diffusion.noise_rate = weights["diffusion.sqrt_one_minus_alphas_cumprod"].float().clone()

