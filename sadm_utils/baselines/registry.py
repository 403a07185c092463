"""The comparison methods by name, in the order of the paper's Table 1."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib import import_module

from sadm_utils.baselines.method import Baseline
from sadm_utils.errors import UserError

# Name of the method (and of its module): the title of its row, and the class.
METHODS = {
    "ae": ("AE", "Autoencoder"),
    "vae": ("VAE", "VariationalAutoencoder"),
    "dae": ("DAE", "DenoisingAutoencoder"),
    "fae": ("FAE", "FeatureAutoencoder"),
    "rd": ("RD", "ReverseDistillation"),
    "ddpm": ("DDPM", "Diffusion"),
    "pddpm": ("pDDPM", "PatchedDiffusion"),
    "pii": ("PII", "PII"),
    "draem_net": ("DRAEM-Net", "DraemNet"),
}
ALL = "all"


def method_class(name: str) -> type[Baseline]:
    """The class of a method; its module is imported only now.

    Raises
    ------
    UserError
        For an unknown name.
    """
    check_name(name)
    return getattr(import_module(f"sadm_utils.baselines.{name}"), METHODS[name][1])


def title(name: str) -> str:
    """The title of a method's row in the table, e.g. ``pDDPM`` for ``pddpm``."""
    check_name(name)
    return METHODS[name][0]


def check_name(name: str) -> None:
    """Refuse an unknown method with the closest name and the valid ones."""
    if name in METHODS:
        return
    close = difflib.get_close_matches(str(name), METHODS, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}? " if close else ""
    raise UserError(
        f"Unknown comparison method {name!r}: {hint}Valid names: {', '.join(METHODS)}, or {ALL}."
    )


def parse_methods(value: str | Iterable[str]) -> list[str]:
    """Read the parameter ``METHODS``: ``"ae, dae"``, ``["ae", "dae"]`` or ``"all"``.

    Returns
    -------
    Names without repetitions, in the order given; of ``"all"``, that of the table.

    Raises
    ------
    UserError
        For an unknown name, a value of another type, or no name at all.
    """
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(p, str) for p in parts):
        raise UserError(f"METHODS takes names such as 'ae, dae' or 'all', not {value!r}.")
    names = [part.strip().lower().replace("-", "_") for part in parts if part.strip()]
    if names == [ALL]:
        return list(METHODS)
    for name in names:
        check_name(name)
    if not names:
        raise UserError(f"METHODS is empty: name some of {', '.join(METHODS)}, or {ALL}.")
    return list(dict.fromkeys(names))
