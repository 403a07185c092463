"""Raw folders become data sets: one failure stops nothing, nothing is done twice, all is told."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sadm_utils.data import prepare as module
from sadm_utils.data.io import load_nifti
from sadm_utils.data.layout import available_sets, check_disjoint, read_split
from sadm_utils.data.naming import name_subjects
from sadm_utils.data.prepare import PrepareSettings, prepare_source
from sadm_utils.data.scan import Registered
from sadm_utils.data.sources import RawSubject, sick_sets_in
from sadm_utils.data.stage import source_folder
from sadm_utils.errors import UserError
from sadm_utils.runs import open_run
from tests.data.releases import make_brats, touch


def prepare(raw: Path, settings: PrepareSettings | None = None, **options) -> tuple[Path, list]:
    sentences: list[str] = []
    out = prepare_source(
        raw, raw.parent / "out", jobs=1, report=sentences.append, settings=settings, **options
    )
    return out, sentences


def manifest(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "manifest.csv", keep_default_na=False).set_index("subject")


def test_layout_and_splits(raw, registrations):
    out, sentences = prepare(raw)
    assert len(registrations) == 14
    names = ("IXI_train_fold0", "IXI_val_fold0", "IXI_test", "MSLUB_val", "MSLUB_test")
    splits = {name: read_split(out, name) for name in names}
    assert [len(splits[name]) for name in names] == [7, 2, 3, 1, 1]
    assert check_disjoint(splits) == []
    assert available_sets(out) == {"MSLUB": ["MSLUB_test", "MSLUB_val"]}
    assert set(splits["MSLUB_test"]["label"]) == {1} and set(splits["IXI_test"]["label"]) == {0}
    for frame in splits.values():
        for subject, file in zip(frame["subject"], frame["image_file"], strict=True):
            expected = int(subject[4:]) if subject.startswith("sub") else 1
            assert load_nifti(file).array.max() == pytest.approx(expected, abs=0.01)
    people = pd.concat(splits.values()).set_index("subject")
    assert people.loc["sub-05", "age"] == 25 and np.isnan(people.loc["sub-12", "age"])
    assert people.loc["sub-12", "sex"] == "M" and people.loc["sub-05", "source"] == "ds"
    assert any("no age of sub-12" in sentence for sentence in sentences)
    assert any("no folder of patient01" in sentence for sentence in sentences)
    assert max(map(len, sentences)) < 180 and "missing.txt" in sentences[-1]
    assert "patient30" in (out / "missing.txt").read_text()


def test_second_run_registers_nothing_and_changes_no_split(raw, registrations):
    out, _ = prepare(raw)
    before = {p.name: p.read_text() for p in [*(out / "splits").iterdir(), out / "manifest.csv"]}
    registrations.clear()
    prepare(raw)
    assert registrations == []
    after = {p.name: p.read_text() for p in [*(out / "splits").iterdir(), out / "manifest.csv"]}
    assert after == before


def test_changed_or_unfinished_subject_is_registered_again(raw, registrations):
    out, _ = prepare(raw)
    registrations.clear()
    touch(raw / "ds/sub-03/anat/sub-03_T1w.nii.gz", 50.5)
    (out / "Train/ixi/mask/sub-04_mask.nii.gz").unlink()
    (out / "registration/IXI_sub-05.json").write_text("{")
    (out / "quality/IXI_sub-06.png").unlink()
    prepare(raw)
    again = [f"sub-{n:02d}_T1w.nii.gz" for n in (3, 4, 5, 6)]
    assert sorted(name for name, _ in registrations) == again
    assert load_nifti(out / "Train/ixi/t1/sub-03_t1.nii.gz").array.max() > 50


def test_steps_are_switched_and_switching_makes_every_subject_anew(raw, registrations):
    prepare(raw)
    assert registrations[0][1] == {
        "bias_correction": True, "brain": "auto", "lesion_values": (), "template": None
    }  # fmt: skip
    registrations.clear()
    prepare(raw, PrepareSettings(bias_correction=False, brain="template"))
    assert len(registrations) == 14
    assert registrations[0][1] == {
        "bias_correction": False, "brain": "template", "lesion_values": (), "template": None
    }  # fmt: skip
    with pytest.raises(UserError, match="Unknown brain mask 'skull': choose one of auto, given"):
        PrepareSettings(brain="skull")
    with pytest.raises(UserError, match="folds must be at least 1"):
        PrepareSettings(folds=0)


def test_failing_subjects_are_reported_at_the_end_and_left_out(raw, registrations):
    (raw / "ds/sub-02/anat/sub-02_T1w.nii.gz").write_bytes(b"")
    (raw / "mslub/patient07/lesion_mask.nii.gz").unlink()
    seen: list[int] = []
    out, sentences = prepare(raw, progress=lambda done, _: seen.append(done))
    assert seen == list(range(1, 14))
    failed = [s for s in sentences if s.startswith("Left out")]
    assert sentences[-2:] == failed
    assert "ds sub-02" in failed[0] and "is empty" in failed[0]
    assert "MSLUB" in failed[1] and "needs two registered patients" in failed[1]
    assert any("lesion mask" in s and "patient07" in s for s in sentences)
    frames = [read_split(out, f"IXI_{n}") for n in ("train_fold0", "val_fold0", "test")]
    assert sum(map(len, frames)) == 11 and available_sets(out) == {}
    table = manifest(out)
    assert "empty" in table.loc["sub-02", "error"] and table.loc["sub-01", "error"] == ""
    assert "sub-02: " in (out / "quality.html").read_text()


def test_any_error_of_a_subject_concerns_it_alone(raw, registrations, monkeypatch):
    register = module.register_scan

    def sometimes(image: str, *rest: object, **options: object) -> Registered:
        if "sub-04" in image:
            raise ZeroDivisionError("surprise")
        if "sub-05" in image:
            raise MemoryError
        return register(image, *rest, **options)

    monkeypatch.setattr(module, "register_scan", sometimes)
    out, sentences = prepare(raw)
    assert any("sub-04: surprise" in s for s in sentences)
    assert any("sub-05: MemoryError" in s for s in sentences)
    assert len(manifest(out)) == 14
    monkeypatch.setattr(module, "register_scan", register)
    registrations.clear()
    _, sentences = prepare(raw)
    assert len(registrations) == 2 and not [s for s in sentences if s.startswith("Left out")]


def test_t2_scan_is_left_out(raw, registrations, monkeypatch):
    register = module.register_scan

    def dark(image: str, *rest: object, **options: object) -> Registered:
        result = register(image, *rest, **options)
        return replace(result, contrast=-0.5) if "sub-04" in image else result

    monkeypatch.setattr(module, "register_scan", dark)
    out, sentences = prepare(raw)
    assert any("sub-04_T1w.nii.gz looks like a T2-weighted scan" in s for s in sentences)
    assert not (out / "Train/ixi/t1/sub-04_t1.nii.gz").exists()


def test_full_disk_stops_everything(raw, registrations, monkeypatch):
    def no_space(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("sadm_utils.data.io.os.replace", no_space)
    with pytest.raises(UserError, match="disk is full"):
        prepare(raw)


def test_lesion_values_of_a_release_reach_the_registration(raw, registrations):
    for part in ("pre/T1", "wmh"):
        touch(raw / f"training/Utrecht/0/{part}.nii.gz")
    prepare(raw)
    assert [o["lesion_values"] for name, o in registrations if name == "T1.nii.gz"][-1] == (1,)


def test_sick_sets_are_known_before_anything_is_registered(raw, registrations):
    assert sick_sets_in(raw) == {"MSLUB"} and registrations == []
    out, _ = prepare(raw)
    assert sick_sets_in(out) == {"MSLUB"}


def test_dataset_chooses_among_the_raw_scans_of_a_run(raw, registrations, tmp_path):
    run = open_run("smoke", tmp_path / "run", raw, 0, {"data.jobs": 1})
    assert available_sets(source_folder(run)) == {"MSLUB": ["MSLUB_test", "MSLUB_val"]}
    assert available_sets(source_folder(run, "ds002748, mslub")).keys() == {"MSLUB"}
    assert len(registrations) == 14, "once each"
    folder = source_folder(run, "ds002748")
    assert available_sets(folder) == {} and len(read_split(folder, "IXI_test")) == 3
    with pytest.raises(UserError, match="Unknown DATASET 'ixy': choose one of auto, ixi, brats21"):
        source_folder(run, "ixy")
    with pytest.raises(UserError, match="BraTS21: BraTS2021_"):
        source_folder(run, "brats21")
    prepared = open_run("smoke", tmp_path / "other", folder)
    with pytest.raises(UserError, match="DATASET 'ixi' chooses among raw scans, but .* prepared"):
        source_folder(prepared, "ixi")
    with pytest.raises(UserError, match="DATASET 'ixi' needs scans: name their folder as DATA_DIR"):
        source_folder(open_run("smoke", tmp_path / "third"), "ixi")


def test_too_few_healthy_scans(tmp_path, registrations):
    make_brats(tmp_path / "raw")
    with pytest.raises(UserError, match="at least three"):
        prepare(tmp_path / "raw")
    assert (tmp_path / "out/manifest.csv").is_file(), "what was done is kept, and can be looked at"


def test_same_names_in_two_healthy_sets(raw, registrations):
    touch(raw / "other/sub-01/anat/sub-01_T1w.nii.gz", 33)
    (raw / "other/participants.tsv").write_text("participant_id\nsub-01\n")
    out, _ = prepare(raw)
    names = {p.name for p in (out / "Train/ixi/t1").iterdir()}
    assert {"ds_sub-01_t1.nii.gz", "other_sub-01_t1.nii.gz", "sub-02_t1.nii.gz"} <= names
    assert len(names) == 13


def test_names_of_different_folders_may_be_the_same():
    subjects = (RawSubject("a", "IXI", "x"), RawSubject("a", "WMH", "y", label=1))
    assert list(name_subjects(subjects)) == ["IXI/a", "WMH/a"]


def test_names_with_spaces_and_umlauts(tmp_path, registrations):
    for name in ("Anna Müller", "Bo, der Zweite", "Çem", "D&D"):
        touch(tmp_path / "my scans" / f"{name}.nii.gz")
    out, _ = prepare(tmp_path / "my scans", PrepareSettings(source="own"))
    frames = [read_split(out, f"IXI_{n}") for n in ("train_fold0", "val_fold0", "test")]
    assert set(pd.concat(frames)["subject"]) == {"Anna Müller", "Bo, der Zweite", "Çem", "D&D"}
    page = (out / "quality.html").read_text(encoding="utf-8")
    assert "Anna%20M%C3%BCller" in page and "D&amp;D" in page


def test_lists_of_others_are_used_and_their_overlaps_told(raw, registrations, tmp_path):
    lists = tmp_path / "lists/splits"
    lists.mkdir(parents=True)
    for name, members in {
        "IXI_train_fold0": ["sub-01", "sub-02", "sub-99"], "IXI_val_fold0": ["sub-03"],
        "IXI_test": ["sub-02", "sub-04"],
    }.items():  # fmt: skip
        rows = [f"0,{m},30,0,/Train/IXI/t1/{m}.nii.gz,/Train/IXI/mask/{m}.nii.gz,"
                for m in members]
        header = ",img_name,age,label,img_path,mask_path,seg_path"
        (lists / f"{name}.csv").write_text("\n".join([header, *rows]))
    out, sentences = prepare(raw, PrepareSettings(lists=str(lists)))
    assert list(read_split(out, "IXI_train_fold0")["subject"]) == ["sub-01", "sub-02"]
    assert sorted(p.stem for p in (out / "splits").iterdir()) == [
        "IXI_test", "IXI_train_fold0", "IXI_val_fold0"
    ]  # fmt: skip
    assert any("of which 1 are not here: sub-99" in s for s in sentences)
    assert any("IXI_train_fold0 and IXI_test share sub-02" in s for s in sentences)


def test_manifest_and_pictures(raw, registrations):
    out, _ = prepare(raw)
    table = manifest(out)
    row = table.loc["patient07"]
    assert (row["shape"], row["spacing"], row["orientation"]) == ("6x6x6", "1x1x1", "RAS")
    assert row["dice"] == 0.95 and row["contrast"] == 0.8 and len(row["sha256"]) == 64
    assert row["lesion_ml"] == 0.1 and row["lesion_mni_ml"] == 0.108
    assert row["brain"] == "stripped" and row["brain_ml"] == 0.1
    page = (out / "quality.html").read_text()
    assert page.count("<img") == 14 and "14 subjects registered" in page


def test_record_holds_the_transform(raw, registrations):
    out, _ = prepare(raw)
    record = json.loads((out / "registration/MSLUB_patient07.json").read_text())
    assert record["matrix"] == np.eye(4).tolist() and record["native_shape"] == [6, 6, 6]


KILLED = """
import sys, time
from pathlib import Path
from sadm_utils.data import prepare as module
from tests.data.toy_registration import draw_nothing, fake_registered

def register(image, mask, seg, **options):
    print(Path(image).name, flush=True)
    time.sleep(0.3)
    return fake_registered(image, seg)

module.register_scan, module.montage.draw_subject = register, draw_nothing
module.prepare_source(sys.argv[1], sys.argv[2], jobs=1, report=lambda _: None)
"""


def test_killed_run_resumes(raw, registrations):
    out = raw.parent / "out"
    command = [sys.executable, "-c", KILLED, str(raw), str(out)]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    started = [process.stdout.readline().strip() for _ in range(4)]
    process.kill()
    process.wait()
    time.sleep(0.1)
    done = {p.stem for p in (out / "registration").glob("*.json")}
    assert len(done) == 3 and len(started) == 4 and not (out / "manifest.csv").exists()
    left = [".sub-05_t1.nii.gz.ab_12345.nii.gz", ".sub-05_t1.nii.gz.mine", ".keep"]
    for name in left:
        (out / "Train/ixi/t1" / name).touch()
    prepare(raw)
    again = {name for name, _ in registrations}
    assert len(registrations) == 11 and started[3] in again and started[0] not in again
    assert len(manifest(out)) == 14 and len(read_split(out, "IXI_test")) == 3
    assert sorted(p.name for p in out.rglob(".*")) == sorted(left[1:]), "only what was ours"
