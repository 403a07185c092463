"""Ranges of the configuration: refuse values that no model can be built from, naming the key."""

from __future__ import annotations

from typing import Any

from sadm_utils.errors import UserError

# Interval of a setting by its full key or its last part; "[" and "]" include the end.
INTERVALS = {
    "epochs": "[1, inf)",
    "batch_size": "[1, inf)",
    "learning_rate": "(0, inf)",
    "slices_per_volume": "[1, inf)",
    "warmup_steps": "[0, inf)",
    "final_lr_fraction": "[0, 1]",
    "weight_decay": "[0, inf)",
    "ema_decay": "[0, 1)",
    "gradient_clip": "[0, inf)",
    "workers": "[0, inf)",
    "checkpoint_every": "[1, inf)",
    "devices": "[1, inf)",
    "nodes": "[1, inf)",
    "voxel_mm": "(0, inf)",
    "data.crop_mm": "(0, inf)",
    "data.curvature_steps": "[0, inf)",
    "data.percentiles": "[0, 100]",
    "data.fold": "[0, inf)",
    "data.holdout": "[0, inf)",
    "data.jobs": "[-1, inf)",
    "evaluation.jobs": "[-1, inf)",
    "data.augment.gamma": "[0, 1]",
    "data.augment.bias_field": "[0, 1]",
    "data.augment.blur": "[0, 1]",
    "data.augment.ghosting": "[0, 1]",
    "draem.opacity": "[0, 1]",
    "draem.probability": "[0, 1]",
    "draem.max_scale_exponent": "[0, inf)",
    "width": "[1, inf)",
    "encoder.drop_path": "[0, 1)",
    "spark.patch": "[32, inf)",
    "spark.mask_ratio": "(0, 1)",
    "spark.decoder_width": "[1, inf)",
    "cddpm.blocks": "[1, inf)",
    "cddpm.groups": "[1, inf)",
    "cddpm.timesteps": "[1, inf)",
    "cddpm.noise_octaves": "[1, inf)",
    "cddpm.noise_persistence": "(0, inf)",
    "cddpm.noise_feature_size": "[1, inf)",
    "baselines.latent": "[1, inf)",
    "baselines.kl_weight": "[0, inf)",
    "baselines.coarse_std": "(0, inf)",
    "baselines.patch": "(0, 1]",
    "sadm.depth": "[1, inf)",
    "sadm.annotated_subjects": "[0, inf)",
    "sadm.annotated_slices": "[1, inf)",
    "sadm.distinct_epochs": "[1, inf)",
    "evaluation.median": "[0, inf)",
    "evaluation.ssim_sigma": "(0, inf)",
    "evaluation.ssim_range": "[0, inf)",
    "evaluation.betas": "[2, inf)",
    "evaluation.bootstrap": "[1, inf)",
}
CHOICES = {
    "evaluation.residual": ("ssim", "l1", "l2"),
    "encoder.depth": (18, 50),
    "cddpm.noise": ("simplex", "gaussian", "coarse"),
    "optimizer": ("adam", "muon"),
    "precision": ("auto", "32", "bf16", "16"),
    # Those that keep all weights in each process; the book's models are far from needing others.
    "strategy": ("auto", "ddp", "ddp_find_unused_parameters_true"),
}
LENGTHS = {"data.crop_mm": 3, "data.percentiles": 2, "draem.opacity": 2}
RISING = ("data.percentiles", "draem.opacity")


def check_limits(settings: dict[str, Any]) -> None:
    """Check the settings of a configuration, by dotted key.

    Raises
    ------
    UserError
        Naming the first key whose value does not fit, and what would.
    """
    for key, value in settings.items():
        _check_value(key, value)
    for key in ("data.jobs", "evaluation.jobs"):
        if settings[key] == 0:
            _refuse(key, "-1 (one process a core) or at least 1", 0)
    levels, steps = settings["cddpm.levels"], settings["cddpm.timesteps"]
    if not levels or not all(1 <= level <= steps for level in levels):
        _refuse("cddpm.levels", f"a list of noise levels from 1 to {steps}", levels)
    for key, step in (("cddpm.width", 2), ("spark.decoder_width", 32)):  # sin and cos; 5 halvings
        if settings[key] % step:
            _refuse(key, f"a multiple of {step}", settings[key])
    if settings["evaluation.median"] not in (0, *range(1, 99, 2)):
        _refuse("evaluation.median", "0 or odd", settings["evaluation.median"])
    _check_shape(settings)
    _check_shares(settings)


def _check_value(key: str, value: Any) -> None:
    last = key.rsplit(".", 1)[-1]
    interval, choices = (t.get(key) or t.get(last) for t in (INTERVALS, CHOICES))
    if choices and value not in choices:
        _refuse(key, f"one of {', '.join(map(str, choices))}", value)
    if key in LENGTHS and len(value) != LENGTHS[key]:
        _refuse(key, f"a list of {LENGTHS[key]} numbers", value)
    for number in value if isinstance(value, list) else [value]:
        if interval and not _inside(number, interval):
            _refuse(key, f"in {interval}", value)
    if key in RISING and value[0] >= value[1]:
        _refuse(key, "two rising numbers", value)


def _check_shape(settings: dict[str, Any]) -> None:
    """The U-Net halves a slice twice, and the segmentation network needs a size."""
    height, width = (round(s / settings["data.voxel_mm"]) for s in settings["data.crop_mm"][:2])
    patch, stride = settings["spark.patch"], 2 ** (settings["sadm.depth"] - 1)
    slices, shorter = f"Slices of {height} × {width} pixels", min(height, width)
    if patch % 32:
        _refuse("spark.patch", "a multiple of 32, the stride of the encoder", patch)
    if height % 4 or width % 4:
        raise UserError(
            f"{slices} cannot be halved twice by the U-Net: change data.crop_mm or data.voxel_mm "
            "so that both sides are multiples of 4."
        )
    if shorter < 2 * stride:
        raise UserError(
            f"{slices} cannot be halved as often as sadm.depth {settings['sadm.depth']} asks: "
            "lower it."
        )


def _check_shares(settings: dict[str, Any]) -> None:
    """The processes of a training share each batch in equal parts."""
    for key in settings:
        train, _, last = key.rpartition(".")
        if last != "batch_size" or f"{train}.devices" not in settings:
            continue
        batch, count = settings[key], settings[f"{train}.devices"] * settings[f"{train}.nodes"]
        if batch % count:
            raise UserError(
                f"{key} is {batch}, which {count} processes ({train}.devices × {train}.nodes) "
                "cannot share equally: choose a multiple."
            )


def _inside(number: float, interval: str) -> bool:
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = number >= low if interval[0] == "[" else number > low
    return above and (number <= high if interval[-1] == "]" else number < high)


def _refuse(key: str, wanted: str, value: Any) -> None:
    raise UserError(f"Configuration key {key!r} must be {wanted}, not {value!r}.")
