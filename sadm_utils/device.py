"""One place that knows which device computes, in which precision, and from which seed."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch

from sadm_utils.errors import UserError


def get_device() -> torch.device:
    """Return the accelerator if there is one, else the CPU.

    With the environment variable ``SADM_DEVICE`` set to ``cpu``, it is the CPU in any case.

    Raises
    ------
    UserError
        If the variable holds anything else.
    """
    wanted = os.environ.get("SADM_DEVICE", "")
    if wanted not in ("", "cpu"):
        raise UserError(
            f"The environment variable SADM_DEVICE is {wanted!r}: set it to 'cpu', or remove it, "
            "and the accelerator is found by itself."
        )
    if not wanted and torch.accelerator.is_available():
        return torch.device(torch.accelerator.current_accelerator())
    return torch.device("cpu")


def device_name(device: torch.device | None = None) -> str:
    """Human-readable name for records, e.g. ``"CPU, 2 threads"``."""
    device = device or get_device()
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"CPU, {threads} thread{'' if threads == 1 else 's'}"
    return torch.get_device_module(device).get_device_name(device)


def has_fast_bfloat16(device: torch.device | None = None) -> bool:
    """Tell whether the device computes bfloat16 in hardware (faster than float32)."""
    device = device or get_device()
    if device.type == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and "avx512_bf16" in _cpu_flags()
    module = torch.get_device_module(device)
    return bool(getattr(module, "is_bf16_supported", lambda: False)())


def lightning_precision(setting: str, device: torch.device | None = None) -> str:
    """Translate ``auto``, ``32``, ``bf16`` or ``16`` into Lightning's name for it."""
    device = device or get_device()
    if setting == "auto":
        if has_fast_bfloat16(device):
            setting = "bf16"
        else:
            setting = "32" if device.type == "cpu" else "16"
    return {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[setting]


def autocast(device: torch.device | None = None) -> torch.autocast:
    """Autocast to bfloat16 where the device is fast at it; a no-op elsewhere."""
    device = device or get_device()
    return torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bfloat16(device))


@contextmanager
def tiny_as_zero() -> Iterator[None]:
    """Count numbers below 1e-38 as 0 in this thread: a CPU computes with them many times slower.

    Gradients behind a black background are that small. Use it around a training, no more: SciPy's
    k-d tree, for one, needs these numbers, and recurses without end if there are none.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch. The only place in the package that does."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def generator(*key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch generator that is a pure function of ``key`` (seed, epoch, step …)."""
    state = np.random.SeedSequence([k % 2**32 for k in key]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state) % 2**63)


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Seed torch's global generator by ``key`` inside; outside it goes on as it was.

    For what draws from it without a choice, such as the first weights of a network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(*key).initial_seed())
        yield


@cache
def _cpu_flags() -> str:
    if not os.path.exists("/proc/cpuinfo"):
        return ""
    with open("/proc/cpuinfo") as file:
        return next((line for line in file if line.startswith("flags")), "")
