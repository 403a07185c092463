"""The comparison methods of chapter 8, as far as a sweep must know them."""

METHODS = ("ae", "vae", "dae", "fae", "rd", "ddpm", "pddpm", "pii", "draem_net")

PRETRAINED = ("rd", "fae")
"""They stand on the encoder of the stage ``spark``."""

DIFFUSION = ("ddpm", "pddpm")
"""They take the settings of the diffusion model."""
