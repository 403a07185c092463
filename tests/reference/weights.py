"""State dicts under the released code's names, with the golden parameters."""

import json
from pathlib import Path

import numpy as np
import torch

from sadm_utils.cddpm.schedule import cosine_betas, signal_and_noise_rates
from tests.golden.fill_rule import value

GOLDEN = Path(__file__).parents[1] / "golden"
MODULES = {"cddpm": "DDPM_2D", "sadm": "SADM_2D", "spark": "Spark_2D"}
#: Each network's module, and its prefix there.
NETWORKS = {
    "unet": ("cddpm", "diffusion.model."),
    "encoder": ("cddpm", "encoder."),
    "segunet": ("sadm", "SegUnet."),
    "spark": ("spark", "model."),
}


def inventory(kind: str, size: str) -> dict[str, tuple[int, ...]]:
    """Shapes by name, relative to the network for a network and whole for a Lightning module."""
    module, prefix = NETWORKS.get(kind, (kind, ""))
    path = GOLDEN / f"state_dict_{MODULES[module]}_{size}.json"
    shapes = json.loads(path.read_text())
    return {k[len(prefix) :]: tuple(s) for k, s in shapes.items() if k.startswith(prefix)}


def parameter_order(kind: str, size: str) -> list[str]:
    """Names of the parameters alone, of a Lightning module."""
    return json.loads((GOLDEN / f"param_order_{MODULES[kind]}_{size}.json").read_text())


def golden_state(kind: str, size: str = "small") -> dict[str, torch.Tensor]:
    """A state dict filled by the golden rule, with the schedule as it is."""
    prefixes = [prefix for _, prefix in NETWORKS.values()]
    state = {}
    for key, shape in inventory(kind, size).items():
        local = next((key[len(p) :] for p in prefixes if key.startswith(p)), key)
        local = key if kind in NETWORKS else local
        state[key] = _schedule(key) if key.startswith("diffusion.") else None
        if state[key] is None:
            filled = np.asarray(value(local, shape))
            dtype = torch.int64 if key.endswith("num_batches_tracked") else torch.float32
            state[key] = torch.from_numpy(filled).to(dtype).reshape(shape)
    return state


def _schedule(key: str) -> torch.Tensor | None:
    if key.startswith("diffusion.model."):
        return None
    rates = dict(zip(("sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod"),
                     signal_and_noise_rates(cosine_betas(1000)), strict=True))  # fmt: skip
    return rates.get(key.removeprefix("diffusion."), torch.zeros(1000))
