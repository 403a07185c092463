"""Each mistake of a reader gets one sentence that names the place and the remedy, and no more.

The same errors, raised deeper down, are tested beside the module that raises them; here they come
out of the functions that notebooks and commands call. Exit codes are tested in ``test_cli``.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from sadm_utils.cddpm.training import load_cddpm, train_cddpm
from sadm_utils.data import io
from sadm_utils.data.stage import open_data, prepare_data
from sadm_utils.errors import UserError
from sadm_utils.evaluation import stage as evaluation
from sadm_utils.runs import Run, open_run
from sadm_utils.sadm.training import train_sadm
from sadm_utils.spark.training import train_spark
from tests.conftest import AFFINE, SHAPE, OpenTiny

IMAGE = "Test/Brats21/t1/P300_t1.nii.gz"
Spoil = Callable[[Path], object]


def one_sentence(error: pytest.ExceptionInfo[UserError]) -> str:
    """The error's text, which must be a single sentence."""
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 600, text
    assert not re.search(r"\. [A-Z]", text), f"more than one sentence: {text}"
    return text


@pytest.fixture
def data(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy of the tiny data to spoil."""
    return shutil.copytree(tiny_data, tmp_path / "data")


@pytest.fixture
def run(open_tiny: OpenTiny, data: Path) -> Run:
    return Run(open_tiny().path, open_tiny().config, data, 0)


def save(file: Path, array: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(array, AFFINE), file)


def spoil_list(old: str, new: str) -> Spoil:
    def spoil(data: Path) -> None:
        file = data / "splits" / "Brats21_val.csv"
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))

    return spoil


SPOILS: dict[str, tuple[Spoil, str]] = {
    "list names a missing file": (
        lambda data: (data / IMAGE).unlink(),
        r"Brats21_val\.csv line 2 names .*P300_t1\.nii\.gz, which does not exist: restore",
    ),
    "list lacks a column": (spoil_list("mask_path", "mask"), "lacks the column mask_path: add"),
    "list has a wrong label": (spoil_list(",50,1,", ",50,sick,"), "line 2 has label 'sick': write"),
    "list is empty": (
        lambda data: (data / "splits" / "Brats21_val.csv").write_text(""),
        r"Brats21_val\.csv is empty or no CSV file: write the columns",
    ),
    "list is missing": (
        lambda data: (data / "splits" / "IXI_test.csv").unlink(),
        r"IXI_test\.csv does not exist: this data folder has the splits",
    ),
    "image is truncated": (
        lambda data: (data / IMAGE).write_bytes((data / IMAGE).read_bytes()[:3000]),
        r"P300_t1\.nii\.gz is truncated or damaged .*: copy or download",
    ),
    "image is empty": (
        lambda data: (data / IMAGE).write_bytes(b""),
        r"P300_t1\.nii\.gz is empty \(0 bytes\): copy or download",
    ),
    "image is no NIfTI": (
        lambda data: (data / IMAGE).write_text("not an image"),
        r"P300_t1\.nii\.gz cannot be read as NIfTI",
    ),
    "image holds NaN": (
        lambda data: save(data / IMAGE, np.full(SHAPE, np.nan, np.float32)),
        r"P300_t1\.nii\.gz holds 12800 NaN or infinite voxels: replace",
    ),
    "image has four dimensions": (
        lambda data: save(data / IMAGE, np.zeros((*SHAPE, 2), np.float32)),
        r"P300_t1\.nii\.gz has shape .*: extract one volume",
    ),
    "mask has another shape": (
        lambda data: save(
            data / IMAGE.replace("t1", "mask"), np.ones((9, 9, 9), np.uint8)
        ),
        r"P300_mask\.nii\.gz \(shape \(9, 9, 9\)\) does not lie on the grid .*: resample",
    ),
    "lesion mask has another shape": (
        lambda data: save(data / IMAGE.replace("t1", "seg"), np.ones((9, 9, 9), np.uint8)),
        r"P300_seg\.nii\.gz .* does not lie on the grid .*: resample",
    ),
    "mask is empty": (
        lambda data: save(data / IMAGE.replace("t1", "mask"), np.zeros(SHAPE, np.uint8)),
        r"P300",
    ),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_spoiled_data_stops_chapter_1(run: Run, data: Path, spoil: str) -> None:
    change, sentence = SPOILS[spoil]
    change(data)
    with pytest.raises(UserError, match=sentence) as error:
        prepare_data(run)
    one_sentence(error)
    with pytest.raises(UserError, match="'data' is (missing|unfinished)") as error:
        open_data(run)
    one_sentence(error)


def test_mended_data_is_accepted_afterwards(run: Run, data: Path) -> None:
    content = (data / IMAGE).read_bytes()
    (data / IMAGE).write_bytes(content[:3000])
    with pytest.raises(UserError):
        prepare_data(run)
    (data / IMAGE).write_bytes(content)
    assert prepare_data(run)["metrics"]["subjects"]["Brats21_val"] == 4


def test_lists_that_overlap_are_told_before_anything_is_trained(
    run: Run, data: Path, capsys: pytest.CaptureFixture
) -> None:
    lists = [data / "splits" / f"IXI_{name}.csv" for name in ("train_fold0", "test")]
    row = lists[0].read_text().splitlines()[1]
    prepare_data(run)
    assert "Warning" not in capsys.readouterr().out
    lists[1].write_text(f"{lists[1].read_text().rstrip()}\n{row}\n")
    prepare_data(run)
    told = capsys.readouterr().out
    assert "Warning: IXI_train_fold0 and IXI_test share 1 subject: " in told
    assert "Chapter 6 will refuse to score" in told


def test_folder_that_is_no_data_set(open_tiny: OpenTiny, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    run = Run(tmp_path / "run", open_tiny().config, tmp_path / "nothing", 0)
    with pytest.raises(UserError, match="nothing") as error:
        prepare_data(run)
    one_sentence(error)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("dem",), "Unknown profile 'dem': choose one of demo, paper, smoke"),
        (("smoke", "", "/no/folder"), "DATA_DIR '/no/folder' does not exist: give the folder"),
        (("smoke", "", "", "one"), "SEED must be a whole number of at least 0, not 'one'"),
        (("smoke", "", "", 0, {"cddpm.train.epoks": 1}), "did you mean cddpm.train.epochs"),
        (("smoke", "", "", 0, {"cddpm.train.epochs": "many"}), "takes int, not 'many'"),
    ],
)
def test_mistaken_parameters_of_a_notebook(arguments: tuple, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as error:
        open_run(*arguments)
    assert "\n" not in str(error.value)


def test_chapters_in_the_wrong_order(run: Run) -> None:
    for train, notebook in (
        (train_spark, "01_data_preparation"),
        (train_cddpm, "01_data_preparation"),
        (lambda run: train_sadm(run, "draem"), "01_data_preparation"),
        (evaluation.evaluate, "01_data_preparation"),
        (load_cddpm, "04_cddpm_training"),
    ):
        with pytest.raises(UserError, match=f"is missing .* run notebooks/{notebook}") as error:
            train(run)
        one_sentence(error)
    prepare_data(run)
    with pytest.raises(UserError, match="'spark' is missing .*03_spark_pretraining") as error:
        train_cddpm(run)
    one_sentence(error)


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk_in_chapter_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io.os, "replace", no_space)
    with pytest.raises(UserError, match="disk is full while .*free some space") as error:
        prepare_data(run)
    one_sentence(error)
    monkeypatch.undo()
    with pytest.raises(UserError, match="'data' is"):
        open_data(run)
    assert prepare_data(run)["metrics"]["subjects"]["IXI_test"] == 2


def test_full_disk_in_chapter_6(
    open_tiny: OpenTiny, chain_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(chain_dir / "evaluation")
    for folder in chain_dir.glob("sadm-*"):
        shutil.rmtree(folder)
    run = open_tiny(chain_dir)
    monkeypatch.setattr(evaluation.np, "savez_compressed", no_space)
    with pytest.raises(UserError, match="disk is full while the stage 'evaluation'") as error:
        evaluation.evaluate(run)
    one_sentence(error)
    assert not (chain_dir / "evaluation" / "record.json").exists()


def test_damaged_slices_and_weights(open_tiny: OpenTiny, chain_dir: Path) -> None:
    run = open_tiny(chain_dir)
    array = chain_dir / "data" / "IXI_train_fold0_image.npy"
    array.write_bytes(array.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"IXI_train_fold0_image\.npy is missing or damaged") as e:
        open_data(run)["IXI_train_fold0"]
    one_sentence(e)
    weights = chain_dir / "cddpm" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"weights\.safetensors is truncated or was changed") as e:
        load_cddpm(run)
    one_sentence(e)
