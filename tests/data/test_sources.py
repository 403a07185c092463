"""Raw folders: what is recognized, how subjects are dealt, and that one failure stops nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sadm_utils.data import sources
from sadm_utils.data.brain import BrainMask
from sadm_utils.data.io import load_nifti, save_nifti
from sadm_utils.data.layout import available_sets, check_disjoint, read_split
from sadm_utils.data.scan import Registered
from sadm_utils.data.sources import deal, find_subjects, prepare_source
from sadm_utils.errors import UserError

SHAPE = (6, 6, 6)


def touch(path: Path, value: float = 1.0) -> Path:
    return save_nifti(path, np.full(SHAPE, value, np.float32), np.eye(4))


@pytest.fixture
def raw(tmp_path) -> Path:
    root = tmp_path / "raw"
    for i in range(1, 13):
        touch(root / f"ds/sub-{i:02d}/anat/sub-{i:02d}_T1w.nii.gz", i)
    ages = "\n".join(f"sub-{i:02d}\t{20 + i}" for i in range(1, 12)) + "\nsub-12\tn/a"
    (root / "ds" / "participants.tsv").write_text(f"participant_id\tage\n{ages}\n")
    for name in ("patient07", "patient26"):
        touch(root / "mslub" / name / "T1.nii.gz")
        touch(root / "mslub" / name / "lesion_mask.nii.gz")
    return root


@pytest.fixture
def registrations(monkeypatch) -> list[str]:
    """Replace the registration by a copy, and list what was registered."""
    calls: list[str] = []

    def register(image, mask=None, seg=None):
        calls.append(Path(image).name)
        array = load_nifti(image).array
        label = np.ones(SHAPE, np.uint8)
        brain = BrainMask(None, "stripped", "")
        lesion = label if seg else None
        return Registered(
            array, label, lesion, np.eye(4), np.eye(4), SHAPE, np.eye(4), brain, 0.95
        )

    monkeypatch.setattr(sources, "register_scan", register)
    return calls


def prepare(raw: Path, **options) -> tuple[Path, list[str]]:
    sentences: list[str] = []
    out = prepare_source(raw, raw.parent / "out", jobs=1, report=sentences.append, **options)
    return out, sentences


def test_find_subjects(raw):
    subjects = find_subjects(raw)
    assert [s.cohort for s in subjects] == ["IXI"] * 12 + ["MSLUB"] * 2
    assert subjects[0].name == "sub-01" and subjects[0].age == "21" and not subjects[0].seg
    assert subjects[13].seg.endswith("patient26/lesion_mask.nii.gz")


@pytest.mark.parametrize(
    ("files", "cohort", "name"),
    [
        (["IXI/IXI012-HH-1211-T1.nii.gz"], "IXI", "IXI012-HH-1211-T1"),
        (["B/BraTS2021_00003_t1.nii.gz", "B/BraTS2021_00003_seg.nii.gz"], "Brats21",
         "BraTS2021_00003"),
        (["a/sub-r1_ses-1_T1w.nii.gz", "a/sub-r1_ses-1_label-L_desc-T1lesion_mask.nii.gz"],
         "ATLAS", "sub-r1"),
        (["patient01/patient01_T1W.nii.gz", "patient01/patient01_consensus_gt.nii.gz"], "MSLUB",
         "patient01"),
    ],
)
def test_other_sources_are_recognized(tmp_path, files, cohort, name):
    for file in files:
        touch(tmp_path / file)
    (subject,) = find_subjects(tmp_path)
    assert (subject.cohort, subject.name) == (cohort, name)
    assert bool(subject.seg) == (cohort != "IXI")


def test_layout_and_splits(raw, registrations):
    out, sentences = prepare(raw)
    assert not sentences and len(registrations) == 14
    names = ("IXI_train_fold0", "IXI_val_fold0", "IXI_test", "MSLUB_val", "MSLUB_test")
    splits = {name: read_split(out, name) for name in names}
    assert [len(splits[name]) for name in names] == [8, 2, 2, 1, 1]
    assert check_disjoint(splits) == []
    assert available_sets(out) == {"MSLUB": ["MSLUB_test", "MSLUB_val"]}
    assert set(splits["MSLUB_test"]["label"]) == {1} and set(splits["IXI_test"]["label"]) == {0}
    for frame in splits.values():
        for subject, file in zip(frame["subject"], frame["image_file"], strict=True):
            expected = int(subject[4:]) if subject.startswith("sub") else 1
            assert load_nifti(file).array.max() == expected
    ages = pd.concat(splits.values()).set_index("subject")["age"]
    assert ages["sub-05"] == 25 and np.isnan(ages["sub-12"])


def test_second_run_registers_nothing_and_changes_no_split(raw, registrations):
    out, _ = prepare(raw)
    before = {p.name: p.read_text() for p in (out / "splits").iterdir()}
    registrations.clear()
    prepare(raw)
    assert registrations == []
    assert {p.name: p.read_text() for p in (out / "splits").iterdir()} == before


def test_changed_or_unfinished_subject_is_registered_again(raw, registrations):
    out, _ = prepare(raw)
    registrations.clear()
    touch(raw / "ds/sub-03/anat/sub-03_T1w.nii.gz", 50.5)
    (out / "Train/ixi/mask/sub-04_mask.nii.gz").unlink()
    prepare(raw)
    assert registrations == ["sub-03_T1w.nii.gz", "sub-04_T1w.nii.gz"]
    assert load_nifti(out / "Train/ixi/t1/sub-03_t1.nii.gz").array.max() == 50.5


def test_failing_subject_is_reported_and_left_out(raw, registrations):
    (raw / "ds/sub-02/anat/sub-02_T1w.nii.gz").write_bytes(b"")
    (raw / "mslub/patient07/lesion_mask.nii.gz").unlink()
    out, sentences = prepare(raw)
    assert len(sentences) == 3
    assert "sub-02_T1w.nii.gz is empty" in sentences[0]
    assert "patient07" in sentences[1] and "no lesion mask" in sentences[1]
    assert "MSLUB" in sentences[2] and "two" in sentences[2]
    frames = [read_split(out, f"IXI_{n}") for n in ("train_fold0", "val_fold0", "test")]
    assert sum(map(len, frames)) == 11 and available_sets(out) == {}
    report = pd.read_csv(out / "registration.csv", keep_default_na=False).set_index("name")
    assert "empty" in report.loc["sub-02", "error"] and report.loc["sub-01", "error"] == ""


def test_progress(raw, registrations):
    seen = []
    prepare(raw, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 14) for i in range(1, 15)]
    seen.clear()
    touch(raw / "ds/sub-03/anat/sub-03_T1w.nii.gz", 50.5)
    prepare(raw, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(14, 14)], "what is done already is not told again"


def test_sick_sets_are_known_before_anything_is_registered(raw, registrations):
    assert sources.sick_sets_in(raw) == {"MSLUB"} and registrations == []
    out, _ = prepare(raw)
    assert sources.sick_sets_in(out) == {"MSLUB"}


def test_result_inside_the_source_is_passed_over(raw):
    touch(raw / "out" / "Test/Brats21/t1/BraTS2021_00003_t1.nii.gz")
    assert len(find_subjects(raw)) == 15
    assert len(find_subjects(raw, raw / "out")) == 14


def test_deal_is_stable_and_complete():
    names = [f"s{i}" for i in range(12)]
    test, val, train = deal(names, (1 / 6, 1 / 6))
    assert sorted(test + val + train) == sorted(names)
    assert (len(test), len(val), len(train)) == (2, 2, 8)
    assert deal(names[::-1], (1 / 6, 1 / 6)) == [test, val, train]
    assert [len(group) for group in deal(names[:3], (1 / 6, 1 / 6))] == [1, 1, 1]


def test_unknown_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        find_subjects(tmp_path / "none")
    touch(tmp_path / "something.nii.gz")
    with pytest.raises(UserError, match="neither a folder 'splits' nor scans"):
        find_subjects(tmp_path)


def test_too_few_healthy_scans(tmp_path, registrations):
    for i in range(2):
        touch(tmp_path / "raw" / f"sub-{i}_T1w.nii.gz")
    with pytest.raises(UserError, match="at least three"):
        prepare(tmp_path / "raw")
