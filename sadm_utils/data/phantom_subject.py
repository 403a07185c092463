"""One simulated subject: anatomy, lesion and scanner put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import ndimage

from sadm_utils.data.phantom_anatomy import build_tissue, draw_head, region_of_interest
from sadm_utils.data.phantom_fields import Grid, random_field
from sadm_utils.data.phantom_lesions import Healthy, Sclerosis, Stroke, Tumor
from sadm_utils.errors import UserError

KINDS: dict[str, type[Healthy]] = {
    "healthy": Healthy,
    "tumor": Tumor,
    "stroke": Stroke,
    "ms": Sclerosis,
}
# Mean and standard deviation of the age in years; healthy ages are uniform from 20 to 86 (IXI).
_AGES = {"tumor": (60.0, 12.0), "stroke": (60.0, 14.0), "ms": (38.0, 10.0)}


@dataclass(frozen=True)
class ImagingRanges:
    """What the scanner adds. Pairs are (low, high) of a uniform draw."""

    gain: tuple[float, float] = (400.0, 900.0)  # signal of white matter
    texture: float = 0.015  # rms relative to the signal, over ~4 mm
    blur_mm: tuple[float, float] = (0.5, 0.8)  # standard deviation of the point spread
    bias: tuple[float, float] = (0.01, 0.04)  # rms of what is left after bias correction
    noise: tuple[float, float] = (0.015, 0.035)  # relative to white matter at 1 mm


@dataclass
class Subject:
    """One simulated subject."""

    image: np.ndarray  # (X, Y, Z) float32, arbitrary positive units, 0 outside the brain
    mask: np.ndarray  # (X, Y, Z) uint8, brain
    seg: np.ndarray  # (X, Y, Z) uint8, lesion
    affine: np.ndarray  # 4×4, voxel indices to MNI mm, RAS
    age: float
    info: dict[str, Any] = field(default_factory=dict)  # drawn numbers


def simulate_subject(
    kind: str, seed: int, index: int, voxel_mm: float = 2.0, lesion: bool = True
) -> Subject:
    """Simulate one subject.

    Parameters
    ----------
    kind
        ``healthy``, ``tumor`` (stands for BraTS21), ``stroke`` (ATLAS v2) or ``ms`` (MSLUB).
    seed, index
        The cohort and the subject in it; nothing else decides what is drawn.
    voxel_mm
        Edge of a voxel in mm; the anatomy is the same at any size, the noise is not.
    lesion
        False gives the same person before the illness: same anatomy, noise and contrast.

    Returns
    -------
    Subject
        Image, masks, affine and the drawn numbers.

    Raises
    ------
    UserError
        If ``kind`` is unknown or ``voxel_mm`` is not between 0.5 and 6 mm.
    """
    if kind not in KINDS:
        raise UserError(f"Unknown kind of phantom '{kind}': choose one of {', '.join(KINDS)}.")
    if not 0.5 <= voxel_mm <= 6:
        raise UserError(f"Phantoms need a voxel size from 0.5 to 6 mm, not {voxel_mm}.")
    person, shape, illness, scanner = _streams(kind, seed, index)
    grid = Grid(float(voxel_mm))
    inside = region_of_interest(grid.voxel_mm)
    head = draw_head(person, _draw_age(person, kind))
    disease = KINDS[kind](illness, head) if lesion else Healthy(illness, head)
    displacement = disease.displacement(grid.points(inside))
    tissue = build_tissue(shape, head, grid, inside, displacement)
    changed = disease.paint(tissue, grid, inside)
    brain = tissue.depth > 0
    mask, seg = (np.zeros(grid.shape, dtype=np.uint8) for _ in range(2))
    mask[inside] = brain
    seg[inside] = brain & (changed > 0.5)
    image = _scan(scanner, tissue.value, grid, inside) * mask
    numbers = {name: value for name, value in vars(head).items() if isinstance(value, float)}
    info = {"kind": kind, **numbers, **disease.info}
    return Subject(image, mask, seg, grid.affine, head.age, info)


def subject_age(kind: str, seed: int, index: int) -> float:
    """Age in years of the subject that :func:`simulate_subject` would make."""
    return _draw_age(_streams(kind, seed, index)[0], kind)


def _streams(kind: str, seed: int, index: int) -> list[np.random.Generator]:
    """Independent sources for the person, its deformation, the lesion and the scanner."""
    return np.random.default_rng([seed, list(KINDS).index(kind), index]).spawn(4)


def _draw_age(rng: np.random.Generator, kind: str) -> float:
    if kind not in _AGES:
        return round(float(rng.uniform(20, 86)), 1)
    mean, spread = _AGES[kind]
    return round(float(np.clip(mean + spread * rng.standard_normal(), 18, 90)), 1)


def _scan(
    rng: np.random.Generator,
    value: np.ndarray,
    grid: Grid,
    inside: np.ndarray,
    ranges: ImagingRanges | None = None,
) -> np.ndarray:
    """Texture, blur, bias field and Rician noise, the same for healthy and sick tissue."""
    ranges = ranges or ImagingRanges()
    gain, blur, bias, noise = (
        rng.uniform(*bounds) for bounds in (ranges.gain, ranges.blur_mm, ranges.bias, ranges.noise)
    )
    image = np.zeros(grid.shape, dtype=np.float32)
    image[inside] = value * (1 + ranges.texture * random_field(rng, grid, 3)[inside])
    spread = np.hypot(blur, 0.35 * grid.voxel_mm)  # point spread, and averaging over the voxel
    image = ndimage.gaussian_filter(image, spread / grid.voxel_mm, truncate=3)
    image *= np.exp(bias * random_field(rng, grid, 70))
    sigma = np.float32(noise / grid.voxel_mm)  # larger voxels average more noise
    real, imaginary = (rng.standard_normal(grid.shape, dtype=np.float32) for _ in range(2))
    return gain * np.hypot(image + sigma * real, sigma * imaginary)
