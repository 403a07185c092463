"""The manifest of a prepared data set: what each scan is like, and which ones stand out."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from sadm_utils.data.intensity import LIKE_T1
from sadm_utils.data.io import describe, write_atomic
from sadm_utils.data.scan import Registered

LOW_DICE = 0.93
"""Brains that overlap the template's less are worth a look."""

FAR = 4.0
"""Outliers lie this many robust standard deviations from the median of their set."""

FEWEST = 8
"""Sets with fewer subjects have no outliers, only low overlaps."""

WATCHED = ("dice", "contrast", "brain_ml", "median", "p99_over_median")
COLUMNS = (
    "subject", "set", "label", "age", "sex", "error", "flags", "dice", "contrast", "brain",
    "brain_ml", "lesion_ml", "lesion_mni_ml", "shape", "spacing", "orientation", "p1", "median",
    "p99", "p99_over_median", "template", "notes", "seconds", "sha256", "image", "mask", "lesion",
    "picture",
)  # fmt: skip


def describe_registered(path: str | Path, registered: Registered) -> dict:
    """Facts about a registered scan, as JSON can hold them.

    Returns
    -------
    dict
        ``sha256`` of the scan's file; ``shape``, ``spacing`` and ``orientation`` of its grid;
        ``p1``, ``median`` and ``p99`` of the intensities in the brain (units of the scan);
        ``brain_ml`` in MNI space; ``lesion_ml`` in the scan's space and ``lesion_mni_ml`` carried
        back by the transform's volume change; ``dice`` and ``contrast`` of the registration, and
        the ``template``; what :func:`sadm_utils.data.native.map_to_native` needs: ``matrix``,
        ``native_shape``, ``native_affine`` and ``grid``.
    """
    inside = registered.image[registered.mask > 0]
    p1, median, p99 = (float(v) for v in np.percentile(inside, (1, 50, 99)))
    scale = abs(float(np.linalg.det(registered.matrix[:3, :3])))
    lesion = 0 if registered.seg is None else np.count_nonzero(registered.seg)
    return {
        "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        **describe(path),
        "p1": round(p1, 4), "median": round(median, 4), "p99": round(p99, 4),
        "p99_over_median": round(p99 / median, 4) if median else 0.0,
        "brain": registered.brain.source,
        "brain_ml": round(inside.size / 1000, 1),
        "lesion_ml": round(registered.lesion_ml, 3),
        "lesion_mni_ml": round(lesion * scale / 1000, 3),
        "dice": round(registered.dice, 4),
        "contrast": round(registered.contrast, 4),
        "template": registered.template.name if registered.template else "MNI152",
        "notes": " ".join((registered.brain.note, *registered.notes)).strip(),
        "matrix": registered.matrix.tolist(),
        "native_shape": list(registered.native_shape),
        "native_affine": registered.native_affine.tolist(),
        "grid": {"shape": list(registered.image.shape), "affine": registered.affine.tolist()},
    }  # fmt: skip


def flag_outliers(table: pd.DataFrame) -> list[str]:
    """Say of each subject what stands out: a poor fit, or numbers far from those of its set.

    Parameters
    ----------
    table
        Rows of the manifest; failed subjects have no numbers.

    Returns
    -------
    list of str
        One text for each row, empty for a subject like the others.
    """
    flags: list[list[str]] = [[] for _ in range(len(table))]
    for row, overlap in enumerate(table["dice"]):
        if overlap < LOW_DICE:
            flags[row].append(f"overlap {overlap:.2f}")
    for row, likeness in enumerate(table["contrast"]):
        if likeness < LIKE_T1:
            flags[row].append(f"contrast {likeness:.2f}, unlike T1")
    for name in WATCHED:
        values = table[name].astype(float)
        groups = values.groupby(table["set"])
        median = groups.transform("median")
        spread = 1.4826 * (values - median).abs().groupby(table["set"]).transform("median")
        enough = groups.transform("count") >= FEWEST
        far = enough & (spread > 0) & ((values - median).abs() > FAR * spread)
        for row in np.flatnonzero(far):
            flags[row].append(f"{name} {values.iloc[row]:.4g} (median {median.iloc[row]:.4g})")
    return ["; ".join(found) for found in flags]


def write_manifest(out: Path, records: list[dict]) -> pd.DataFrame:
    """Write ``manifest.csv`` from the records of all subjects, failed ones included."""
    table = pd.DataFrame([{c: r.get(c) for c in (*COLUMNS, "key")} for r in records])
    table["picture"] = [f"quality/{key.replace('/', '_')}.png" for key in table["key"]]
    numbers = [*WATCHED, "lesion_ml", "lesion_mni_ml", "age"]
    table[numbers] = table[numbers].astype(float)
    table["flags"] = flag_outliers(table)
    with write_atomic(out / "manifest.csv") as temporary:
        table[list(COLUMNS)].to_csv(temporary, index=False)
    return table
