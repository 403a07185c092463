"""The comparison methods of chapter 8, as far as a sweep must know them."""

from sadm_utils.baselines import registry

METHODS = tuple(registry.METHODS)

PRETRAINED = ("rd", "fae")
"""They stand on the encoder of the stage ``spark``."""

DIFFUSION = ("ddpm", "pddpm")
"""They take the settings of the diffusion model."""
