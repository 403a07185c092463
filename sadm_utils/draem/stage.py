"""The stage ``draem``: what the synthetic anomalies of a run look like in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import ndimage
from torch.utils.data import default_collate

from sadm_utils import device
from sadm_utils.config import to_dict
from sadm_utils.data.slices import SliceDataset
from sadm_utils.data.stage import healthy, open_data
from sadm_utils.draem.synthesis import DraemSynthesizer
from sadm_utils.runs import Run, compute_once

DRAWS, DRAW_SALT = 600, 17
#: Side of the slices in the paper, at which the released code was measured.
PAPER_SIZE = 96
#: Masks of the released code: 600 draws at 96×96 pixels, not restricted to the brain.
RELEASED = {
    "area_mean": 4.1,
    "area_median": 3.5,
    "area_p90": 7.0,
    "area_max": 31.0,
    "empty": 6.0,
    "components_mean": 42.0,
    "components_median": 17.0,
}


def build_synthesizer(run: Run, **changes: Any) -> DraemSynthesizer:
    """The synthesizer of a run's configuration, with some of its settings changed."""
    return DraemSynthesizer(**{**to_dict(run.config.draem), **changes})


def healthy_slices(run: Run, count: int, part: str = "train") -> dict[str, torch.Tensor]:
    """Random healthy slices without augmentation.

    Returns
    -------
    dict of Tensor
        ``image`` (count, 1, H, W) in [0, 1] and ``mask`` (count, 1, H, W) in {0, 1}, float32.
    """
    volumes = healthy(run, open_data(run), part)
    share = -(-count // len(volumes))
    dataset = SliceDataset(volumes, seed=run.seed, slices_per_volume=share)
    order = np.random.default_rng(run.seed).permutation(len(dataset))[:count]
    items = default_collate([dataset[int(i)] for i in order])
    return {name: items[name] for name in ("image", "mask")}


def mask_table(mask: torch.Tensor, brain: torch.Tensor | None = None) -> pd.DataFrame:
    """Measure anomaly masks one by one.

    Parameters
    ----------
    mask : Tensor
        (B, 1, H, W) in {0, 1}.
    brain : Tensor, optional
        (B, 1, H, W) in {0, 1}.

    Returns
    -------
    DataFrame
        A row a mask: ``area`` in percent of the slice, ``components`` (of pixels that touch by
        side or corner), and with ``brain`` also ``outside``, the percentage of anomalous pixels
        outside of the brain (NaN for an empty mask).
    """
    arrays = mask[:, 0].cpu().numpy() > 0.5
    touching = np.ones((3, 3))
    rows = {
        "area": 100 * arrays.mean(axis=(1, 2)),
        "components": [ndimage.label(array, touching)[1] for array in arrays],
    }
    if brain is not None:
        total = arrays.sum(axis=(1, 2))
        out = (arrays & (brain[:, 0].cpu().numpy() < 0.5)).sum(axis=(1, 2))
        rows["outside"] = np.where(total > 0, 100 * out / np.maximum(total, 1), np.nan)
    return pd.DataFrame(rows)


def summarize_masks(rows: pd.DataFrame) -> dict[str, float]:
    """Summarize a :func:`mask_table` with the keys of :data:`RELEASED` (areas in percent)."""
    area, components = rows["area"], rows["components"]
    summary = {
        "area_mean": area.mean(),
        "area_median": area.median(),
        "area_p90": area.quantile(0.9),
        "area_max": area.max(),
        "empty": 100 * (area == 0).mean(),
        "components_mean": components.mean(),
        "components_median": components.median(),
    }
    if "outside" in rows:
        summary["outside_mean"] = rows["outside"].mean()
    return {name: round(float(value), 4) for name, value in summary.items()}


def measure_draem(run: Run) -> dict[str, Any]:
    """Measure the masks of 600 draws in three settings, or reuse the finished stage.

    ``metrics`` of the record hold a summary for each: ``same`` (96×96 pixels, the released code's
    setting), ``anywhere`` (slices of this run, not restricted to the brain) and ``run`` (slices and
    settings of this run).
    """
    settings = {"draem": to_dict(run.config.draem), "draws": DRAWS}

    def compute() -> Mapping[str, Any]:
        slices = healthy_slices(run, DRAWS)
        paper = torch.zeros(DRAWS, 1, PAPER_SIZE, PAPER_SIZE)
        released = DraemSynthesizer(brain_only=False)
        cases = {
            "same": (released, paper, None),
            "anywhere": (released, slices["mask"], slices["mask"]),
            "run": (build_synthesizer(run), slices["mask"], slices["mask"]),
        }
        metrics: dict[str, Any] = {}
        for number, (name, (synthesizer, canvas, brain)) in enumerate(cases.items()):
            draw = device.generator(run.seed, DRAW_SALT, number)
            _, mask = synthesizer.draw_anomalies(canvas, draw)
            metrics[name] = summarize_masks(mask_table(mask, brain))
        return metrics

    return compute_once(run.stage("draem", settings, ["data"]), compute)
