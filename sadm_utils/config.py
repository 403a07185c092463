"""One validated configuration for notebooks, command line and papermill.

The defaults of these frozen dataclasses are the paper's setting (METHOD column "->"). A profile is
a YAML file that lists what differs, and overrides are dotted keys such as ``cddpm.train.epochs``.
Unknown or mistyped keys are errors that name the closest valid one.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import yaml

from sadm_utils.errors import UserError
from sadm_utils.limits import check_limits


@dataclass(frozen=True)
class TrainConfig:
    """How one network is trained. One epoch draws ``slices_per_volume`` slices of each volume."""

    epochs: int = 1600
    batch_size: int = 32
    optimizer: str = "adam"  # adam or muon (sadm_utils/optim.py)
    learning_rate: float = 1e-4
    slices_per_volume: int = 1
    warmup_steps: int = 0
    final_lr_fraction: float = 1.0  # cosine decay to this share of the learning rate; 1 = constant
    weight_decay: float = 0.0
    ema_decay: float = 0.0  # exponential moving average of the weights; 0 = off
    gradient_clip: float = 0.0  # largest gradient norm; 0 = off
    precision: str = "auto"  # auto, 32, bf16, 16
    workers: int = 0
    checkpoint_every: int = 1  # epochs between two writes of last.ckpt
    devices: int = 1  # processes on each machine, one a GPU, that share each batch
    nodes: int = 1  # machines
    strategy: str = "auto"  # of Lightning, where there are several processes; auto = ddp


@dataclass(frozen=True)
class PhantomConfig:
    """Subjects of the built-in phantom cohort, by split (``val`` sets hold the annotated ones)."""

    voxel_mm: float = 1.0
    ixi_train: int = 358
    ixi_val: int = 44
    ixi_test: int = 160
    brats21_val: int = 100
    brats21_test: int = 160
    atlas_val: int = 100
    atlas_test: int = 160
    mslub_val: int = 10
    mslub_test: int = 20


@dataclass(frozen=True)
class AugmentConfig:
    """Probability of each intensity augmentation of a training slice."""

    gamma: float = 0.5
    bias_field: float = 0.25
    blur: float = 0.25
    ghosting: float = 0.5


@dataclass(frozen=True)
class DataConfig:
    """Chapter 1. Geometry and intensity of the slices that every model sees."""

    voxel_mm: float = 2.0
    crop_mm: tuple[int, ...] = (192, 192, 100)
    curvature_steps: int = 3
    percentiles: tuple[float, ...] = (1.0, 99.0)
    fold: int = 0
    holdout: int = 10  # first rows of an annotated val list: never trained on, they set thresholds
    jobs: int = -1
    phantom: PhantomConfig = field(default_factory=PhantomConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass(frozen=True)
class DraemConfig:
    """Chapter 2. Synthetic anomalies."""

    threshold: float = 0.5
    opacity: tuple[float, ...] = (0.2, 1.0)
    max_scale_exponent: int = 6
    probability: float = 1.0
    brain_only: bool = True


@dataclass(frozen=True)
class EncoderConfig:
    """The conditioning encoder: the ResNet that SparK pretrains and the cDDPM uses."""

    depth: int = 50
    width: int = 64
    drop_path: float = 0.0


@dataclass(frozen=True)
class SparkConfig:
    """Chapter 3. Masked pretraining."""

    patch: int = 32
    mask_ratio: float = 0.65
    decoder_width: int = 512
    train: TrainConfig = field(default_factory=lambda: TrainConfig(epochs=1200, weight_decay=0.05))


@dataclass(frozen=True)
class CddpmConfig:
    """Chapter 4. The conditioned diffusion model."""

    width: int = 128
    blocks: int = 3
    groups: int = 32  # of the group normalization; 4 channels a group at width 128
    timesteps: int = 1000
    levels: tuple[int, ...] = (250, 500, 750)  # of the test and of chapter 5; no matter in training
    noise: str = "simplex"  # simplex, gaussian or coarse
    noise_octaves: int = 6
    noise_persistence: float = 0.8
    noise_feature_size: int = 64
    noise_shared: bool = False
    pretrained: bool = True
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(frozen=True)
class SadmConfig:
    """Chapter 5. The siamese segmentation network."""

    width: int = 64
    depth: int = 4
    annotated_subjects: int = 0  # train on the first so many only; 0 = all
    annotated_slices: int = 1  # slices of each annotated volume in an epoch
    distinct_epochs: int = 600  # epochs after which slices and reconstructions repeat (are cached)
    frozen_encoder: bool = True  # False: its batch norm and drop path stay in train mode
    train: TrainConfig = field(default_factory=lambda: TrainConfig(epochs=600, learning_rate=5e-5))


@dataclass(frozen=True)
class BaselinesConfig:
    """Chapter 8. The paper's comparison methods; DDPM and pDDPM have the size of the cDDPM."""

    width: int = 64  # channels of the first scale
    latent: int = 128  # length of the vector that AE and VAE squeeze a slice into
    kl_weight: float = 1.0  # of the VAE; 1 is the evidence lower bound
    coarse_std: float = 0.2  # of the noise that the DAE removes
    patch: float = 0.5  # side of pDDPM's patch, as a share of the slice's
    train: TrainConfig = field(default_factory=TrainConfig)
    diffusion_train: TrainConfig = field(default_factory=TrainConfig)  # of DDPM and pDDPM


@dataclass(frozen=True)
class EvaluationConfig:
    """Chapter 6. Anomaly score and metrics."""

    residual: str = "ssim"
    median: int = 5
    ssim_sigma: float = 1.0
    ssim_range: float = 0.0  # of the intensities; 0 = the larger of both volumes' own ranges
    betas: int = 11
    bootstrap: int = 2000
    batch_size: int = 33
    jobs: int = -1  # processes that share the volumes on a CPU; -1 = a thread each, at most four
    accept_trained: tuple[str, ...] = ()  # subjects to score although a model was trained on them


PRESETS: dict[str, dict[str, Any]] = {
    # What the authors' released code does, wherever the book departs from it by a switch.
    "reference": {
        "data.curvature_steps": 3,
        "encoder.drop_path": 0.05,
        "draem.brain_only": False,
        "cddpm.noise_shared": True,
        "sadm.frozen_encoder": False,
        "evaluation.ssim_range": 0.0,  # also the default, as curvature_steps
    },
}


@dataclass(frozen=True)
class Config:
    """Everything that a run depends on, but its seed and its folders."""

    profile: str = "paper"
    data: DataConfig = field(default_factory=DataConfig)
    draem: DraemConfig = field(default_factory=DraemConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    spark: SparkConfig = field(default_factory=SparkConfig)
    cddpm: CddpmConfig = field(default_factory=CddpmConfig)
    sadm: SadmConfig = field(default_factory=SadmConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    baselines: BaselinesConfig = field(default_factory=BaselinesConfig)

    @property
    def slice_shape(self) -> tuple[int, int]:
        """Height and width of a slice in pixels, e.g. (96, 96) at 2 mm."""
        height, width = (round(size / self.data.voxel_mm) for size in self.data.crop_mm[:2])
        return height, width


def load_config(profile: str, overrides: Mapping[str, Any] | None = None) -> Config:
    """Resolve a profile and overrides into one validated configuration.

    Parameters
    ----------
    profile
        ``smoke``, ``demo`` or ``paper``.
    overrides
        Dotted keys and values, e.g. ``{"cddpm.train.epochs": 5}``. The key ``preset`` names an
        entry of :data:`PRESETS`, over which the other keys go.

    Raises
    ------
    UserError
        For an unknown profile, preset or key, or a value of the wrong type or range.
    """
    if profile not in profile_names():
        raise UserError(f"Unknown profile {profile!r}: choose one of {', '.join(profile_names())}.")
    text = (resources.files("sadm_utils") / "profiles" / f"{profile}.yaml").read_text()
    tree = yaml.safe_load(text) or {}
    if not isinstance(overrides or {}, Mapping):
        raise UserError(
            f"OVERRIDES must be a mapping such as {{'cddpm.train.epochs': 5}}, not {overrides!r}."
        )
    config = apply_overrides(Config(profile=profile), flatten(tree))
    changes = dict(overrides or {})
    preset = changes.pop("preset", None)
    if preset is not None and preset not in PRESETS:
        raise UserError(f"Unknown preset {preset!r}: choose one of {', '.join(PRESETS)}.")
    config = apply_overrides(config, {**PRESETS.get(preset, {}), **changes})
    check_limits(flatten(to_dict(config)))
    return config


def profile_names() -> list[str]:
    """Names of the shipped profiles."""
    folder = resources.files("sadm_utils") / "profiles"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name[-5:] == ".yaml")


def apply_overrides(config: Config, overrides: Mapping[str, Any]) -> Config:
    """Return ``config`` with the dotted keys of ``overrides`` replaced."""
    for key, value in overrides.items():
        config = _replace(config, str(key).split("."), value, str(key))
    return config


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn a nested mapping into one with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat.update(flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value})
    return flat


def to_dict(config: Any) -> dict[str, Any]:
    """Return a (part of a) configuration as plain YAML and JSON types."""
    tree = dataclasses.asdict(config)
    return typing.cast(dict[str, Any], _plain(tree))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _replace(node: Any, path: list[str], value: Any, key: str) -> Any:
    name, rest = path[0], path[1:]
    hints = typing.get_type_hints(type(node))
    is_section = dataclasses.is_dataclass(hints.get(name))
    if name not in hints or name == "profile" or (is_section and not rest):
        raise UserError(_unknown_key(key))
    if rest:
        child = getattr(node, name)
        if not dataclasses.is_dataclass(child):
            raise UserError(_unknown_key(key))
        return dataclasses.replace(node, **{name: _replace(child, rest, value, key)})
    return dataclasses.replace(node, **{name: _coerce(value, hints[name], key)})


def _unknown_key(key: str) -> str:
    valid = [k for k in flatten(to_dict(Config())) if k != "profile"]
    close = difflib.get_close_matches(key, valid, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else f"valid keys: {', '.join(valid)}."
    return f"Unknown configuration key {key!r}: {hint}"


def _coerce(value: Any, hint: Any, key: str) -> Any:
    """Check ``value`` against the annotated type; an int may stand for a float, nothing else."""
    origin = typing.get_origin(hint)
    if origin is tuple and isinstance(value, list | tuple):
        item = typing.get_args(hint)[0]
        return tuple(_coerce(v, item, key) for v in value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    kind = hint if origin is None else origin
    if isinstance(kind, types.GenericAlias) or not isinstance(value, kind) or (
        kind is int and isinstance(value, bool)
    ):
        name = getattr(kind, "__name__", str(hint))
        raise UserError(f"Configuration key {key!r} takes {name}, not {value!r}.")
    return value
