"""Folders like those that the public releases unpack to, with their names and quirks.

Volumes are 6 x 6 x 6 voxels: what an adapter reads is names and tables.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sadm_utils.data.io import save_nifti

SHAPE = (6, 6, 6)


def touch(path: Path, value: float = 1.0) -> Path:
    """Write a volume of one value."""
    return save_nifti(path, np.full(SHAPE, value, np.float32), np.eye(4))


def make_ixi(root: Path) -> Path:
    """``IXI-T1.tar`` with two hospitals, a T2 beside, and the spreadsheet saved as CSV.

    The spreadsheet lists 12 twice, has no age of 2, and names 14, who has no T1 scan.
    """
    for name in ("IXI002-Guys-0828", "IXI012-HH-1211", "IXI462-IOP-1042"):
        touch(root / f"{name}-T1.nii.gz")
    touch(root / "IXI012-HH-1211-T2.nii.gz")
    touch(root / "IXI012-HH-1211-MRA.nii.gz")
    touch(root / "._IXI012-HH-1211-T1.nii.gz")
    (root / "IXI.csv").write_text(
        'IXI_ID,"SEX_ID (1=m, 2=f)",HEIGHT,AGE\n'
        "2,2,164,\n12,1,175,38.78\n12,1,175,38.78\n14,2,163,34.24\n462,2,175,75.08\n"
    )
    return root


def make_brats(root: Path) -> Path:
    """Three cases: complete, unpacked to ``.nii``, and one of the validation phase."""
    for number, end in (("00000", ".nii.gz"), ("00002", ".nii")):
        folder = root / "BraTS2021_Training_Data" / f"BraTS2021_{number}"
        for part in ("flair", "seg", "t1", "t1ce", "t2"):
            touch(folder / f"BraTS2021_{number}_{part}{end}")
    touch(root / "BraTS2021_ValidationData/BraTS2021_00001/BraTS2021_00001_t1.nii.gz")
    return root


def make_atlas(root: Path) -> Path:
    """A subject with two sessions, one without its mask, and one of the closed test set."""
    start, end = "_space-MNI152NLin2009aSym", ".nii.gz"
    for name, session in (("sub-r001s001", 1), ("sub-r001s001", 2), ("sub-r001s002", 1)):
        folder = root / f"ATLAS_2/Training/R001/{name}/ses-{session}/anat"
        touch(folder / f"{name}_ses-{session}{start}_T1w{end}")
        if name.endswith("1"):
            touch(folder / f"{name}_ses-{session}{start}_label-L_desc-T1lesion_mask{end}")
    folder = root / "ATLAS_2/Testing/R003/sub-r003s010/ses-1/anat"
    touch(folder / f"sub-r003s010_ses-1{start}_T1w{end}")
    return root


def make_mslub(root: Path) -> Path:
    """The authors' folders with ``raw`` scans, a patient without its mask, and one of a copy."""
    for name in ("patient01", "patient02"):
        for part in ("T1W", "T1WKS", "T2W", "FLAIR", "brainmask", "consensus_gt"):
            if (name, part) != ("patient02", "consensus_gt"):
                touch(root / "lesion" / name / f"{name}_{part}.nii.gz")
        for part in ("T1W", "FLAIR"):
            touch(root / "lesion" / name / "raw" / f"{name}_{part}.nii.gz", 7)
    touch(root / "copy/patient26/T1.nii.gz")
    touch(root / "copy/patient26/lesion_mask.nii.gz")
    (root / "patients.csv").write_text("id,age,sex,ms_type\npatient01,31,F,RR\npatient26,40,M,\n")
    return root


def make_wmh(root: Path) -> Path:
    """Two sites one folder deep, one two deep, a case without its mask, and a test case."""
    for case in ("Utrecht/0", "Singapore/50", "Amsterdam/GE3T/100", "Utrecht/2"):
        folder = root / "training" / case
        for part in ("pre/T1", "pre/3DT1", "pre/FLAIR", "orig/T1", "orig/3DT1", "orig/FLAIR"):
            touch(folder / f"{part}.nii.gz")
        if case != "Utrecht/2":
            touch(folder / "wmh.nii.gz")
    for part in ("pre/T1", "wmh"):
        touch(root / f"test/Utrecht/1/{part}.nii.gz")
    return root


def make_ds002748(root: Path) -> Path:
    """Windows line ends, a decimal comma, an age that is not known, a scan that is not there."""
    folder = root / "ds002748"
    for name in ("sub-01", "sub-02", "sub-52"):
        touch(folder / name / "anat" / f"{name}_T1w.nii.gz")
        touch(folder / name / "func" / f"{name}_task-rest_bold.nii.gz")
    rows = ["participant_id\tage\tgender\tgroup", "sub-01\t39,5\tm\tdepr", "sub-02\tn/a\tf\tdepr",
            "sub-52\t22\tf\tcontrol", "sub-72\t30\tm\tcontrol"]
    (folder / "participants.tsv").write_bytes("\r\n".join(rows).encode())
    (folder / "dataset_description.json").write_text(
        '{"Name": "Resting state", "DatasetDOI": "10.18112/openneuro.ds002748.v1.0.5"}'
    )
    return root


def make_bids(root: Path) -> Path:
    """Sessions and runs, a lesion mask in derivatives, a brain mask beside, a T2w to be ignored."""
    folder = root / "My set"
    for scan in ("sub-A/ses-1/anat/sub-A_ses-1_run-1_T1w", "sub-A/ses-1/anat/sub-A_ses-1_run-2_T1w",
                 "sub-A/ses-2/anat/sub-A_ses-2_T1w", "sub-B/anat/sub-B_T1w",
                 "sub-B/anat/sub-B_desc-brain_mask", "sub-B/anat/sub-B_T2w",
                 "derivatives/x/sub-A/anat/sub-A_label-lesion_mask",
                 "derivatives/x/sub-A/anat/sub-A_T1w"):
        touch(folder / f"{scan}.nii.gz")
    (folder / "participants.tsv").write_text("participant_id\tAge\tSex\nsub-B\t89+\tF\n")
    return root


def make_own(root: Path) -> Path:
    """Names with spaces and umlauts, masks beside, a FLAIR that is no T1."""
    for name in ("Anna Müller", "Anna Müller_mask", "Bo_t1", "Bo_t1_lesion", "Bo_flair", "Cem"):
        touch(root / f"{name}.nii.gz")
    return root
