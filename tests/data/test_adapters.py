"""Each public release is read as it unpacks: who is found, who is incomplete, what is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from sadm_utils.data.layout import SETS
from sadm_utils.data.sources import COLUMNS, SOURCES, Found, find_subjects, releases, to_frame
from sadm_utils.data.sources import files as source_files
from sadm_utils.data.sources.table import RawSubject
from sadm_utils.errors import UserError
from tests.data import releases as make


def by_name(found: Found) -> dict[str, RawSubject]:
    return {subject.subject: subject for subject in found.subjects}


def said(sentences: tuple[str, ...], *words: str) -> bool:
    """Whether one sentence holds all the words."""
    return any(all(word in sentence for word in words) for sentence in sentences)


def test_ixi(tmp_path: Path) -> None:
    found = find_subjects(make.make_ixi(tmp_path), "ixi")
    subjects = by_name(found)
    assert list(subjects) == ["IXI002-Guys-0828", "IXI012-HH-1211", "IXI462-IOP-1042"]
    assert {(s.set, s.label) for s in found.subjects} == {("IXI", 0)}
    assert subjects["IXI012-HH-1211"].age == 38.78 and subjects["IXI012-HH-1211"].sex == "M"
    assert subjects["IXI002-Guys-0828"].age is None and subjects["IXI002-Guys-0828"].sex == "F"
    assert all(s.image.endswith("-T1.nii.gz") for s in found.subjects)
    assert said(found.notes, "1 of 3 IXI subjects have no age")
    assert said(found.missing, "IXI014") and len(found.missing) == 1


def test_ixi_without_its_spreadsheet_or_a_package_for_it(tmp_path: Path, monkeypatch) -> None:
    root = make.make_ixi(tmp_path)
    (root / "IXI.csv").rename(root / "IXI.xls")

    def refuse(*_: object, **__: object) -> None:
        raise ImportError("xlrd")

    monkeypatch.setattr(source_files.pd, "read_excel", refuse)
    assert said(find_subjects(root, "ixi").notes, "xlrd", "IXI.xls", "CSV")
    (root / "IXI.xls").unlink()
    found = find_subjects(root, "ixi")
    assert said(found.notes, "IXI.xls is not there") and found.subjects[0].age is None


def test_ixi_scan_that_is_there_twice(tmp_path: Path) -> None:
    root = make.make_ixi(tmp_path)
    make.touch(root / "more/IXI012-HH-1211-T1.nii.gz")
    found = find_subjects(root, "ixi")
    assert len(found.subjects) == 3
    assert said(found.notes, "IXI012-HH-1211 has 2 scans", "more", "is not")


def test_brats(tmp_path: Path) -> None:
    found = find_subjects(make.make_brats(tmp_path), "brats21")
    subjects = by_name(found)
    assert list(subjects) == ["BraTS2021_00000", "BraTS2021_00002"]
    assert subjects["BraTS2021_00002"].lesion.endswith("BraTS2021_00002_seg.nii")
    assert subjects["BraTS2021_00000"].image.endswith("_t1.nii.gz")
    assert {(s.set, s.label, s.mask) for s in found.subjects} == {("Brats21", 1, "")}
    assert said(found.missing, "BraTS2021_00001_seg.nii.gz", "validation")


def test_brats_mask_without_its_scan(tmp_path: Path) -> None:
    root = make.make_brats(tmp_path)
    (root / "BraTS2021_Training_Data/BraTS2021_00000/BraTS2021_00000_t1.nii.gz").unlink()
    found = find_subjects(root, "brats21")
    assert said(found.missing, "BraTS2021_00000_t1.nii.gz is not beside")
    assert len(found.subjects) == 1


def test_atlas(tmp_path: Path) -> None:
    found = find_subjects(make.make_atlas(tmp_path), "atlas")
    (subject,) = found.subjects
    assert (subject.subject, subject.set, subject.label) == ("sub-r001s001", "ATLAS", 1)
    assert "ses-1" in subject.image and "ses-1" in subject.lesion
    assert said(found.notes, "sub-r001s001 has 2 scans")
    assert said(found.notes, "1 scans of ATLAS v2 in Testing")
    assert said(found.missing, "lesion mask of sub-r001s002") and len(found.missing) == 1


def test_mslub(tmp_path: Path) -> None:
    found = find_subjects(make.make_mslub(tmp_path), "mslub")
    subjects = by_name(found)
    assert list(subjects) == ["patient01", "patient26"]
    first = subjects["patient01"]
    assert first.image.endswith("patient01/patient01_T1W.nii.gz"), "never T1WKS, never raw"
    assert first.mask.endswith("patient01_brainmask.nii.gz")
    assert first.lesion.endswith("patient01_consensus_gt.nii.gz")
    assert (first.age, first.sex, first.label) == (31, "F", 1)
    assert subjects["patient26"].image.endswith("T1.nii.gz") and subjects["patient26"].sex == "M"
    assert said(found.missing, "lesion mask", "patient02")
    assert said(found.missing, "no folder of", "patient03", "patient30")


def test_wmh(tmp_path: Path) -> None:
    found = find_subjects(make.make_wmh(tmp_path), "wmh")
    subjects = by_name(found)
    assert list(subjects) == ["GE3T_100", "Singapore_50", "Utrecht_0"], "as the paper's lists"
    assert all(s.image.endswith("pre/T1.nii.gz") for s in found.subjects)
    assert {(s.set, s.lesion_values) for s in found.subjects} == {("WMH", (1,))}
    assert said(found.missing, "wmh.nii.gz of Utrecht_2")
    assert said(found.notes, "1 cases of the WMH test phase")


def test_ds002748(tmp_path: Path) -> None:
    found = find_subjects(make.make_ds002748(tmp_path), "ds002748")
    subjects = by_name(found)
    assert list(subjects) == ["sub-01", "sub-02", "sub-52"]
    assert [s.age for s in found.subjects] == [39.5, None, 22]
    assert [s.sex for s in found.subjects] == ["M", "F", "F"]
    assert {(s.set, s.label, s.lesion) for s in found.subjects} == {("ds002748", 0, "")}
    assert said(found.missing, "no T1w scan of sub-72")
    assert said(found.notes, "no age of sub-02")


def test_bids(tmp_path: Path) -> None:
    root = make.make_bids(tmp_path)
    found = find_subjects(root, "bids", "ATLAS")
    subjects = by_name(found)
    assert (subjects["sub-A"].set, subjects["sub-A"].label) == ("ATLAS", 1)
    assert subjects["sub-A"].image.endswith("sub-A_ses-1_run-1_T1w.nii.gz")
    assert subjects["sub-A"].lesion.endswith("sub-A_label-lesion_mask.nii.gz")
    assert subjects["sub-B"].mask.endswith("sub-B_desc-brain_mask.nii.gz")
    assert (subjects["sub-B"].set, subjects["sub-B"].age) == ("Myset", 89)
    assert said(found.notes, "sub-A has 3 scans")
    unnamed = find_subjects(root, "bids")
    assert list(by_name(unnamed)) == ["sub-B"] and said(unnamed.missing, "sub-A", "--set")


def test_several_sources_are_named_at_once(tmp_path: Path) -> None:
    make.make_ixi(tmp_path / "a"), make.make_brats(tmp_path / "b"), make.make_wmh(tmp_path / "c")
    for kind, sets in {
        "ixi, brats21": {"IXI", "Brats21"}, "wmh": {"WMH"}, "auto": {"IXI", "Brats21", "WMH"}
    }.items():  # fmt: skip
        assert {s.set for s in find_subjects(tmp_path, kind).subjects} == sets
    with pytest.raises(UserError, match="Unknown source 'brats': choose one of auto, ixi, brats21"):
        find_subjects(tmp_path, "ixi,brats")
    with pytest.raises(UserError, match="'own' takes every scan of a folder, those of ixi too"):
        find_subjects(tmp_path, "ixi,own")


def test_own_folder(tmp_path: Path) -> None:
    found = find_subjects(make.make_own(tmp_path), "own", "MSLUB")
    subjects = by_name(found)
    assert sorted(subjects) == ["Anna Müller", "Bo", "Cem"]
    assert subjects["Anna Müller"].mask.endswith("Anna Müller_mask.nii.gz")
    assert subjects["Bo"].lesion.endswith("Bo_t1_lesion.nii.gz")
    assert (subjects["Bo"].set, subjects["Bo"].label) == ("MSLUB", 1)
    assert said(found.notes, "Bo_flair.nii.gz is no T1 scan by its name")
    assert said(find_subjects(tmp_path, "own").missing, "Bo", "--set")


def test_own_folder_in_the_books_layout(tmp_path: Path) -> None:
    for part, end in (("t1", "t1"), ("mask", "mask"), ("seg", "seg")):
        make.touch(tmp_path / part / f"P1_{end}.nii.gz")
    (subject,) = find_subjects(tmp_path, "own", "WMH").subjects
    assert subject.subject == "P1" and "mask/P1_mask" in subject.mask
    assert "seg/P1_seg" in subject.lesion and subject.set == "WMH"


CSV = """image;subject;mask;lesion;age;sex;label;set
a b.nii.gz;Änne;;;41;f;0;
b.nii.gz;;m.nii.gz;l.nii.gz;n/a;M;;Brats21
none.nii.gz;Cy;;;;;;
b.nii.gz;Änne;;;;;;
scan_T2w.nii.gz;D;;;;;;
b.nii.gz;Eve;;;;;1;Brats21
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for name in ("a b", "b", "m", "l", "scan_T2w"):
        make.touch(tmp_path / f"{name}.nii.gz")
    (tmp_path / "scans.csv").write_text(CSV, encoding="utf-8-sig")
    return tmp_path / "scans.csv"


def test_csv(table: Path) -> None:
    found = find_subjects(table)
    subjects = by_name(found)
    assert sorted(subjects) == ["b", "Änne"]
    assert (subjects["Änne"].age, subjects["Änne"].sex, subjects["Änne"].label) == (41, "F", 0)
    assert (subjects["b"].set, subjects["b"].label, subjects["b"].age) == ("Brats21", 1, None)
    assert said(found.missing, "line 4", "none.nii.gz", "does not exist")
    assert said(found.notes, "Änne has 2 scans", "line 5 is not")
    assert said(found.missing, "line 6", "no T1 scan by its name")
    assert said(found.missing, "line 7", "Eve is sick, but names no lesion")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("image;", "picture;", "no column 'image'"),
        (";f;0;", ";f;healthy;", "line 2 has label 'healthy': write 0"),
        (";;Brats21", ";;Tumor", "line 3 has the unknown set 'Tumor': choose one of Brats21"),
    ],
)
def test_csv_with_a_mistake(table: Path, old: str, new: str, sentence: str) -> None:
    table.write_text(CSV.replace(old, new, 1))
    with pytest.raises(UserError, match=sentence):
        find_subjects(table)


ALL: dict[str, Callable[[Path], Path]] = {
    "ixi": make.make_ixi, "brats": make.make_brats, "atlas": make.make_atlas,
    "mslub": make.make_mslub, "wmh": make.make_wmh, "ds": make.make_ds002748,
}  # fmt: skip


def test_all_releases_in_one_folder_are_one_table(tmp_path: Path) -> None:
    for name, function in ALL.items():
        function(tmp_path / name)
    found = find_subjects(tmp_path)
    frame = to_frame(found.subjects)
    assert tuple(frame.columns) == COLUMNS and not frame["subject"].duplicated().any()
    assert frame.groupby("set").size().to_dict() == {
        "ATLAS": 1, "Brats21": 2, "IXI": 3, "MSLUB": 2, "WMH": 3, "ds002748": 3,
    }  # fmt: skip
    assert (frame.loc[frame["label"] == 1, "lesion"] != "").all()
    assert pd.api.types.is_float_dtype(frame["age"])
    assert set(frame.loc[frame["label"] == 1, "set"]) == set(SETS)


def test_every_release_states_its_terms() -> None:
    assert {release.key for release in releases()} == set(SOURCES) - {"auto"}
    for release in releases():
        assert all((release.license, release.citation, release.access, release.expected))
    assert {r.key: r.subjects for r in releases() if r.subjects} == {
        "ixi": 581, "brats21": 1251, "atlas": 655, "mslub": 30, "wmh": 60, "ds002748": 72,
    }  # fmt: skip


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Unknown source 'ixy': choose one of auto, ixi"):
        find_subjects(tmp_path, "ixy")
    with pytest.raises(UserError, match="Unknown set 'tumor': choose one of Brats21"):
        find_subjects(tmp_path, "bids", "tumor")


def test_nothing_that_is_recognized(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        find_subjects(tmp_path / "none")
    make.touch(tmp_path / "something.nii.gz")
    with pytest.raises(UserError, match="neither a folder 'splits' nor scans .*--source own"):
        find_subjects(tmp_path)
    with pytest.raises(UserError, match=r"expected IXI: IXI\*-T1.nii.gz"):
        find_subjects(tmp_path, "ixi")


def test_only_incomplete_subjects(tmp_path: Path) -> None:
    make.touch(tmp_path / "BraTS2021_00001/BraTS2021_00001_t1.nii.gz")
    with pytest.raises(UserError, match="no complete subject: BraTS21: BraTS2021_00001_seg"):
        find_subjects(tmp_path)


def test_link_to_content_that_is_not_here(tmp_path: Path) -> None:
    root = make.make_ds002748(tmp_path)
    file = root / "ds002748/sub-01/anat/sub-01_T1w.nii.gz"
    file.unlink()
    file.symlink_to(root / ".git/annex/objects/x")
    found = find_subjects(root)
    assert "sub-01" not in by_name(found) and said(found.missing, "sub-01", "datalad get")


def test_symlink_loop_and_folder_reached_twice(tmp_path: Path) -> None:
    root = make.make_ds002748(tmp_path / "raw")
    (root / "ds002748/sub-01/again").symlink_to(root)
    (root / "zzz").symlink_to(root / "ds002748")
    found = find_subjects(root)
    assert len(found.subjects) == 3 and not said(found.notes, "has 2 scans")


def test_link_to_a_folder_elsewhere_is_followed(tmp_path: Path) -> None:
    make.make_ixi(tmp_path / "disk")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/ixi").symlink_to(tmp_path / "disk")
    assert len(find_subjects(tmp_path / "raw").subjects) == 3


def test_unreadable_folder(tmp_path: Path, monkeypatch) -> None:
    make.make_ixi(tmp_path)
    scan = source_files.os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(source_files.os, "scandir", refuse)
    with pytest.raises(UserError, match="closed cannot be read .Permission denied.: change"):
        find_subjects(tmp_path)


def test_result_inside_the_source_is_passed_over(tmp_path: Path) -> None:
    make.make_ixi(tmp_path)
    make.touch(tmp_path / "out/Train/ixi/t1/IXI013-HH-1212-T1.nii.gz")
    assert len(find_subjects(tmp_path).subjects) == 4
    assert len(find_subjects(tmp_path, leave_out=tmp_path / "out").subjects) == 3


@pytest.mark.parametrize(
    ("text", "age"),
    [("38.7", 38.7), ("38,7", 38.7), ("089Y", 89), ("89+", 89), ("n/a", None), ("", None),
     ("-1", None), ("0", None), ("1985", None), ("nan", None)],
)  # fmt: skip
def test_ages(text: str, age: float | None) -> None:
    assert source_files.parse_age(text) == age
