"""WMH challenge 2017: white-matter hyperintensities, three scanners, 60 training cases.

``training/Utrecht/0`` holds ``wmh.nii.gz`` and the folders ``pre`` (bias-corrected, on the grid of
the FLAIR) and ``orig``. Value 1 of the mask is the disease; value 2 is another pathology, outlined
roughly to be ignored. ``3DT1`` lies on a grid of its own and is not used.
"""

from __future__ import annotations

import re
from pathlib import Path

from sadm_utils.data.sources.files import FileTree, stem
from sadm_utils.data.sources.table import Found, RawSubject, Release

RELEASE = Release(
    "wmh", "WMH", 60, "terms of the challenge (research use)",
    "Kuijf et al. 2019, IEEE TMI 38:2556-2568",
    "free for research: https://doi.org/10.34894/AECRSD (folder training)",
    "<site>/<number>/pre/T1.nii.gz with <site>/<number>/wmh.nii.gz",
)
DISEASE = (1,)


def find(tree: FileTree) -> Found:
    """Find the training cases; cases of the test phase are counted and left out."""
    cases = sorted({case for file in tree.volumes if (case := _case(file))})
    test = [case for case in cases if "test" in case.relative_to(tree.root).parts]
    subjects, missing, notes = [], [], []
    for case in cases:
        if case in test:
            continue
        name = f"{case.parent.name}_{case.name}"
        image = tree.inside(case / "pre", "T1") or tree.inside(case / "orig", "T1")
        lesion = tree.inside(case, "wmh")
        if image and lesion:
            subjects.append(RawSubject(name, "WMH", image, "", lesion, None, "", 1, DISEASE))
        else:
            lacking = "wmh.nii.gz" if image else "pre/T1.nii.gz"
            missing.append(f"WMH: {lacking} of {name} is not in {case}.")
    if test:
        notes.append(f"{len(test)} cases of the WMH test phase are left out, as in the paper.")
    return Found(tuple(subjects), tuple(missing), tuple(notes))


def _case(file: Path) -> Path | None:
    """Folder of the case that a file of this set belongs to."""
    name, folder = stem(file), file.parent
    if name == "wmh":
        case = folder
    elif name in ("T1", "FLAIR") and folder.name in ("pre", "orig"):
        case = folder.parent
    else:
        return None
    return case if re.fullmatch(r"\d{1,3}", case.name) and case.parent != case else None
