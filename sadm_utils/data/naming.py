"""Names and places of subjects in a prepared data set."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from sadm_utils.data.sources import RawSubject
from sadm_utils.data.splits import HEALTHY

UNFINISHED = re.compile(
    r"\.(.+_(t1|mask|seg)\.nii\.gz|.+\.(png|json))\.\w{8}(\.nii\.gz|\.png)?"
)
"""Names that ``io.write_atomic`` gives to the files of a subject until they are complete."""


def name_subjects(subjects: tuple[RawSubject, ...]) -> dict[str, RawSubject]:
    """A name for each subject that no other one of its folder has; the key is folder and name.

    Subjects of two healthy sets may have one name (``sub-01``): both get their set in front.
    """
    count = Counter((layout_set(s), s.subject) for s in subjects)
    named = {}
    for subject in subjects:
        name = subject.subject
        if count[layout_set(subject), name] > 1:
            name = f"{subject.set}_{name}"
        named[f"{layout_set(subject)}/{name}"] = replace(subject, subject=name)
    return named


def layout_set(subject: RawSubject) -> str:
    """Set of a subject in the layout: all healthy ones are in the set that is called IXI."""
    return subject.set if subject.label else HEALTHY


def layout_paths(key: str) -> dict[str, str]:
    """Paths of a subject in the layout, as the CSV files write them, by its folder and name."""
    set_name, name = key.split("/", 1)
    folder = "/Train/ixi" if set_name == HEALTHY else f"/Test/{set_name}"
    seg = "" if set_name == HEALTHY else f"{folder}/seg/{name}_seg.nii.gz"
    return {
        "img_path": f"{folder}/t1/{name}_t1.nii.gz",
        "mask_path": f"{folder}/mask/{name}_mask.nii.gz",
        "seg_path": seg,
    }


def record_file(out: Path, key: str) -> Path:
    """Record of a subject: transform, quality, and what it was made from."""
    return out / "registration" / f"{key.replace('/', '_')}.json"


def picture_file(out: Path, key: str) -> Path:
    """Picture of a subject for the montage."""
    return out / "quality" / f"{key.replace('/', '_')}.png"


def remove_unfinished(out: Path) -> None:
    """Remove what a killed run was writing, and nothing else."""
    for folder in ("Train/ixi", "Test", "registration", "quality"):
        for file in (out / folder).rglob(".*"):
            if UNFINISHED.fullmatch(file.name) and file.is_file():
                file.unlink()
