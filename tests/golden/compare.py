"""How far our outputs are from the released code's: one definition for every golden file."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

#: Largest error that each kind of comparison allows.
LIMITS = {"forward": 1e-4, "gradient": 1e-3, "exact": 0.0}


def relative_error(ours: Any, theirs: Any) -> float:
    """Largest difference of two arrays of one shape, relative to the largest value of theirs."""
    ours, theirs = (_array(v) for v in (ours, theirs))
    assert ours.shape == theirs.shape, f"{ours.shape} is not {theirs.shape}"
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30))


def norm_error(ours: Mapping[str, float], keys: Iterable[str], norms: Iterable[float]) -> float:
    """Largest relative error of gradient norms by name; the names must be the same.

    Norms below 1e-4 of the largest one are compared on that scale: a bias in front of a
    normalization has no gradient but rounding.
    """
    theirs = dict(zip(map(str, keys), map(float, norms), strict=True))
    assert set(ours) == set(theirs)
    floor = 1e-4 * max(theirs.values())
    return max(abs(ours[key] - norm) / max(norm, floor) for key, norm in theirs.items())


def gradient_norms(parameters: Iterable[tuple[str, torch.nn.Parameter]]) -> dict[str, float]:
    """L2 norm of each parameter's gradient, in double precision."""
    return {name: parameter.grad.double().norm().item() for name, parameter in parameters}


def _array(value: Any) -> np.ndarray:
    if torch.is_tensor(value):
        value = value.detach().cpu().numpy()
    return np.asarray(value, dtype=np.float64)
