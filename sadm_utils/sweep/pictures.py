"""One slice of each test set with the maps of all methods: ``results/slices.npz`` of a sweep.

Chapters 6 and 8 keep the maps of one common subject (``kept_case``, ``kept_subject``); here its
slice with most lesion is cut out of each. Only the first chain of the plan is looked at: the first
variant, seed and fold. A method that is not finished there is left out.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sadm_utils.errors import writing
from sadm_utils.evaluation.scoring import scores
from sadm_utils.evaluation.stage import kept_case
from sadm_utils.records import write_atomic
from sadm_utils.sweep.points import FINISHED, points_folder
from sadm_utils.sweep.slices import FILE, Picture, Row, pack


def write_pictures(
    plan: Mapping[str, Any], records: Mapping[str, Any], folder: Path
) -> list[str]:
    """Write the slices of a sweep's finished points into its ``results``, if maps were kept.

    A point whose maps cannot be read is left out: a sentence for each is returned.

    Parameters
    ----------
    plan, records
        The sweep's plan, and the records of its finished points by their ids.
    folder
        The sweep's folder.
    """
    pictures: dict[str, Picture] = {}
    unread = []
    # Chapter 6 first: it decides which subject it is.
    own = [p for p in plan["chains"][0]["results"] if p in records]
    for point in sorted(own, key=lambda p: not _is_chapter_6(records[p])):
        stage = points_folder(folder) / point / records[point]["stages"][-1]
        try:
            _add_point(pictures, stage, records[point])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            unread.append(
                f"The maps in {stage} cannot be read ({error}), and are missing in the pictures: "
                f"delete {stage} and {stage.parent / FINISHED}, and run the sweep again."
            )
    target = folder / "results" / FILE
    with writing(target):
        if not pictures:  # what is there is of an earlier collecting
            target.unlink(missing_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, pack(pictures))
    return unread


def _is_chapter_6(record: Mapping[str, Any]) -> bool:
    return record["notebook"].startswith("06")


def _add_point(pictures: dict[str, Picture], stage: Path, record: Mapping[str, Any]) -> None:
    """The rows of one point, in the test sets of which it has kept maps."""
    for maps in sorted(p for p in stage.glob("maps/*") if p.is_dir()):
        if _is_chapter_6(record):
            _add_chapter_6(pictures, maps, int(record["settings"]["evaluation.median"]))
        else:
            row = pd.read_csv(stage / "subjects.csv", nrows=1, dtype=str, keep_default_na=False)
            _add_chapter_8(pictures, maps, (row["method"][0], row["annotations"][0]))


def _add_chapter_6(pictures: dict[str, Picture], folder: Path, median: int) -> None:
    """The rows of chapter 6 for the subject of a test set that it shows."""
    maps = kept_case(folder)
    if maps is None:
        return
    picture = pictures[folder.name] = _picture(maps.subject, maps.image, maps.seg)
    for method, source, score in scores(maps, median):
        rebuilt = maps.reconstruction if method == "cDDPM" else None
        picture.add((method, source), score, rebuilt)


def _add_chapter_8(pictures: dict[str, Picture], folder: Path, row: Row) -> None:
    """The row of a comparison method, if it has kept the maps of the same subject."""
    for file in sorted(folder.glob("*.npz")):
        with np.load(file, allow_pickle=False) as arrays:
            maps = {name: arrays[name] for name in arrays.files}
        if folder.name not in pictures:
            pictures[folder.name] = _picture(file.stem, maps["image"], maps["seg"])
        picture = pictures[folder.name]
        if file.stem == picture.subject:
            score, rebuilt = maps["score"].astype(np.float32), maps.get("reconstruction")
            picture.add(row, score, rebuilt)


def _picture(subject: str, image: np.ndarray, seg: np.ndarray) -> Picture:
    """The slice with most lesion of a volume (H, W, D), still without maps."""
    k = int(np.argmax((seg > 0).sum(axis=(0, 1))))
    scan, lesion = image[:, :, k].astype(np.float32), (seg[:, :, k] > 0).astype(np.float32)
    return Picture(subject, k, scan, lesion)
