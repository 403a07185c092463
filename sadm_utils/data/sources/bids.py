"""Any BIDS folder of T1-weighted scans, and OpenNeuro ds002748, which is one.

``sub-01[/ses-1]/anat/sub-01[_ses-1][_run-1]_T1w.nii.gz``, with ages and sexes in
``participants.tsv``. A lesion mask is a file of the subject, beside the scan or in ``derivatives``,
that has ``lesion`` in its name. Subjects without one count as healthy anatomy, whatever brought
them to the scanner: choose a set whose patients have no focal lesions.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from sadm_utils.data.sources import atlas
from sadm_utils.data.sources.files import (
    FileTree,
    parse_age,
    parse_sex,
    read_table,
    stem,
    take_first,
)
from sadm_utils.data.sources.table import Found, RawSubject, Release

RELEASE = Release(
    "bids", "BIDS", 0, "see dataset_description.json",
    "see dataset_description.json", "https://openneuro.org and others",
    "sub-*_T1w.nii.gz",
)
DS002748 = Release(
    "ds002748", "OpenNeuro ds002748", 72, "CC0",
    "Bezmaternykh et al. 2021, Neural Plasticity 2021:8846097",
    "free: https://openneuro.org/datasets/ds002748 (or: sadm fetch ds002748)",
    "sub-*/anat/sub-*_T1w.nii.gz, participants.tsv",
)
NAME = re.compile(r"(sub-[A-Za-z0-9]+)(_[A-Za-z0-9-]+)*_T1w")


def find(tree: FileTree, sick_set: str = "") -> Found:
    """Find the scans of every BIDS folder below the root; who has lesions is of ``sick_set``."""
    roots: dict[Path, list[tuple[str, Path]]] = {}
    for file in tree.volumes:
        match = NAME.fullmatch(stem(file))
        folders = file.relative_to(tree.root).parts
        if match and not atlas.NAME.fullmatch(stem(file)) and "derivatives" not in folders:
            roots.setdefault(_root(file, tree), []).append((match[1], file))
    found = Found()
    for root, named in roots.items():
        found += _find_in(root, named, tree, sick_set)
    return found


def _find_in(
    root: Path, named: list[tuple[str, Path]], tree: FileTree, sick_set: str
) -> Found:
    scans, notes = take_first(named)
    people = _people(root)
    set_name = _set_name(root)
    lesions = _lesions(root, tree)
    subjects, missing = [], []
    for name, file in scans.items():
        age, sex = people.get(name, (None, ""))
        lesion = lesions.get(name, "")
        mask = tree.beside(file, rf"{name}(_.*)?_(desc-brain_mask|brain_?mask)")
        if lesion and not sick_set:
            missing.append(
                f"{set_name}: {name} has a lesion mask, but the kind of lesion is not known: name "
                "the set with --set (Brats21, ATLAS, MSLUB or WMH)."
            )
            continue
        kind = (sick_set, 1) if lesion else (set_name, 0)
        subjects.append(RawSubject(name, kind[0], str(file), mask, lesion, age, sex, kind[1]))
    if absent := sorted(set(people) - set(scans)):
        missing.append(
            f"{set_name}: no T1w scan of {', '.join(absent)}, whom {root / 'participants.tsv'} "
            "names."
        )
    unknown = [s.subject for s in subjects if s.age is None]
    if people and unknown:
        notes.append(f"{set_name}: participants.tsv has no age of {', '.join(unknown)}.")
    return Found(tuple(subjects), tuple(missing), tuple(notes))


def _root(file: Path, tree: FileTree) -> Path:
    """The data set's folder: the nearest with its description, else the parent of ``sub-*``."""
    marks = ("participants.tsv", "dataset_description.json")
    above = None
    for folder in file.parents:
        if any(f.name in marks for f in tree.by_folder.get(folder, [])):
            return folder
        if folder.name.startswith("sub-"):
            above = folder.parent
        if folder == tree.root:
            break
    return above or file.parent


def _people(root: Path) -> dict[str, tuple[float | None, str]]:
    """Age and sex by subject."""
    file = root / "participants.tsv"
    if not file.is_file():
        return {}
    frame = read_table(file)
    columns = {name.strip().lower(): name for name in frame.columns}
    if "participant_id" not in columns:
        return {}
    blank = [""] * len(frame)
    ages = frame[columns["age"]] if "age" in columns else blank
    sex = next((columns[key] for key in ("sex", "gender") if key in columns), None)
    cells = zip(frame[columns["participant_id"]], ages, frame[sex] if sex else blank, strict=True)
    return {name.strip(): (parse_age(age), parse_sex(sex)) for name, age, sex in cells}


def _set_name(root: Path) -> str:
    """``ds002748`` if the description tells the accession number, else the folder's name."""
    try:
        text = json.dumps(json.loads((root / "dataset_description.json").read_text("utf-8-sig")))
    except (OSError, ValueError):
        text = ""
    number = re.search(r"openneuro\.(ds\d{6})", text)
    return number[1] if number else re.sub(r"[^A-Za-z0-9-]", "", root.name) or "BIDS"


def _lesions(root: Path, tree: FileTree) -> dict[str, str]:
    """Lesion mask by subject."""
    found: dict[str, str] = {}
    for file in tree.volumes:
        name = re.match(r"(sub-[A-Za-z0-9]+)_.*lesion", stem(file))
        if name and file.is_relative_to(root):
            found.setdefault(name[1], str(file))
    return found
