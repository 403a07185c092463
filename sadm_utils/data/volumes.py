"""Read the slice store: the volumes of a split as memory-mapped arrays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sadm_utils.data.preprocess import Grid
from sadm_utils.errors import UserError

PARTS = {"image": np.float16, "mask": np.uint8, "seg": np.uint8}
"""The arrays of a split and their types on disk."""


@dataclass(frozen=True)
class Volumes:
    """Volumes of one split, memory-mapped.

    Attributes
    ----------
    image, mask, seg
        (N, D, H, W); float16 in [0, 1], uint8 {0, 1}, uint8 {0, 1}.
    subjects
        N names.
    label
        (N,) int: 0 healthy, 1 sick.
    table
        The split's rows of the manifest.
    """

    image: np.ndarray
    mask: np.ndarray
    seg: np.ndarray
    subjects: list[str]
    label: np.ndarray
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.subjects)

    def volume(self, index: int, part: str = "image") -> np.ndarray:
        """One volume as (H, W, D): float32 image, or uint8 ``mask`` or ``seg``."""
        array = np.asarray(getattr(self, part)[index]).transpose(1, 2, 0)
        return np.ascontiguousarray(array, dtype=np.float32 if part == "image" else np.uint8)

    def grid(self, index: int) -> Grid:
        """How volume ``index`` lies in its input file; for ``preprocess.restore_volume``."""
        record = json.loads(self.table["grid"].iloc[index])
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
        return Grid(**{**values, "affine": np.asarray(record["affine"])})

    def subset(self, rows: slice | list[int] | np.ndarray) -> Volumes:
        """Some of the volumes: a slice stays memory-mapped, a list of rows is copied."""
        index = np.arange(len(self))[rows]
        chosen = rows if isinstance(rows, slice) else index
        return Volumes(
            self.image[chosen],
            self.mask[chosen],
            self.seg[chosen],
            [self.subjects[i] for i in index],
            self.label[index],
            self.table.iloc[index].reset_index(drop=True),
        )


@dataclass(frozen=True)
class Store:
    """An opened store: ``store["IXI_train_fold0"]`` gives its :class:`Volumes`.

    ``store["IXI_train"]`` finds the same split if the store holds one fold only.
    """

    path: Path
    manifest: pd.DataFrame

    @property
    def splits(self) -> list[str]:
        """Names of the splits, in the order of the manifest."""
        return list(dict.fromkeys(self.manifest["split"]))

    def __contains__(self, name: object) -> bool:
        return self._resolve(str(name)) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.splits)

    def __getitem__(self, name: str) -> Volumes:
        split = self._resolve(name)
        if split is None:
            raise UserError(
                f"The store {self.path} has no split {name!r}: it has {', '.join(self.splits)}."
            )
        rows = self.manifest[self.manifest["split"] == split].reset_index(drop=True)
        arrays = [self._array(split, part, len(rows)) for part in PARTS]
        return Volumes(*arrays, list(rows["subject"]), rows["label"].to_numpy(), rows)

    def _resolve(self, name: str) -> str | None:
        if name in self.splits:
            return name
        folds = [split for split in self.splits if split.startswith(f"{name}_fold")]
        return folds[0] if len(folds) == 1 else None

    def _array(self, split: str, part: str, count: int) -> np.ndarray:
        file = self.path / f"{split}_{part}.npy"
        try:
            array = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{file} is missing or damaged: rerun notebook 01.") from error
        if array.ndim != 4 or len(array) != count or array.dtype != PARTS[part]:
            raise UserError(f"{file} does not fit its manifest: rerun notebook 01.")
        return array


def open_store(path: str | Path) -> Store:
    """Open a store that ``build_store`` has finished.

    Raises
    ------
    UserError
        There is none, it was left unfinished, or an older version of this book made it.
    """
    path = Path(path)
    file = path / "manifest.csv"
    if not file.is_file():
        raise UserError(f"{path} holds no finished slice store (manifest.csv): run notebook 01.")
    manifest = pd.read_csv(file, dtype={"subject": str, "split": str})
    if "image_sha256" not in manifest:
        raise UserError(f"{path} was made by an older version of this book: run notebook 01 again.")
    return Store(path, manifest)
