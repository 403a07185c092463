"""BraTS21: gliomas, registered to SRI24 at 1 mm and skull-stripped by its makers.

A case is a folder ``BraTS2021_00000`` with ``_t1``, ``_t1ce``, ``_t2``, ``_flair`` and ``_seg``.
The mask has the values 1 (necrotic core), 2 (edema) and 4 (enhancing tumor); the whole tumor is
their union: every value but 0. Cases of the validation phase come without masks.
"""

from __future__ import annotations

import re

from sadm_utils.data.sources.files import FileTree, stem, take_first
from sadm_utils.data.sources.table import Found, RawSubject, Release

RELEASE = Release(
    "brats21", "BraTS21", 1251, "terms of the challenge (research use)",
    "Baid et al. 2021, arXiv:2107.02314",
    "on registration: https://www.synapse.org/brats2021 (RSNA-ASNR-MICCAI BraTS 2021, training)",
    "BraTS2021_*/BraTS2021_*_t1.nii.gz with BraTS2021_*_seg.nii.gz",
)
NAME = re.compile(r"(BraTS2021_\d{5})_(t1|seg)")


def find(tree: FileTree) -> Found:
    """Find the cases that have a T1 scan and a mask; name those that lack one."""
    parts: dict[str, list] = {"t1": [], "seg": []}
    for file in tree.volumes:
        if match := NAME.fullmatch(stem(file)):
            parts[match[2]].append((match[1], file))
    scans, notes = take_first(parts["t1"])
    subjects, missing = [], []
    for name, file in scans.items():
        lesion = tree.beside(file, f"{name}_seg")
        if lesion:
            subjects.append(RawSubject(name, "Brats21", str(file), "", lesion, label=1))
        else:
            missing.append(
                f"BraTS21: {name}_seg.nii.gz is not beside {file} (cases of the validation phase "
                "have no masks)."
            )
    missing += [
        f"BraTS21: {name}_t1.nii.gz is not beside {file}."
        for name, file in parts["seg"] if name not in scans
    ]
    return Found(tuple(subjects), tuple(missing), tuple(notes))
