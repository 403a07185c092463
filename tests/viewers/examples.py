"""A small brain with a lesion, and each viewer of it."""

from __future__ import annotations

import numpy as np

from sadm_utils import viewers
from sadm_utils.evaluation.metrics import volume_metrics
from sadm_utils.sadm.fusion import fuse
from sadm_utils.viewers.viewer import Viewer

SHAPE = (26, 32, 9)
BETAS = (0.0, 0.25, 0.5, 0.75, 1.0)


def brain() -> dict[str, np.ndarray]:
    """Image, brain mask, lesion, and two anomaly maps in float32, all (X, Y, Z)."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    mask = np.sqrt((grid**2).sum(0)) < 0.95
    lesion = (np.sqrt(((grid - 0.2) ** 2).sum(0)) < 0.35) & mask
    image = np.clip(0.5 + 0.3 * grid[0] + 0.05 * rng.standard_normal(SHAPE), 0, 1) * mask
    residual = np.abs(0.2 * rng.standard_normal(SHAPE) + 0.35 * lesion) * mask
    supervised = np.clip(0.9 * np.roll(lesion, 2, axis=1) + 0.1 * rng.random(SHAPE), 0, 1) * mask
    maps = {"image": image, "residual": residual, "supervised": supervised}
    found = {name: values.astype(np.float32) for name, values in maps.items()}
    return {**found, "mask": mask.astype(np.uint8), "seg": lesion.astype(np.uint8)}


def threshold() -> Viewer:
    """The threshold over the fused map, starting at 0.5."""
    b = brain()
    score = fuse(b["residual"], b["supervised"])
    return viewers.threshold_viewer(
        b["image"], score, b["seg"], b["mask"], start=0.5, alt="The decision at a threshold."
    )


def all_viewers() -> dict[str, Viewer]:
    """Each of the six, by name."""
    b, rng = brain(), np.random.default_rng(1)
    image, seg, k = b["image"], b["seg"], SHAPE[2] // 2
    plane, lesion, shape = image[:, :, k], seg[:, :, k], SHAPE[:2]
    scores = {beta: fuse(b["residual"], b["supervised"], beta) for beta in BETAS}
    results = {beta: volume_metrics(score, seg) for beta, score in scores.items()}
    noise = {t: rng.standard_normal(shape) for t in range(100, 1000, 200)}
    noisy = {t: np.clip(plane + t / 1000 * n, 0, 1) for t, n in noise.items()}
    rebuilt = {t: np.clip(plane + t / 9000 * n, 0, 1) for t, n in noise.items()}
    seen = {f"{h} of 4": rng.random((3, *shape)) > h / 4 for h in (1, 2, 3)}
    painted = {name: rng.random((3, *shape)) for name in seen}
    fields = {f"{n} × {n}": np.clip(0.5 * rng.standard_normal(shape), -1, 1) for n in (2, 4, 8)}
    textures = {name: rng.random(shape) for name in fields}
    return {
        "slices": viewers.slice_viewer(image, scores[0.5], seg, alt="A map over a brain."),
        "threshold": threshold(),
        "fusion": viewers.fusion_viewer(image, scores, results, seg, alt="A fused map."),
        "noise": viewers.noise_viewer(plane, noisy, rebuilt, lesion, alt="A slice under noise."),
        "masks": viewers.mask_viewer(plane, seen, painted, alt="A slice with holes."),
        "anomalies": viewers.anomaly_viewer(
            plane, fields, textures, b["mask"][:, :, k], alt="A slice <with> an anomaly."
        ),
    }
