"""ATLAS v2: chronic strokes of many sites, in MNI space, with skull (defaced).

``Training/R001/sub-r001s001/ses-1/anat/`` holds a T1 scan and a mask ``*_desc-T1lesion_mask``. The
masks of ``Testing`` are kept back by the authors. The release has no ages.
"""

from __future__ import annotations

import re

from sadm_utils.data.sources.files import FileTree, stem, take_first
from sadm_utils.data.sources.table import Found, RawSubject, Release

RELEASE = Release(
    "atlas", "ATLAS v2", 655, "terms of the archive (research use)",
    "Liew et al. 2022, Scientific Data 9:320",
    "on application: https://fcon_1000.projects.nitrc.org/indi/retro/atlas.html (encrypted)",
    "sub-r*s*_ses-*_T1w.nii.gz with *_label-L_desc-T1lesion_mask.nii.gz",
)
NAME = re.compile(r"(sub-r\d{3}s\d{3})_(ses-\w+?)(_space-\w+)?_T1w")
MASK = re.compile(r"(sub-r\d{3}s\d{3})_(ses-\w+?)(_space-\w+)?_label-L_desc-T1lesion_mask")


def find(tree: FileTree) -> Found:
    """Find the scans with a mask: the first session of each subject."""
    named = [(match, file) for file in tree.volumes if (match := NAME.fullmatch(stem(file)))]
    closed = [file for _, file in named if "Testing" in file.relative_to(tree.root).parts]
    shared = [(match, file) for match, file in named if file not in set(closed)]
    scans, notes = take_first((match[1], file) for match, file in shared)
    if closed:
        notes.append(f"{len(closed)} scans of ATLAS v2 in Testing have no masks and are left out.")
    subjects, missing = [], []
    for name, file in scans.items():
        session = NAME.fullmatch(stem(file))[2]
        lesion = tree.beside(file, rf"{name}_{session}(_space-\w+)?_label-L_desc-T1lesion_mask")
        if lesion:
            subjects.append(RawSubject(name, "ATLAS", str(file), "", lesion, label=1))
        else:
            missing.append(f"ATLAS v2: the lesion mask of {name} is not beside {file}.")
    masks = {m[1]: file for file in tree.volumes if (m := MASK.fullmatch(stem(file)))}
    missing += [
        f"ATLAS v2: the T1 scan of {name} is not beside {file}."
        for name, file in masks.items() if name not in scans
    ]
    return Found(tuple(subjects), tuple(missing), tuple(notes))
