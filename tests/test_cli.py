"""The command: a user's mistake is one sentence and exit code 2, never a traceback."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sadm_utils import book, doctor
from sadm_utils.cli import main, parse_overrides, parse_pairs, split_pairs
from sadm_utils.errors import UserError
from sadm_utils.evaluation.statistics import ROW_COLUMNS
from sadm_utils.evaluation.tables import write_results
from sadm_utils.execute import Interrupted, NotebookFailed

Sadm = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sadm(capsys: pytest.CaptureFixture) -> Iterator[Sadm]:
    """Run the command; return its exit code, output and error output."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return int(stop.value.code or 0), out, err

    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


MISTAKES = {
    "profile": (["book", "--profile", "dmeo"], "choose one of demo, paper, smoke"),
    "key": (["book", "-o", "cddpm.train.epoch=3"], "did you mean cddpm.train.epochs"),
    "type": (["book", "-o", "cddpm.train.epochs=many"], "takes int, not 'many'"),
    "no value": (["book", "-o", "cddpm.width"], "must look like key=value"),
    "data": (["book", "--data-dir", "no/such/folder"], "'no/such/folder' does not exist"),
    "notebook": (["run", "77"], "Unknown notebook '77': choose one of"),
    "results": (["results", "--run-dir", "no/such/run"], "run notebooks/06_evaluation.ipynb"),
    "parameter": (["run", "05", "-p", "ANOTATIONS", "brats21"], "did you mean ANNOTATIONS?"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_gets_one_sentence_and_exit_code_2(sadm: Sadm, mistake: str) -> None:
    arguments, sentence = MISTAKES[mistake]
    code, out, err = sadm(*arguments)
    assert code == 2 and sentence in err
    assert len(err.splitlines()) == 1 and err.startswith("sadm: ") and not out


def test_failure_of_a_notebook_is_exit_code_1(sadm: Sadm, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise NotebookFailed("04 failed in cell 3 with ValueError: x")

    monkeypatch.setattr(book, "build_book", fail)
    assert sadm("book") == (1, "", "sadm: 04 failed in cell 3 with ValueError: x\n")


def test_book_passes_its_options_on(sadm: Sadm, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple] = []
    monkeypatch.setattr(book, "build_book", lambda *a: seen.append(a))
    code, _, _ = sadm(
        *("book", "--profile", "smoke", "--seed", "4", "-o", "a.b=1", "-o", "c=[1, 2]"),
        *("--dataset", "ixi,atlas"),
    )
    assert code == 0
    assert seen == [("smoke", "", "", 4, {"a.b": 1, "c": [1, 2]}, False, "ixi,atlas")]


def test_run_takes_parameters_as_papermill_does(
    sadm: Sadm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[tuple] = []
    monkeypatch.setattr("sadm_utils.execute.check_parameters", lambda *a: None)
    monkeypatch.setattr("sadm_utils.execute.find_notebook", lambda name: Path(name))
    monkeypatch.setattr(book, "run_notebook", lambda *a: seen.append(a))
    code, _, err = sadm(
        *("run", "05", "-p", "ANNOTATIONS", "brats21", "-p", "PROFILE", "smoke"),
        *("--run-dir", str(tmp_path), "--dataset", "ixi"),
    )
    assert code == 0, err
    ((name, common, own, folder, dataset),) = seen
    assert (name, own, folder, dataset) == ("05", {"ANNOTATIONS": "brats21"}, tmp_path, "ixi")
    assert common == {"PROFILE": "smoke", "RUN_DIR": str(tmp_path)}


def test_results_as_table_and_as_json(sadm: Sadm, tmp_path: Path) -> None:
    row = dict.fromkeys(ROW_COLUMNS, 0.0)
    row |= {"method": "cDDPM", "annotations": "", "test_set": "Brats21", "metric": "best_dice"}
    row |= {"mean": 0.31, "sd": 0.1, "low": 0.25, "high": 0.37, "n": 14}
    write_results(tmp_path / "evaluation", pd.DataFrame([row]))
    code, out, _ = sadm("results", "--run-dir", str(tmp_path))
    assert code == 0 and "cDDPM" in out and "31.0 ± 10.0 [25.0, 37.0]" in out
    code, out, _ = sadm("results", "--json", "--run-dir", str(tmp_path))
    assert code == 0 and json.loads(out)["rows"][0]["mean"] == 0.31


def test_predict_opens_the_run_and_names_what_was_written(
    sadm: Sadm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[tuple] = []

    def predict_scan(*arguments: object, show: Callable[[str], None]) -> dict:
        seen.append(arguments)
        show("Registering.")
        return {"files": ["scan_anomaly_map.nii.gz"]}

    monkeypatch.setattr("sadm_utils.predict.open_finished_run", lambda folder: f"run {folder}")
    monkeypatch.setattr("sadm_utils.predict.predict_scan", predict_scan)
    words = ["scan.nii.gz", "--out", "maps", "--mask", "m.nii.gz", "--run-dir", str(tmp_path)]
    code, out, _ = sadm("predict", *words)
    assert code == 0 and "Registering." in out and "scan_anomaly_map.nii.gz" in out
    assert seen == [("scan.nii.gz", "maps", f"run {tmp_path}", None, "m.nii.gz")]


def test_values_are_yaml_with_scientific_numbers() -> None:
    assert parse_overrides(["a=1e-3", "b=true", "c=[1, 2]", "d= x", "e=", "f='32'"]) == {
        "a": 0.001,
        "b": True,
        "c": [1, 2],
        "d": "x",
        "e": "",
        "f": "32",
    }
    with pytest.raises(UserError, match="key=value"):
        parse_overrides(["=3"])
    with pytest.raises(UserError, match="-p LEVEL VALUE"):
        parse_pairs(["LEVEL"])


def test_pairs_are_joined_and_nothing_else_is_touched() -> None:
    words = ["run", "05", "-p", "A", "-1", "-p", "B=2", "--parameter", "C", "--seed", "3"]
    expected = ["run", "05", "-p", "A=-1", "-p", "B=2", "--parameter", "C", "--seed", "3"]
    assert split_pairs(words) == expected


def test_doctor_finds_this_installation_healthy() -> None:
    checks = [doctor.check_python(), *doctor.check_packages(), doctor.check_jupyter_book()]
    assert [check.line for check in checks if not check.ok] == []
    assert doctor.check_device().ok


def test_doctor_names_what_is_wrong(
    sadm: Sadm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "NEEDED_DISK_GIB", 10**9)
    monkeypatch.setattr(doctor, "version", lambda name: "0.0.1")
    code, out, _ = sadm("doctor", "--data-dir", str(tmp_path / "no"), "--run-dir", str(tmp_path))
    assert code == 1
    problems = [line for line in out.splitlines() if line.startswith("PROBLEM")]
    assert len(problems) == 4, out
    assert "torch 0.0.1 is not ==2.13.0" in out and "make install" in out
    assert "does not exist" in out and "free some space" in out


def test_interrupt_says_how_to_resume(sadm: Sadm, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise Interrupted("04_cddpm_training was stopped; run the same command to resume.")

    monkeypatch.setattr(book, "build_book", interrupt)
    code, _, err = sadm("book")
    assert code == 130 and "resume" in err


def test_sources_state_license_access_and_citation(sadm: Sadm) -> None:
    code, out, _ = sadm("sources")
    assert code == 0 and out.count("license: ") == out.count("access: ") == 8
    assert "ixi: IXI, 581 subjects" in out and "CC BY-SA 3.0" in out


def test_prepare_passes_its_options_on(sadm: Sadm, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple] = []

    def prepare_source(*arguments: Any, **options: Any) -> Path:
        seen.append((*arguments[:2], options["settings"], options["jobs"], options["cluster"]))
        arguments[2](1, 4)
        return Path("out")

    monkeypatch.setattr("sadm_utils.data.prepare.prepare_source", prepare_source)
    code, out, _ = sadm(
        *("prepare", "raw", "--out", "out", "--source", "own", "--set", "WMH", "--seed", "3"),
        *("--no-bias-correction", "--brain", "template", "--lists", "l", "--jobs", "2"),
        *("--dask", "tcp://host:8786", "--template", "t.nii", "--template-mask", "m.nii"),
    )
    assert code == 0 and "1 of 4 scans registered, " in out and "quality.html" in out
    (source, folder, settings, jobs, cluster) = seen[0]
    assert (source, folder, jobs, cluster) == ("raw", "out", 2, "tcp://host:8786")
    assert vars(settings) == {
        "source": "own", "sick_set": "WMH", "bias_correction": False, "brain": "template",
        "seed": 3, "folds": 5, "lists": "l", "template": "t.nii", "template_mask": "m.nii",
    }  # fmt: skip
    code, _, err = sadm("prepare", "raw", "--out", "out", "--brain", "skull")
    assert code == 2 and "choose one of auto, given" in err


def test_splits_refuses_a_subject_in_two_lists(sadm: Sadm, tmp_path: Path) -> None:
    header = "img_name,age,label,img_path,mask_path,seg_path\n"
    (tmp_path / "splits").mkdir()
    for name, subject in (("train_fold0", "a"), ("val_fold0", "b"), ("test", "c")):
        file = tmp_path / "splits" / f"IXI_{name}.csv"
        file.write_text(f"{header}{subject},30,0,/{subject}.nii,/m.nii,\n")
    code, out, _ = sadm("splits", str(tmp_path))
    assert code == 0 and "IXI_test: 1 subjects" in out and "No subject is in two" in out
    (tmp_path / "splits/IXI_test.csv").write_text(f"{header}a,30,0,/a.nii,/m.nii,\n")
    code, out, err = sadm("splits", str(tmp_path))
    assert code == 2 and "IXI_train_fold0 and IXI_test share 1 subject: a." in out
    assert "overlap" in err


def test_fetch_passes_its_options_on(sadm: Sadm, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple] = []

    def fetch(name: str, out: str, **options: Any) -> None:
        seen.append((name, out, options["only_show"], options["mirror"]))

    monkeypatch.setattr("sadm_utils.data.fetch.fetch", fetch)
    code, _, _ = sadm("fetch", "mslub", "--out", "raw", "--only-show", "--mirror", "http://m")
    assert code == 0 and seen == [("mslub", "raw", True, "http://m")]
    code, _, err = sadm("fetch", "mslub")
    assert code == 2 and "--out" in err
