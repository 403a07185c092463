"""Folders, CSV files and splits: what is read, and what is refused in one sentence."""

from pathlib import Path

import pandas as pd
import pytest

from sadm_utils.data.layout import (
    available_sets,
    available_splits,
    check_disjoint,
    read_split,
    subject_of,
    write_split,
)
from sadm_utils.errors import UserError


def row(name: str, label: int = 0, **changes) -> dict:
    folder = "/Test/MSLUB" if label else "/Train/ixi"
    seg = f"{folder}/seg/{name}_seg.nii.gz" if label else ""
    return {
        "img_name": name, "age": 30.5, "label": label, "img_path": f"{folder}/t1/{name}_t1.nii.gz",
        "mask_path": f"{folder}/mask/{name}_mask.nii.gz", "seg_path": seg, **changes,
    }


def write(root: Path, name: str, rows: list[dict]) -> Path:
    for one in rows:
        for key in ("img_path", "mask_path", "seg_path"):
            if one[key]:
                file = root / one[key].lstrip("/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
    return write_split(root, name, rows)


def refused(root: Path, name: str = "IXI_test") -> str:
    with pytest.raises(UserError) as caught:
        read_split(root, name)
    text = str(caught.value)
    assert "\n" not in text and str(root) in text
    return text


def test_read_split(tmp_path):
    write(tmp_path, "MSLUB_test", [row("a", 1, scanner="X"), row("b", 1, scanner="Y")])
    frame = read_split(tmp_path, "MSLUB_test")
    assert list(frame["subject"]) == ["a", "b"] and list(frame["label"]) == [1, 1]
    assert frame["age"].tolist() == [30.5, 30.5] and list(frame["scanner"]) == ["X", "Y"]
    assert frame["image_file"][0] == str(tmp_path / "Test/MSLUB/t1/a_t1.nii.gz")
    assert frame["seg_file"][1] == str(tmp_path / "Test/MSLUB/seg/b_seg.nii.gz")


def test_healthy_rows_have_no_lesion_mask(tmp_path):
    write(tmp_path, "IXI_test", [row("a", age="")])
    frame = read_split(tmp_path, "IXI_test")
    assert frame["seg_file"][0] == "" and frame["label"][0] == 0 and pd.isna(frame["age"][0])


def test_repeated_images_are_dropped_and_counted(tmp_path):
    write(tmp_path, "IXI_test", [row("a"), row("b"), row("a")])
    frame = read_split(tmp_path, "IXI_test")
    assert list(frame["subject"]) == ["a", "b"] and frame.attrs["duplicates"] == 1


def test_available(tmp_path):
    write(tmp_path, "IXI_train_fold0", [row("a")])
    write(tmp_path, "MSLUB_test", [row("b", 1)])
    (tmp_path / "splits" / "notes.csv").write_text("x")
    assert available_splits(tmp_path) == ["IXI_train_fold0", "MSLUB_test"]
    assert available_sets(tmp_path) == {"MSLUB": ["MSLUB_test"]}


def test_missing_data_dir_and_missing_splits_folder(tmp_path):
    assert "does not exist" in refused(tmp_path / "nowhere")
    assert "no folder 'splits'" in refused(tmp_path)


def test_missing_csv_names_the_splits_that_exist(tmp_path):
    write(tmp_path, "IXI_val_fold0", [row("a")])
    assert "IXI_val_fold0" in refused(tmp_path)


def test_missing_column(tmp_path):
    path = write(tmp_path, "IXI_test", [row("a")])
    pd.read_csv(path).drop(columns=["mask_path", "age"]).to_csv(path, index=False)
    assert "lacks the column age, mask_path" in refused(tmp_path)


@pytest.mark.parametrize("text", ["", "img_name,age,label,img_path,mask_path,seg_path\n"])
def test_csv_without_rows(tmp_path, text):
    path = write(tmp_path, "IXI_test", [row("a")])
    path.write_text(text)
    assert str(path) in refused(tmp_path)


@pytest.mark.parametrize("part", ["t1", "mask", "seg"])
def test_missing_file_is_named_with_its_line(tmp_path, part):
    write(tmp_path, "MSLUB_test", [row("a", 1), row("b", 1)])
    lost = tmp_path / f"Test/MSLUB/{part}/b_{part}.nii.gz"
    lost.unlink()
    text = refused(tmp_path, "MSLUB_test")
    assert str(lost) in text and "line 3" in text
    assert len(read_split(tmp_path, "MSLUB_test", check_files=False)) == 2


def test_sick_subject_without_lesion_mask(tmp_path):
    write(tmp_path, "MSLUB_test", [row("a", 1, seg_path="")])
    assert "seg_path empty" in refused(tmp_path, "MSLUB_test")


def test_label_must_be_zero_or_one(tmp_path):
    write(tmp_path, "IXI_test", [row("a"), row("b")])
    path = tmp_path / "splits" / "IXI_test.csv"
    path.write_text(path.read_text().replace("b,30.5,0,", "b,30.5,sick,"))
    text = refused(tmp_path)
    assert "'sick'" in text and "line 3" in text


def test_check_disjoint_names_shared_subjects(tmp_path):
    write(tmp_path, "IXI_train_fold0", [row("a"), row("b")])
    write(tmp_path, "IXI_test", [row("b"), row("c")])
    write(tmp_path, "IXI_val_fold0", [row("d")])
    names = ("IXI_train_fold0", "IXI_test", "IXI_val_fold0")
    splits = {name: read_split(tmp_path, name) for name in names}
    assert check_disjoint(splits) == ["IXI_train_fold0 and IXI_test share 1 subject: b."]
    del splits["IXI_test"]
    assert check_disjoint(splits) == []


@pytest.mark.parametrize("name", ["IXI012-HH", "IXI012-HH_t1", "IXI012-HH_T1w.nii.gz"])
def test_subject_of(name):
    assert subject_of(name) == "IXI012-HH"
