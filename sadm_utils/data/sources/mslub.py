"""MSLUB: 30 patients with multiple sclerosis, with lesion masks that three raters agreed on.

As its authors share it, a folder ``patient01`` holds ``patient01_T1W``, ``_T1WKS`` (with contrast
agent), ``_T2W``, ``_FLAIR``, ``_brainmask`` and ``_consensus_gt``, all on the grid of the FLAIR;
``raw`` holds the scans as acquired, on other grids than the masks. Copies of the set call the same
files ``T1``, ``T1W``, ``lesion_mask`` or ``consensus_gt``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from sadm_utils.data.sources.files import FileTree, parse_age, parse_sex, read_table
from sadm_utils.data.sources.table import Found, RawSubject, Release
from sadm_utils.errors import UserError

RELEASE = Release(
    "mslub", "MSLUB", 30, "CC BY",
    "Lesjak et al. 2018, Neuroinformatics 16:51-63",
    "free: 3D MR image database of multiple sclerosis patients, https://lit.fe.uni-lj.si/en/tools/",
    "patient*/patient*_T1W.nii.gz with patient*_consensus_gt.nii.gz",
)
FOLDER = re.compile(r"patient(\d{2})")


def find(tree: FileTree) -> Found:
    """Find the patients: the folder of each that holds a lesion mask."""
    folders: dict[str, list[Path]] = defaultdict(list)
    for folder in sorted(tree.by_folder):
        if FOLDER.fullmatch(folder.name):
            folders[folder.name].append(folder)
    people = _people(tree)
    subjects, missing = [], []
    for name, places in sorted(folders.items()):
        parts = max((_parts(tree, place, name) for place in places), key=_count)
        image, mask, lesion = parts
        if image and lesion:
            age, sex = people.get(name, (None, ""))
            subjects.append(RawSubject(name, "MSLUB", image, mask, lesion, age, sex, 1))
        elif image or lesion:
            lacking = "the lesion mask (_consensus_gt)" if image else "the T1 scan (_T1W)"
            missing.append(f"MSLUB: {lacking} of {name} is not in {places[0]}.")
    absent = sorted({f"patient{n:02d}" for n in range(1, 31)} - set(folders))
    if subjects and absent:
        missing.append(f"MSLUB: no folder of {', '.join(absent)}.")
    return Found(tuple(subjects), tuple(missing))


def _parts(tree: FileTree, folder: Path, name: str) -> tuple[str, str, str]:
    """T1 scan, brain mask and lesion mask of a patient's folder; empty for none."""
    return (
        tree.inside(folder, rf"({name}_)?T1W?", r"T1_.*_regtoMNI"),
        tree.inside(folder, rf"({name}_)?brain_?mask"),
        tree.inside(folder, rf"({name}_)?consensus_gt", "lesion_mask", "GOLD_STANDARD.*"),
    )


def _count(parts: tuple[str, str, str]) -> tuple[bool, bool]:
    return bool(parts[2]), bool(parts[0])


def _people(tree: FileTree) -> dict[str, tuple[float | None, str]]:
    """Age and sex by name, from a table of the folder whose cells name patients."""
    for file in tree.files:
        if file.suffix.lower() not in (".csv", ".tsv", ".xls", ".xlsx"):
            continue
        try:
            frame = read_table(file)
        except UserError:
            continue
        columns = {name.strip().lower(): name for name in frame.columns}
        if "age" not in columns or frame.empty:
            continue
        for column in frame.columns:
            names = frame[column].str.strip().str.lower()
            if names.str.fullmatch(r"patient\d{2}").mean() > 0.9:
                sexes = frame[columns["sex"]] if "sex" in columns else [""] * len(frame)
                ages = frame[columns["age"]]
                cells = zip(names, ages, sexes, strict=True)
                return {name: (parse_age(age), parse_sex(sex)) for name, age, sex in cells}
    return {}
