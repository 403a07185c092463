"""The folders and CSV files that every data tier shares: phantom, open and full sets.

``Train/ixi/{t1,mask}``, ``Test/<SET>/{t1,mask,seg}`` and ``splits/*.csv`` (METHOD.md, "Data sets").
Paths in the CSV files are relative to the data folder and start with a slash.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import pandas as pd

from sadm_utils.errors import UserError

COLUMNS = ("img_name", "age", "label", "img_path", "mask_path", "seg_path")
SETS = {
    "Brats21": "brain tumor",
    "ATLAS": "chronic stroke",
    "MSLUB": "multiple sclerosis",
    "WMH": "white-matter hyperintensities",
}
ALIASES = {"ATLAS": "ATLAS_v2"}
"""Names of sets in the lists that the paper's authors released, where they differ."""


def check_data_dir(data_dir: str | Path) -> Path:
    """Return the data folder, or say in one sentence why it is none."""
    path = Path(data_dir)
    if not path.is_dir():
        raise UserError(
            f"DATA_DIR {path} does not exist: name the folder that holds Train, Test and splits, "
            "or leave DATA_DIR empty to use the built-in phantom cohort."
        )
    if not (path / "splits").is_dir():
        raise UserError(
            f"DATA_DIR {path} has no folder 'splits': name the folder that holds Train, Test and "
            "splits, or prepare raw scans first (notebook 01)."
        )
    return path


def split_path(data_dir: str | Path, name: str) -> Path:
    """File of a split, e.g. ``IXI_train_fold0`` or ``Brats21_test``.

    ``ATLAS_test`` is ``ATLAS_v2_test.csv`` where only that is there, as in the released lists.
    """
    path = Path(data_dir) / "splits" / f"{name}.csv"
    set_name, _, part = name.rpartition("_")
    other = path.with_name(f"{ALIASES.get(set_name, set_name)}_{part}.csv")
    return other if other.is_file() and not path.is_file() else path


def available_splits(data_dir: str | Path) -> list[str]:
    """Names of all splits of a data folder, sorted; other CSV files are left out."""
    folder = check_data_dir(data_dir) / "splits"
    names = {p.stem for p in folder.glob("*.csv") if not p.name.startswith(".")}
    for name, alias in ALIASES.items():
        names = {n.replace(alias, name) if n.startswith(f"{alias}_") else n for n in names}
    return sorted(n for n in names if n.startswith("IXI_") or n.endswith(("_val", "_test")))


def available_sets(data_dir: str | Path) -> dict[str, list[str]]:
    """Sick sets with at least one split: ``{"Brats21": ["Brats21_test", "Brats21_val"], ...}``."""
    names = available_splits(data_dir)
    found = {key: [n for n in names if n in (f"{key}_val", f"{key}_test")] for key in SETS}
    return {key: value for key, value in found.items() if value}


def read_split(data_dir: str | Path, name: str, *, check_files: bool = True) -> pd.DataFrame:
    """Read ``splits/<name>.csv`` and resolve its files.

    Parameters
    ----------
    data_dir
        The data folder.
    name
        Name of the split without ``.csv``.
    check_files
        Refuse rows whose files do not exist.

    Returns
    -------
    pandas.DataFrame
        The CSV's columns (``label`` int, ``age`` float or NaN), and ``subject``, ``image_file``,
        ``mask_file``, ``seg_file`` (str; empty for none). Repeated images are dropped; their number
        is ``frame.attrs["duplicates"]``.

    Raises
    ------
    UserError
        The CSV is missing, empty or lacks a column, a file that it names is missing, or a sick
        subject (label 1) has no lesion mask.
    """
    path = split_path(check_data_dir(data_dir), name)
    frame = _read_csv(path, data_dir)
    frame["age"] = pd.to_numeric(frame["age"], errors="coerce")
    labels = pd.to_numeric(frame["label"], errors="coerce")
    if not labels.isin([0, 1]).all():
        row = int((~labels.isin([0, 1])).to_numpy().argmax())
        raise UserError(
            f"{path} line {row + 2} has label {frame['label'].iloc[row]!r}: "
            "write 0 (healthy) or 1 (sick)."
        )
    frame["label"] = labels.astype(int)
    frame["subject"] = [subject_of(value) for value in frame["img_name"]]
    for column in ("img", "mask", "seg"):
        target = "image_file" if column == "img" else f"{column}_file"
        frame[target] = [
            str(Path(data_dir) / value.lstrip("/")) if value else ""
            for value in frame[f"{column}_path"]
        ]
    duplicated = frame["img_path"].duplicated()
    frame = frame[~duplicated]
    if check_files:
        _check_rows(frame, path)
    frame = frame.reset_index(drop=True)
    frame.attrs["duplicates"] = int(duplicated.sum())
    return frame


def write_split(data_dir: str | Path, name: str, rows: Iterable[dict]) -> Path:
    """Write ``splits/<name>.csv`` from rows with (at least) :data:`COLUMNS`, all or nothing."""
    from sadm_utils.data.io import write_atomic

    path = split_path(data_dir, name)
    frame = pd.DataFrame(list(rows))
    frame = frame[[*COLUMNS, *(c for c in frame.columns if c not in COLUMNS)]]
    with write_atomic(path) as temporary:
        frame.to_csv(temporary, index=False)
    return path


def subject_of(img_name: str) -> str:
    """Subject of an image name: file extension and a trailing ``_t1`` are no part of it."""
    name = img_name.removesuffix(".gz").removesuffix(".nii")
    for suffix in ("_t1", "_T1", "_t1w", "_T1w"):
        name = name.removesuffix(suffix)
    return name


def check_disjoint(splits: dict[str, pd.DataFrame]) -> list[str]:
    """Find subjects that occur in more than one split.

    Parameters
    ----------
    splits
        Name of the split to its frame of :func:`read_split`.

    Returns
    -------
    list of str
        One sentence for each overlapping pair; empty if the splits are disjoint.
    """
    sentences = []
    for (one, left), (two, right) in combinations(splits.items(), 2):
        shared = sorted(set(left["subject"]) & set(right["subject"]))
        if shared:
            some = ", ".join(shared[:3]) + (", ..." if len(shared) > 3 else "")
            noun = "subject" if len(shared) == 1 else "subjects"
            sentences.append(f"{one} and {two} share {len(shared)} {noun}: {some}.")
    return sentences


def _read_csv(path: Path, data_dir: str | Path) -> pd.DataFrame:
    if not path.is_file():
        known = ", ".join(available_splits(data_dir)) or "none"
        raise UserError(f"{path} does not exist: this data folder has the splits {known}.")
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is empty or no CSV file: write the columns {', '.join(COLUMNS)}."
        ) from error
    lacking = [column for column in COLUMNS if column not in frame.columns]
    if lacking:
        raise UserError(f"{path} lacks the column {', '.join(lacking)}: add it to the header line.")
    if frame.empty:
        raise UserError(f"{path} lists no subject: add rows, or remove the file.")
    return frame


def _check_rows(frame: pd.DataFrame, path: Path) -> None:
    """Refuse the first row whose files are not there. Line numbers count the header as line 1."""
    for index, row in frame.iterrows():
        line = int(index) + 2
        for column in ("image_file", "mask_file", "seg_file"):
            file = row[column]
            needed = column != "seg_file" or row["label"] == 1
            if not file and needed:
                raise UserError(
                    f"{path} line {line} ({row['img_name']}) leaves "
                    f"{column.replace('image_file', 'img_file').replace('_file', '_path')} empty: "
                    "write the path, relative to the data folder."
                )
            if file and not Path(file).is_file():
                raise UserError(
                    f"{path} line {line} names {file}, which does not exist: "
                    "restore the file or remove the line."
                )
