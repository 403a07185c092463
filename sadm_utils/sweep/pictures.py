"""One slice of each test set with the maps of all methods: ``results/slices.npz`` of a sweep.

Chapters 6 and 8 keep the maps of one common subject (``kept_case``, ``kept_subject``); here its
slice with most lesion is cut out of each. Only the first chain of the plan is looked at: the first
variant, seed and fold. A method that is not finished there is left out.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sadm_utils.errors import UserError, writing
from sadm_utils.evaluation.scoring import scores
from sadm_utils.evaluation.stage import kept_case
from sadm_utils.sweep.points import points_folder

FILE, PARTS = "slices.npz", ("names", "planes", "scales", "place")
STEPS = 255
TOP = 99.8
"""Percentile of a map over its volume at which its colors end, as in chapter 6."""
ALWAYS_THE_SAME = (1980, 1, 1, 0, 0, 0)
Row = tuple[str, str]
"""(method, annotations): a row of the table."""


@dataclass(frozen=True)
class Picture:
    """A slice of one subject; arrays are (H, W) float32.

    Attributes
    ----------
    index
        Number of the slice in its volume.
    image, annotation
        The scan in [0, 1] and its lesion mask {0, 1}.
    maps, reconstructions
        The anomaly map of each row of the table, and what it rebuilds, if it does.
    tops
        For each map the value at which its colors end: :data:`TOP` over the whole volume.
    """

    subject: str
    index: int
    image: np.ndarray
    annotation: np.ndarray
    maps: dict[Row, np.ndarray] = field(default_factory=dict)
    reconstructions: dict[Row, np.ndarray] = field(default_factory=dict)
    tops: dict[Row, float] = field(default_factory=dict)

    def add(self, row: Row, score: np.ndarray, rebuilt: np.ndarray | None = None) -> None:
        """Cut the slice out of a method's volumes, (H, W, D)."""
        self.maps[row] = score[:, :, self.index].astype(np.float32)
        self.tops[row] = float(np.percentile(score, TOP)) or 1.0
        if rebuilt is not None:
            self.reconstructions[row] = rebuilt[:, :, self.index].astype(np.float32)


def write_pictures(plan: Mapping[str, Any], records: Mapping[str, Any], folder: Path) -> None:
    """Write the slices of a sweep's finished points into its ``results``, if maps were kept.

    Parameters
    ----------
    plan, records
        The sweep's plan, and the records of its finished points by their ids.
    folder
        The sweep's folder.
    """
    pictures: dict[str, Picture] = {}
    # Chapter 6 first: it decides which subject it is.
    own = [p for p in plan["chains"][0]["results"] if p in records]
    for point in sorted(own, key=lambda p: not _is_chapter_6(records[p])):
        stage = points_folder(folder) / point / records[point]["stages"][-1]
        try:
            _add_point(pictures, stage, records[point])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(
                f"The maps in {stage} cannot be read ({error}): delete {stage.parent} and run the "
                "sweep again."
            ) from None
    target = folder / "results" / FILE
    with writing(target):
        if not pictures:  # what is there is of an earlier collecting
            target.unlink(missing_ok=True)
            return
        part = target.with_name(f".{FILE}.part")
        part.write_bytes(pack(pictures))
        part.replace(target)


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


def pack(pictures: Mapping[str, Picture]) -> bytes:
    """Pictures by test set as the bytes of an ``.npz``: the same ones make the same bytes.

    For each set ``names`` (n, 3) text (kind, method, annotations), ``planes`` (n, H, W) uint8,
    ``scales`` (n, 3): the values of 0 and of 255, and where the colors end; and ``place``: subject
    and slice as text. No array is pickled.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for test_set, picture in pictures.items():
            for part, array in _arrays(picture).items():
                member = zipfile.ZipInfo(f"{test_set}/{part}.npy", ALWAYS_THE_SAME)
                member.compress_type = zipfile.ZIP_DEFLATED
                with file.open(member, "w") as target:
                    np.lib.format.write_array(target, array, allow_pickle=False)
    return stream.getvalue()


def _arrays(picture: Picture) -> dict[str, np.ndarray]:
    """A picture as arrays of numbers and text."""
    planes = {("image", "", ""): picture.image, ("annotation", "", ""): picture.annotation}
    planes |= {("score", *row): plane for row, plane in picture.maps.items()}
    planes |= {("reconstruction", *row): plane for row, plane in picture.reconstructions.items()}
    ends = [(float(plane.min()), float(plane.max())) for plane in planes.values()]
    steps = [
        np.round((plane - low) / ((high - low) or 1.0) * STEPS).astype(np.uint8)
        for plane, (low, high) in zip(planes.values(), ends, strict=True)
    ]
    tops = [picture.tops.get(name[1:], 1.0) if name[0] == "score" else 1.0 for name in planes]
    return {
        "names": np.array(list(planes), str),
        "planes": np.stack(steps),
        "scales": np.array([(*end, top) for end, top in zip(ends, tops, strict=True)]),
        "place": np.array([picture.subject, str(picture.index)], str),
    }


def read_pictures(file: Path) -> dict[str, Picture] | None:
    """Read what :func:`write_pictures` has written, by test set; None if there is no file.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    if not file.exists():
        return None
    try:
        with np.load(file, allow_pickle=False) as arrays:
            sets = dict.fromkeys(name.split("/")[0] for name in arrays.files)
            return {
                name: _unpack({part: arrays[f"{name}/{part}"] for part in PARTS}) for name in sets
            }
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise UserError(f"{file} is damaged: collect the sweep again.") from None


def _unpack(arrays: Mapping[str, np.ndarray]) -> Picture:
    """The picture of :func:`_arrays`, but for rounding to 1/255 of each plane's range."""
    planes: dict[str, dict[Row, np.ndarray]] = {}
    tops: dict[Row, float] = {}
    rows = zip(arrays["names"].tolist(), arrays["planes"], arrays["scales"].tolist(), strict=True)
    for (kind, method, source), steps, (low, high, top) in rows:
        values = (low + steps / np.float32(STEPS) * (high - low)).astype(np.float32)
        planes.setdefault(kind, {})[method, source] = values
        if kind == "score":
            tops[method, source] = top
    (image,), (annotation,) = planes["image"].values(), planes["annotation"].values()
    subject, index = arrays["place"].tolist()
    maps, rebuilt = planes.get("score", {}), planes.get("reconstruction", {})
    return Picture(subject, int(index), image, annotation, maps, rebuilt, tops)
