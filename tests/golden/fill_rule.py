"""Parameter values from parameter names, by exact integer arithmetic.

The reference outputs in this folder were made with parameters filled by this rule, so no weights
need to be stored.
"""

import zlib

import numpy as np
import torch

_MASK = np.uint64(0xFFFFFFFF)


def u01(seed: int, n: int) -> np.ndarray:
    """n hashed numbers in [0, 1), float64."""
    h = np.arange(n, dtype=np.uint64) * np.uint64(2654435761)
    h = (h + np.uint64((seed * 2246822519) & 0xFFFFFFFF)) & _MASK
    h ^= h >> np.uint64(15)
    h = (h * np.uint64(2246822519)) & _MASK
    h ^= h >> np.uint64(13)
    h = (h * np.uint64(3266489917)) & _MASK
    h ^= h >> np.uint64(16)
    return h.astype(np.float64) / 4294967296.0


def value(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value of the state-dict entry ``key`` (module-local reference name) of ``shape``."""
    n = int(np.prod(shape)) if len(shape) else 1
    u = u01(zlib.crc32(key.encode()), n)
    v = 2 * u - 1
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key.endswith("running_mean"):
        a = 0.1 * v
    elif key.endswith("running_var"):
        a = 1 + 0.5 * u
    elif len(shape) >= 2 and "mask_tokens" not in key:
        a = v * np.sqrt(3.0 * shape[0] / n)  # fan-in := numel / shape[0]
    elif key.endswith("weight"):
        a = 1 + 0.1 * v  # the gain of a normalization
    else:
        a = 0.1 * v  # biases, mask tokens
    return a.reshape(shape)


def fill(module: torch.nn.Module, skip: tuple[str, ...] = (), rename=None) -> None:
    """Fill every entry of the module's state, except those that start with one of ``skip``.

    ``rename`` turns the module's own name of an entry into the reference's name.
    """
    new = {}
    for key, tensor in module.state_dict().items():
        if skip and key.startswith(tuple(skip)):
            new[key] = tensor
            continue
        reference_key = rename(key) if rename else key
        filled = np.asarray(value(reference_key, tuple(tensor.shape)))
        new[key] = torch.from_numpy(filled).to(tensor.dtype).reshape(tensor.shape)
    module.load_state_dict(new, strict=True)


def tens(name: str, shape: tuple[int, ...], lo: float = 0.0, hi: float = 1.0) -> torch.Tensor:
    """A float32 tensor of hashed numbers in [lo, hi)."""
    a = lo + (hi - lo) * u01(zlib.crc32(name.encode()), int(np.prod(shape)))
    return torch.from_numpy(a.reshape(shape).astype(np.float32))
