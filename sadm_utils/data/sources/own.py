"""Your own scans: a folder of T1 files, or a CSV that names them.

In a folder, ``anna.nii.gz`` is a scan, ``anna_mask.nii.gz`` its brain mask and
``anna_lesion.nii.gz`` its lesion mask; they may also lie in folders ``t1``, ``mask`` and ``seg``. A
CSV has a column ``image`` and may have ``subject``, ``mask``, ``lesion``, ``age``, ``sex``,
``label`` and ``set``; its paths are absolute, or relative to the folder that it is in.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from sadm_utils.data.layout import SETS
from sadm_utils.data.sources.files import (
    FileTree,
    list_files,
    parse_age,
    parse_sex,
    read_table,
    stem,
    take_first,
)
from sadm_utils.data.sources.table import COLUMNS, Found, RawSubject, Release
from sadm_utils.errors import UserError

RELEASE = Release(
    "own", "your own scans", 0, "yours", "yours", "on your disk",
    "a folder of *.nii.gz with *_mask and *_lesion, or a CSV with a column image",
)
MASK = r"_?(brain_?|bet_)?mask"
LESION = r"_?(seg|lesions?|lesion_?mask)"
T1 = r"[_-](t1w?|T1w?)"
OTHER = re.compile(
    r"(?i)(?:^|[^a-z0-9])(t2w?|t2star|flair|pdw?|t1ce|t1c|t1gd|t1wks|dwi|adc|dti|bold|swi|mra)"
    r"(?:[^a-z0-9]|$)"
)
HEALTHY = "own"


def find(source: Path, sick_set: str = "", leave_out: str | Path = "") -> Found:
    """Find the scans of a folder or a CSV.

    Parameters
    ----------
    source
        Folder, or ``.csv`` or ``.tsv`` file.
    sick_set
        Set of subjects with lesions that name none: a key of ``layout.SETS``.
    leave_out
        Folder that is passed over.

    Raises
    ------
    UserError
        The source is missing, no column ``image``, or a set is unknown.
    """
    if sick_set and sick_set not in SETS:
        raise UserError(f"Unknown set {sick_set!r}: choose one of {', '.join(SETS)}.")
    if source.is_file():
        return _from_table(source, sick_set)
    return _from_folder(list_files(source, leave_out), sick_set)


def _from_folder(tree: FileTree, sick_set: str) -> Found:
    skipped, scans = [], []
    for file in tree.volumes:
        name = stem(file)
        role = file.parent.name.lower()
        if re.fullmatch(rf".+{MASK}|.+{LESION}", name, re.IGNORECASE) or role in ("mask", "seg"):
            continue
        if OTHER.search(name):
            skipped.append(f"{file} is no T1 scan by its name, and is left out.")
        else:
            scans.append((re.sub(f"{T1}$", "", name), file))
    taken, notes = take_first(scans)
    subjects, missing = [], []
    for name, file in taken.items():
        mask, lesion = (
            _companion(tree, file, name, ending, folder)
            for ending, folder in ((MASK, "mask"), (LESION, "seg"))
        )
        if lesion and not sick_set:
            missing.append(_unknown_kind(name))
            continue
        kind = (sick_set, 1) if lesion else (HEALTHY, 0)
        subjects.append(RawSubject(name, kind[0], str(file), mask, lesion, label=kind[1]))
    return Found(tuple(subjects), tuple(missing), tuple(notes + skipped))


def _companion(tree: FileTree, file: Path, name: str, ending: str, folder: str) -> str:
    """Mask of a scan: beside it by its ending, or in the folder ``mask`` or ``seg`` next to it."""
    start = rf"({re.escape(stem(file))}|{re.escape(name)})"
    other = file.parent.with_name(folder)
    return tree.beside(file, start + ending) or tree.inside(other, rf"{start}({ending})?")


def _from_table(path: Path, sick_set: str) -> Found:
    frame = read_table(path)
    frame.columns = [str(name).strip().lower() for name in frame.columns]
    if "image" not in frame.columns:
        raise UserError(
            f"{path} has no column 'image': write the columns {', '.join(COLUMNS)}, of which only "
            "image is needed."
        )
    subjects: dict[str, RawSubject] = {}
    missing, notes = [], []
    for index, row in frame.iterrows():
        where = f"{path} line {int(index) + 2}"
        subject = _from_row(row, path.parent, sick_set, where)
        lacking = [f for f in (subject.image, subject.mask, subject.lesion)
                   if f and not Path(f).is_file()]
        if lacking or not subject.image:
            name = ", ".join(lacking) or "no image"
            missing.append(f"{where} names {name}, which does not exist.")
        elif OTHER.search(stem(Path(subject.image))):
            missing.append(f"{where} names {subject.image}, which is no T1 scan by its name.")
        elif subject.label and not subject.lesion:
            missing.append(f"{where} says that {subject.subject} is sick, but names no lesion.")
        elif subject.label and not subject.set:
            missing.append(_unknown_kind(subject.subject))
        elif subject.subject in subjects:
            taken = subjects[subject.subject].image
            notes.append(f"{subject.subject} has 2 scans: {taken} is taken, {where} is not.")
        else:
            subjects[subject.subject] = subject
    return Found(tuple(subjects.values()), tuple(missing), tuple(notes))


def _from_row(row: pd.Series, folder: Path, sick_set: str, where: str) -> RawSubject:
    files = {}
    for column in ("image", "mask", "lesion"):
        text = str(row.get(column, "")).strip()
        files[column] = str(folder / text) if text else ""
    name = str(row.get("subject", "")).strip() or re.sub(f"{T1}$", "", stem(Path(files["image"])))
    label = str(row.get("label", "")).strip() or str(int(bool(files["lesion"])))
    if label not in ("0", "1"):
        raise UserError(f"{where} has label {label!r}: write 0 (healthy) or 1 (sick).")
    given = str(row.get("set", "")).strip()
    if label == "1" and given and given not in SETS:
        raise UserError(f"{where} has the unknown set {given!r}: choose one of {', '.join(SETS)}.")
    set_name = given or (sick_set if label == "1" else HEALTHY)
    return RawSubject(
        re.sub(r'[/\\:*?"<>|]', "-", name), set_name, files["image"], files["mask"],
        files["lesion"] if label == "1" else "", parse_age(row.get("age", "")),
        parse_sex(row.get("sex", "")), int(label),
    )


def _unknown_kind(name: str) -> str:
    return (
        f"{name} has a lesion mask, but the kind of lesion is not known: name the set with --set "
        f"({', '.join(SETS)})."
    )
