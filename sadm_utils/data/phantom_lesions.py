"""Lesions of the phantom cohort: tumor, chronic stroke and multiple sclerosis.

Each lesion is drawn in two steps. ``displacement`` says where it has moved healthy tissue (a tumor
pushes, an old stroke pulls), before the anatomy is sampled; ``paint`` then changes tissue and
returns how much of each voxel is changed. Blur, texture, bias and noise follow for the whole
image, so that a lesion has the same edges and noise as healthy tissue.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sadm_utils.data.phantom_anatomy import Head, Tissue, load_template
from sadm_utils.data.phantom_fields import Grid, random_field, sigmoid

Range = tuple[float, float]


@dataclass(frozen=True)
class TumorRanges:
    """Tumor with core, rim and edema (stands for BraTS21). Pairs are (low, high), uniform."""

    radius_mm: Range = (8.0, 24.0)  # core and rim
    edema_mm: Range = (5.0, 20.0)  # reach of the edema in white matter
    core_share: Range = (0.45, 0.85)  # radius of the necrotic core relative to the radius
    push: Range = (0.25, 0.5)  # mass effect: shift at the border relative to the radius
    reach_mm: Range = (18.0, 28.0)  # how far the mass effect fades
    core_level: Range = (0.25, 0.75)  # 0 fluid, 1 gray matter
    rim_level: Range = (0.75, 1.05)  # 0 fluid, 1 gray matter
    edema_level: Range = (0.70, 1.00)  # 0 fluid, 1 gray matter
    edema_strength: Range = (0.65, 0.95)  # share of the signal that edema replaces
    mottling: float = 0.10  # rms of the texture inside, relative to white matter


@dataclass(frozen=True)
class StrokeRanges:
    """Chronic stroke (stands for ATLAS v2)."""

    volume_ml: tuple[float, float, float, float] = (18.0, 0.9, 3.0, 120.0)  # median, σ(log), clip
    pull_mm: Range = (0.5, 2.5)
    cavity_level: Range = (0.0, 0.25)  # 0 fluid, 1 gray matter
    rim_level: Range = (0.45, 0.85)  # gliotic tissue
    rim_width: Range = (0.05, 0.15)  # on the level function, about 20 mm per unit
    strands: Range = (-1.8, -0.3)  # surviving tissue inside the cavity, larger is more
    mottling: float = 0.05


@dataclass(frozen=True)
class SclerosisRanges:
    """Multiple sclerosis (stands for MSLUB)."""

    count: tuple[int, int] = (8, 30)
    radius_mm: tuple[float, float, float, float] = (3.5, 0.35, 1.8, 6.5)  # median, σ(log), clip
    level: Range = (0.6, 1.0)  # 0 white matter, 1 gray matter
    mottling: float = 0.03


def _lognormal(rng: np.random.Generator, draw: tuple[float, float, float, float]) -> float:
    median, spread, low, high = draw
    return float(np.clip(median * np.exp(spread * rng.standard_normal()), low, high))


def _between(csf: float, gray: float, level: float) -> float:
    return csf + level * (gray - csf)


def _radial_shift(
    points: np.ndarray, center: np.ndarray, radius: float, amount: float, reach: float
) -> np.ndarray:
    """Shift (N, 3) away from a center: linear inside the radius, exponential decay outside."""
    offset = points - center
    distance = np.linalg.norm(offset, axis=1) + 1e-6
    size = amount * np.where(
        distance < radius, distance / radius, np.exp(-(distance - radius) / reach)
    )
    return (offset * (size / distance)[:, None]).astype(np.float32)


def _stiff_skull(points: np.ndarray, head: Head) -> np.ndarray:
    """1 in the depth of the brain, 0 at its surface, which nothing can push out."""
    depth = load_template().sample("depth", head.to_template(points))
    return np.clip(depth / 14, 0, 1)[:, None].astype(np.float32)


def _pick(rng: np.random.Generator, allowed: np.ndarray, head: Head) -> np.ndarray:
    """A random position (3,) in the subject among voxels of the template's 2 mm maps."""
    candidates = np.argwhere(allowed)
    position = candidates[rng.integers(len(candidates))] * 2.0 + load_template().origin
    return head.to_subject(position)


def _cerebrum() -> tuple[np.ndarray, ...]:
    """2 mm maps of the template: x, y, z in mm, white matter share."""
    template = load_template()
    indices = np.indices(template.depth.shape, dtype=np.float32)
    x, y, z = (2 * part + start for part, start in zip(indices, template.origin, strict=True))
    return x, y, z, template.white[::2, ::2, ::2]


def _random_axes(rng: np.random.Generator, spread: float) -> np.ndarray:
    """3×3 matrix that turns a sphere into an ellipsoid of about the same volume."""
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    stretch = np.exp(spread * rng.standard_normal(3))
    return turn @ np.diag(stretch / np.prod(stretch) ** (1 / 3)) @ turn.T


class Healthy:
    """No lesion."""

    def __init__(self, rng: np.random.Generator, head: Head) -> None:
        self.info: dict[str, float] = {}

    def displacement(self, points: np.ndarray) -> np.ndarray:
        """Shift of the tissue in mm at positions in mm, both (N, 3)."""
        return np.zeros_like(points)

    def paint(self, tissue: Tissue, grid: Grid, inside: np.ndarray) -> np.ndarray:
        """Change ``tissue.value`` in place; the changed share (N,) of each voxel, 0 to 1."""
        return np.zeros(len(tissue.value), dtype=np.float32)


class Tumor(Healthy):
    """Core, rim and edema, with mass effect."""

    def __init__(
        self, rng: np.random.Generator, head: Head, ranges: TumorRanges | None = None
    ) -> None:
        self.head, self.ranges = head, ranges or TumorRanges()
        draw = {
            name: float(rng.uniform(*bounds))
            for name, bounds in vars(self.ranges).items()
            if isinstance(bounds, tuple)
        }
        radius = draw["radius_mm"]
        x, y, z, white = _cerebrum()
        allowed = (white > 0.4) & (z > -8) & (z < 56) & (load_template().depth > 0.7 * radius)
        allowed &= (np.abs(x) > 8 + 0.5 * radius) & ((z > 5) | (y > -55))
        self.center = _pick(rng, allowed, head)
        self.axes = _random_axes(rng, 0.15)
        self.info, self.rng = draw, rng

    def displacement(self, points: np.ndarray) -> np.ndarray:
        """Tissue moves away from the tumor, less near the skull."""
        radius = self.info["radius_mm"]
        amount = self.info["push"] * radius
        shift = _radial_shift(points, self.center, radius, amount, self.info["reach_mm"])
        return shift * _stiff_skull(points, self.head)

    def paint(self, tissue: Tissue, grid: Grid, inside: np.ndarray) -> np.ndarray:
        """Edema first, then rim, then core; see :meth:`Healthy.paint`."""
        info, head = self.info, self.head
        lumps, fine, fingers, mottle = (
            random_field(self.rng, grid, spacing)[inside] for spacing in (14, 6, 12, 5)
        )
        distance = np.linalg.norm((tissue.points - self.center) @ self.axes, axis=1)
        radius = info["radius_mm"]
        distance = distance - radius * (0.16 * lumps + 0.05 * fine)
        spread = info["edema_mm"] * np.clip(0.2 + 0.8 * tissue.white + 0.35 * fingers, 0, 1.6)
        edema = sigmoid((radius + spread - distance) / 1.0) * (1 - tissue.fluid)
        whole = sigmoid((radius - distance) / 0.8)
        core = sigmoid((radius * info["core_share"] * (1 + 0.12 * fine) - distance) / 1.0)
        swollen = _between(head.csf, head.gray, info["edema_level"]) * (1 + 0.04 * fine)
        texture = self.ranges.mottling * mottle
        rim = _between(head.csf, head.gray, info["rim_level"]) + 0.5 * texture
        dead = _between(head.csf, head.gray, info["core_level"]) + texture
        value = tissue.value
        value += info["edema_strength"] * edema * (swollen - value)
        value += whole * (rim - value)
        value += core * (dead - value)
        return np.maximum(edema, whole).astype(np.float32)


# Centers of vascular territories of the right hemisphere in MNI mm, and how often they are hit.
TERRITORIES: dict[str, tuple[tuple[float, float, float], float]] = {
    "middle, frontal": ((46, 22, 22), 3),
    "middle, precentral": ((48, -6, 40), 3),
    "middle, parietal": ((50, -32, 38), 3),
    "middle, angular": ((46, -58, 28), 2),
    "middle, temporal": ((58, -26, -4), 2),
    "middle, deep": ((30, 2, 8), 2),
    "anterior": ((10, 44, 28), 1),
    "anterior, paracentral": ((8, -14, 58), 1),
    "posterior, occipital": ((16, -84, 8), 2),
    "posterior, temporal": ((36, -54, -10), 1),
}


class Stroke(Healthy):
    """A cavity in a vascular territory, with a gliotic rim, and a slight pull."""

    def __init__(
        self, rng: np.random.Generator, head: Head, ranges: StrokeRanges | None = None
    ) -> None:
        self.head, self.ranges = head, ranges or StrokeRanges()
        centers = np.array([center for center, _ in TERRITORIES.values()])
        weights = np.array([weight for _, weight in TERRITORIES.values()], dtype=float)
        number = int(rng.choice(len(centers), p=weights / weights.sum()))
        side = float(rng.choice([-1.0, 1.0]))
        centers = np.concatenate([centers * [side, 1, 1], centers * [-side, 1, 1]])
        centers = centers + 4 * rng.standard_normal(centers.shape)
        self.number, self.centers = number, head.to_subject(centers)
        apex = np.array([side * 18, 0.55 * centers[number][1] - 5, 14])
        self.apex = head.to_subject(apex)
        self.info = {
            "volume_ml": _lognormal(rng, self.ranges.volume_ml),
            "territory": number,
            "side": side,
        }
        for name in ("pull_mm", "cavity_level", "rim_level", "rim_width", "strands"):
            self.info[name] = float(rng.uniform(*getattr(self.ranges, name)))
        self.rng = rng

    def displacement(self, points: np.ndarray) -> np.ndarray:
        """Tissue moves toward the cavity."""
        volume = self.info["volume_ml"]
        radius = 10 * (volume * 3 / (4 * np.pi)) ** (1 / 3)
        amount = -self.info["pull_mm"] * min(1.0, (volume / 50) ** (1 / 3))
        shift = _radial_shift(points, self.centers[self.number], radius, amount, 20.0)
        return shift * _stiff_skull(points, self.head)

    def _level(self, tissue: Tissue, grid: Grid, inside: np.ndarray) -> np.ndarray:
        """Smaller is earlier hit: near the territory's center, in a wedge open to the surface."""
        points, own_center = tissue.points, self.centers[self.number]
        distances = np.stack([np.linalg.norm(points - center, axis=1) for center in self.centers])
        own = distances[self.number]
        other = np.delete(distances, self.number, axis=0).min(axis=0)
        axis = (own_center - self.apex) / np.linalg.norm(own_center - self.apex)
        offset = points - self.apex
        cosine = offset @ axis / (np.linalg.norm(offset, axis=1) + 1e-6)
        angle = np.arccos(np.clip(cosine, -1, 1))
        lumps = random_field(self.rng, grid, 13)[inside]
        fine = random_field(self.rng, grid, 6)[inside]
        level = own / 28 + 0.5 * angle + np.clip((own - other) / 12, 0, None)
        level = level + 0.20 * lumps + 0.07 * fine + np.clip(tissue.depth, 0, None) / 60
        return level + 9.0 * ((tissue.ventricle < 1.0) | (tissue.depth < 0))

    def paint(self, tissue: Tissue, grid: Grid, inside: np.ndarray) -> np.ndarray:
        """Gliotic tissue first, then the cavity; see :meth:`Healthy.paint`."""
        info, head = self.info, self.head
        level = self._level(tissue, grid, inside)
        voxels = int(round(info["volume_ml"] * 1000 / grid.voxel_mm**3))
        border = np.partition(level, voxels)[voxels]
        strands, mottle = (random_field(self.rng, grid, spacing)[inside] for spacing in (7, 4.5))
        whole = sigmoid((border - level) / 0.03)
        cavity = sigmoid((border - info["rim_width"] - level) / 0.03)
        cavity = cavity * sigmoid((strands - info["strands"]) / 0.25)
        texture = self.ranges.mottling * mottle
        scar = _between(head.csf, head.gray, info["rim_level"]) + texture
        fluid = _between(head.csf, head.gray, info["cavity_level"]) + 0.5 * texture
        value = tissue.value
        value += whole * (np.minimum(value, scar) - value)
        value += cavity * (np.minimum(value, fluid) - value)
        return whole.astype(np.float32)


class Sclerosis(Healthy):
    """Many small ovoid lesions in white matter."""

    def __init__(
        self, rng: np.random.Generator, head: Head, ranges: SclerosisRanges | None = None
    ) -> None:
        self.head, self.ranges, self.rng = head, ranges or SclerosisRanges(), rng
        low, high = self.ranges.count
        count = int(rng.integers(low, high + 1))
        _, _, z, white = _cerebrum()
        ventricle = load_template().ventricle
        cerebrum = (z > -20) & (z < 60)
        places = [
            (white > 0.75) & (ventricle > 1.5) & (ventricle < 9) & cerebrum,
            (white > 0.55) & (white < 0.85) & (ventricle > 15) & cerebrum,
            (white > 0.9) & (ventricle > 9) & cerebrum,
        ]
        self.lesions = []
        for _ in range(count):
            place = places[int(rng.choice(3, p=[0.55, 0.2, 0.25]))]
            center = _pick(rng, place, head)
            radius = _lognormal(rng, self.ranges.radius_mm)
            strength = float(rng.uniform(*self.ranges.level))
            self.lesions.append((center, radius, _random_axes(rng, 0.22), strength))
        self.info = {"count": count}

    def paint(self, tissue: Tissue, grid: Grid, inside: np.ndarray) -> np.ndarray:
        """White matter turns gray; see :meth:`Healthy.paint`."""
        fine = random_field(self.rng, grid, 5)[inside]
        texture = self.ranges.mottling * fine
        changed = np.zeros(len(tissue.value), dtype=np.float32)
        for center, radius, axes, strength in self.lesions:
            near = np.flatnonzero(np.abs(tissue.points - center).max(axis=1) < 2.5 * radius + 3)
            distance = np.linalg.norm((tissue.points[near] - center) @ axes, axis=1)
            share = sigmoid((radius * (1 + 0.15 * fine[near]) - distance) / 0.6)
            share = share * sigmoid((tissue.white[near] - 0.35) / 0.08)
            value = tissue.value[near]
            gray = value + strength * (self.head.gray + texture[near] - value)
            tissue.value[near] = value + share * (np.minimum(gray, value) - value)
            changed[near] = np.maximum(changed[near], share)
        return changed
