"""The file ``slices.npz``: one slice of each test set with the maps of all methods, in uint8."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sadm_utils.errors import UserError

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
    """Read what :func:`pack` has packed, by test set; None if there is no file.

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
