"""The files below a folder, read once, and the tables that describe people."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from sadm_utils.errors import UserError

NIFTI = (".nii.gz", ".nii")
OLDEST = 120


@dataclass(frozen=True)
class FileTree:
    """Every file below ``root``, sorted; folders that are reached twice are read once."""

    root: Path
    files: tuple[Path, ...]

    @cached_property
    def by_folder(self) -> dict[Path, list[Path]]:
        """Files of each folder."""
        folders: dict[Path, list[Path]] = defaultdict(list)
        for file in self.files:
            folders[file.parent].append(file)
        return folders

    @cached_property
    def volumes(self) -> list[Path]:
        """The NIfTI files."""
        return [file for file in self.files if file.name.endswith(NIFTI)]

    def beside(self, file: Path, *patterns: str) -> str:
        """First file in the folder of ``file`` whose name fits a pattern, or an empty string.

        Patterns are regular expressions for the whole name without ``.nii.gz``; earlier ones win.
        """
        return self.inside(file.parent, *patterns)

    def inside(self, folder: Path, *patterns: str) -> str:
        """First volume in ``folder`` whose name fits a pattern, or an empty string."""
        volumes = [f for f in self.by_folder.get(folder, []) if f.name.endswith(NIFTI)]
        for pattern in patterns:
            for file in volumes:
                if re.fullmatch(pattern, stem(file), re.IGNORECASE):
                    return str(file)
        return ""


def list_files(root: str | Path, leave_out: str | Path = "") -> FileTree:
    """List the files below a folder, links followed, hidden ones and ``leave_out`` passed over.

    Hidden files are the doubles that macOS writes (``._sub-01_T1w.nii.gz``), hidden folders the
    object stores of git. A folder that links back to one that was read is not read again.

    Raises
    ------
    UserError
        The folder, or one below it, does not exist or cannot be read.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root} does not exist: name the folder that holds the raw scans.")
    seen = {os.path.realpath(root)}
    files: list[Path] = []
    skip = os.path.realpath(leave_out) if leave_out else None
    for folder, folders, names in os.walk(root, onerror=_unreadable, followlinks=True):
        folders[:] = [
            name for name in sorted(folders)
            if not name.startswith(".") and _is_new(os.path.join(folder, name), seen, skip)
        ]
        files += [Path(folder) / name for name in names if not name.startswith(".")]
    return FileTree(root, tuple(sorted(files)))


def stem(file: Path) -> str:
    """Name of a volume without ``.nii`` or ``.nii.gz``, its umlauts written one way."""
    name = unicodedata.normalize("NFC", file.name)
    return name.removesuffix(".gz").removesuffix(".nii")


def is_here(file: str | Path) -> bool:
    """Whether a file has content here: a link of git-annex without its content has none."""
    return Path(file).exists()


def take_first(found: Iterable[tuple[str, Path]]) -> tuple[dict[str, Path], list[str]]:
    """One scan for each subject: the first, and a sentence for each subject that has more."""
    scans: dict[str, list[Path]] = defaultdict(list)
    for subject, file in found:
        scans[subject].append(file)
    notes = [
        f"{subject} has {len(files)} scans: {files[0]} is taken, "
        f"{', '.join(map(str, files[1:]))} {'is' if len(files) == 2 else 'are'} not."
        for subject, files in scans.items() if len(files) > 1
    ]
    return {subject: files[0] for subject, files in scans.items()}, notes


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a CSV, TSV or Excel table as text; empty cells are empty strings.

    Columns are separated by tabs, semicolons or commas, whichever the first line has most of.

    Raises
    ------
    UserError
        The table cannot be read, or a package for it is not installed.
    """
    path = Path(path)
    try:
        if path.suffix.lower() in (".xls", ".xlsx"):
            return pd.read_excel(path, dtype=str, keep_default_na=False)
        with open(path, encoding="utf-8-sig") as stream:
            header = stream.readline()
        return pd.read_csv(
            path, sep=max("\t;,", key=header.count), dtype=str, keep_default_na=False,
            encoding="utf-8-sig", skipinitialspace=True,
        )
    except ImportError as error:
        package = "xlrd" if path.suffix.lower() == ".xls" else "openpyxl"
        raise UserError(
            f"{path} needs the package {package} to be read: run 'pip install {package}', or save "
            "the table as CSV beside it."
        ) from error
    except (OSError, ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise UserError(f"{path} cannot be read as a table: save it as CSV in UTF-8.") from error


def parse_age(text: str) -> float | None:
    """Years from a cell: ``38.7``, ``38,7``, ``089Y`` or ``89+``; None for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:[.,]\d+)?)\s*[Yy+]?\s*", str(text))
    age = float(found[1].replace(",", ".")) if found else 0.0
    return age if 0 < age <= OLDEST else None


def parse_sex(text: str, female: str = "f", male: str = "m") -> str:
    """``F``, ``M`` or an empty string from a cell, by its first letter or a code."""
    first = str(text).strip().lower()[:1]
    return {female: "F", male: "M"}.get(first, "")


def _is_new(folder: str, seen: set[str], skip: str | None) -> bool:
    real = os.path.realpath(folder)
    if real in seen or real == skip:
        return False
    seen.add(real)
    return True


def _unreadable(error: OSError) -> None:
    raise UserError(
        f"{error.filename} cannot be read ({error.strerror}): change its permissions, or move it "
        "out of the folder."
    ) from error
