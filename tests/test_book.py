"""Running, reusing, locking and staging, on notebooks small enough to run in a second."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from sadm_utils import book, execute, lock, website
from sadm_utils.book import (
    ANNOTATIONS,
    KEPT,
    absent_sources,
    common_parameters,
    pages_of,
    plan_book,
    run_notebook,
    run_plan,
)
from sadm_utils.costs import check_disk
from sadm_utils.errors import UserError
from sadm_utils.execute import NotebookFailed, NotebookRun, execution_key, package_digest
from sadm_utils.lock import locked
from sadm_utils.sadm.training import SET_OF_ANNOTATIONS, stage_name
from sadm_utils.website import SiteFailed, prepare_page, stage_sources
from tests.data.releases import make_atlas, make_brats

PARAMETERS = 'PROFILE = "demo"\nDATA_DIR = ""\nRUN_DIR = ""\nSEED = 0\nOVERRIDES = {}\nLEVEL = 1'
STAGE = """
import json, os
from pathlib import Path
assert os.environ["MALLOC_MMAP_MAX_"] == "0", "the allocator setting does not reach the kernel"
folder = Path(RUN_DIR) / "STAGE"
folder.mkdir(parents=True, exist_ok=True)
(folder / "record.json").write_text(json.dumps({"identity": f"STAGE{LEVEL}"}))
print("Stage STAGE: written in", folder)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two small notebooks, in place of the real one."""
    root = tmp_path / "project"
    (root / "notebooks").mkdir(parents=True)
    for name, stage in (("01_first", "one"), ("02_second", "two")):
        write_notebook(root / "notebooks" / f"{name}.ipynb", STAGE.replace("STAGE", stage))
    for module in (book, execute, website):
        monkeypatch.setattr(module, "project_root", lambda: root)
    monkeypatch.setattr(lock, "PATIENCE", 0)
    return root


def write_notebook(path: Path, *cells: str) -> Path:
    parameters = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(
        cells=[new_markdown_cell("# Title"), parameters, *map(new_code_cell, cells)],
        metadata={"kernelspec": kernel, "language_info": {"name": "python"}},
    )
    nbformat.write(notebook, path)
    return path


def small_plan(run_dir: Path) -> list[NotebookRun]:
    parameters = {"PROFILE": "smoke", "RUN_DIR": str(run_dir)}
    return [
        NotebookRun("01_first", parameters, stages=("one",)),
        NotebookRun("02_second", {**parameters, "LEVEL": 5}, "five", stages=("two",)),
    ]


def test_plan_runs_chapter_5_for_each_source_and_shows_the_first(tmp_path: Path) -> None:
    plan = plan_book({"PROFILE": "smoke"})
    assert [r.variant for r in plan if r.notebook.startswith("05")] == list(ANNOTATIONS)
    assert [r.parameters.get("ANNOTATIONS") for r in plan[4:7]] == list(ANNOTATIONS)
    numbers = (1, 2, 3, 4, 5, 5, 5, 6, 7, 8, 9)
    assert [run.notebook[:2] for run in plan] == [f"{number:02d}" for number in numbers]
    for run in plan[4:7]:
        inputs = ("input", "residual")
        assert run.stages == tuple(stage_name(run.variant, name) for name in inputs)
        assert run.variant == "draem" or run.needs == f"{SET_OF_ANNOTATIONS[run.variant]}_val"
    assert all(r.stages or r.notebook == "07_own_scan" for r in plan), "maps are no stage"
    assert all(r.parameters["PROFILE"] == "smoke" for r in plan)
    pages = pages_of(plan, tmp_path)
    assert pages["05_sadm_training"].name == "05_sadm_training-draem.ipynb"
    assert len(pages) == 9


def test_plan_leaves_out_sources_that_the_data_lacks(tmp_path: Path) -> None:
    (tmp_path / "splits").mkdir()
    for name in ("IXI_test", "ATLAS_val", "ATLAS_test"):
        (tmp_path / "splits" / f"{name}.csv").write_text("")
    plan = plan_book({"DATA_DIR": str(tmp_path)})
    assert [run.variant for run in plan if run.variant] == ["draem", "atlas_v2"]
    assert absent_sources(str(tmp_path)) == ["brats21"] and absent_sources(None) == []


def test_chosen_raw_scans_are_a_parameter_of_chapter_1(tmp_path: Path) -> None:
    make_brats(tmp_path), make_atlas(tmp_path)
    everything, chosen = (plan_book({"DATA_DIR": str(tmp_path)}, d) for d in ("", "brats21"))
    assert [r.variant for r in everything if r.variant] == ["draem", "brats21", "atlas_v2"]
    assert [r.variant for r in chosen if r.variant] == ["draem", "brats21"]
    assert [r.parameters.get("DATASET") for r in chosen[:2]] == ["brats21", None]
    assert "DATASET" not in everything[0].parameters


def test_estimates_name_every_step_of_the_plan() -> None:
    steps = {run.name for run in plan_book({})} | {book.SITE}
    assert all(set(estimates) == steps for estimates in book.ESTIMATES.values())


def test_run_folder_is_named_after_profile_and_data(tmp_path: Path, project: Path) -> None:
    parameters, folder = common_parameters("smoke")
    assert folder == project / "runs" / "smoke"
    assert parameters == {"PROFILE": "smoke", "RUN_DIR": str(folder)}
    (tmp_path / "mine").mkdir()
    parameters, folder = common_parameters(
        "smoke", data_dir=tmp_path / "mine", seed=0, overrides={"cddpm.train.epochs": 3}
    )
    assert folder.name == "smoke-mine" and parameters["SEED"] == 0
    assert parameters["OVERRIDES"] == {"cddpm.train.epochs": 3}
    with pytest.raises(UserError, match="does not exist"):
        common_parameters("smoke", data_dir=tmp_path / "nowhere")


def test_runs_then_reuses_then_runs_what_is_missing(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run_dir = tmp_path / "run"
    plan = small_plan(run_dir)
    run_dir.mkdir()
    assert run_plan(plan, run_dir, "smoke") == []
    shown = capsys.readouterr().out
    assert "[1/2] 01_first: running" in shown and "Stage one: written" in shown
    assert json.loads((run_dir / "two" / "record.json").read_text())["identity"] == "two5"
    timings = json.loads((run_dir / "timings.json").read_text())
    assert set(timings) == {"01_first", "02_second-five"}
    assert all(t["seconds"] > 0 and t["peak_bytes"] > 2**20 for t in timings.values())
    assert all(set(t) == set(KEPT) for t in timings.values())

    assert run_plan(plan, run_dir, "smoke") == ["01_first", "02_second-five"]
    assert "reused" in capsys.readouterr().out
    slow = {name: {**entry, "seconds": 999.0} for name, entry in timings.items()}
    (run_dir / "timings.json").write_text(json.dumps({**slow, "05_dropped": timings["01_first"]}))
    (run_dir / "two" / "record.json").unlink()
    assert run_plan(plan, run_dir, "smoke") == ["01_first"]
    timings = json.loads((run_dir / "timings.json").read_text())
    assert timings["01_first"]["seconds"] == 999.0 and "05_dropped" not in timings
    assert timings["02_second-five"]["seconds"] < 999.0, "it made its stage again, and faster"
    # A stage made anew by another hand reaches the notebooks after it, not those before.
    (run_dir / "two" / "record.json").write_text('{"identity": "other"}')
    assert run_plan(plan, run_dir, "smoke") == ["01_first"]


def test_run_without_its_data_is_left_out(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.csv").write_text("split,row\nMSLUB_val,0\n")
    run = NotebookRun("01_first", {"RUN_DIR": str(tmp_path)}, "x", ("one",), needs="Brats21_val")
    assert run_plan([run], tmp_path, "smoke") == []
    assert "left out, as the data has no Brats21_val" in capsys.readouterr().out
    assert not (tmp_path / "one").exists()


def test_failure_keeps_the_notebook_aside_and_says_where(project: Path, tmp_path: Path) -> None:
    source = write_notebook(project / "notebooks" / "03_bad.ipynb", "x = 1", "x / 0")
    output = tmp_path / "executed" / "03_bad.ipynb"
    with pytest.raises(NotebookFailed, match=r"03_bad failed in cell 3 with ZeroDivisionError"):
        execute.execute(NotebookRun("03_bad"), source, output)
    assert not output.exists() and output.with_suffix(".failed.ipynb").exists()
    assert not output.with_suffix(".running.ipynb").exists()


def test_user_error_in_a_cell_is_passed_on_as_its_sentence(project: Path, tmp_path: Path) -> None:
    code = "from sadm_utils.errors import UserError\nraise UserError('Give it a name.')"
    source = write_notebook(project / "notebooks" / "03_bad.ipynb", code)
    with pytest.raises(UserError) as error:
        execute.execute(NotebookRun("03_bad"), source, tmp_path / "03_bad.ipynb")
    assert str(error.value) == "Give it a name."


def test_full_disk_is_one_sentence(project: Path, tmp_path: Path) -> None:
    code = "import errno\nraise OSError(errno.ENOSPC, 'No space left on device')"
    source = write_notebook(project / "notebooks" / "03_bad.ipynb", code)
    with pytest.raises(UserError, match="disk is full.*free some space"):
        execute.execute(NotebookRun("03_bad"), source, tmp_path / "03_bad.ipynb")


def test_unknown_parameter_is_refused_before_anything_runs(project: Path, tmp_path: Path) -> None:
    parameters = {"PROFILE": "smoke", "RUN_DIR": str(tmp_path / "run")}
    with pytest.raises(UserError, match="'LEVLE' of 01_first.ipynb: did you mean LEVEL?"):
        run_notebook("01", parameters, {"LEVLE": 2}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_notebooks_are_found_by_number_and_name(project: Path) -> None:
    path = project / "notebooks" / "02_second.ipynb"
    for name in ("2", "02", "02_second", "notebooks/02_second.ipynb"):
        assert execute.find_notebook(name) == path
    with pytest.raises(UserError, match="choose one of 01_first, 02_second"):
        execute.find_notebook("07")


def test_key_follows_content_not_place(project: Path, tmp_path: Path) -> None:
    path = project / "notebooks" / "01_first.ipynb"
    data = tmp_path / "data"
    data.mkdir()

    def key(**parameters: Any) -> str:
        return execution_key(path, NotebookRun("01_first", parameters))

    base = key(RUN_DIR="a", DATA_DIR=str(data))
    assert key(RUN_DIR="b", DATA_DIR=str(data)) == base
    assert key(RUN_DIR="a", DATA_DIR=str(data), SEED=1) != base
    (data / "scan.nii").write_bytes(b"1")
    assert key(RUN_DIR="a", DATA_DIR=str(data)) != base
    before = key()
    write_notebook(path, "changed = True")
    assert key() != before


def test_code_of_a_later_chapter_does_not_touch_an_earlier_one(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        for file in ("data/io.py", "sadm/network.py", "config.py", "cli.py"):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text("")
    (second / "sadm" / "network.py").write_text("new")
    (second / "cli.py").write_text("new")
    assert package_digest("01_data", first) == package_digest("01_data", second)
    assert package_digest("05_sadm", first) != package_digest("05_sadm", second)
    before = package_digest("01_data", second)
    for file in ("config.py", "viewer.js"):
        (second / file).write_text("new")
        package_digest.cache_clear()
        assert package_digest("01_data", second) != before
        before = package_digest("01_data", second)


def test_only_chapter_8_depends_on_the_comparison_methods(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        (folder / "baselines").mkdir(parents=True)
        (folder / "baselines" / "ae.py").write_text(folder.name)
    for notebook, same in (("07_own_scan", True), ("08_baselines", False)):
        one, two = (package_digest(notebook, folder) for folder in folders)
        assert (one == two) == same


def test_two_builds_in_one_folder_are_refused(project: Path, tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(UserError, match="Another build is running"):
            with locked(tmp_path):
                pass
    with locked(tmp_path):
        pass


def test_processes_of_a_killed_build_are_ended(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    orphan, other = subprocess.Popen(command), subprocess.Popen(command)
    noted = [[orphan.pid, psutil.Process(orphan.pid).create_time()], [other.pid, 1.0]]
    (tmp_path / ".book.processes").write_text(json.dumps(noted))
    try:
        with locked(tmp_path):
            assert not psutil.pid_exists(orphan.pid)
            assert other.poll() is None, "a process that only shares the number was ended"
    finally:
        for process in (orphan, other):
            process.kill()
            process.wait()
    assert "Ended 1 process" in capsys.readouterr().out


def test_small_disk_is_refused_up_front(tmp_path: Path) -> None:
    check_disk(tmp_path, 0.0)
    with pytest.raises(UserError, match="needs about 1e\\+09 GiB.*--run-dir"):
        check_disk(tmp_path, 1e9)


def test_page_shows_no_machine_and_says_how_it_was_made(tmp_path: Path) -> None:
    run_dir = tmp_path / "runs" / "demo"
    shown = new_code_cell(f"# Parameters\nRUN_DIR = '{run_dir}'")
    shown.metadata["tags"] = ["injected-parameters"]
    printed = new_code_cell("print(path)")
    printed.outputs = [
        nbformat.v4.new_output("stream", text=f"{run_dir}/data and {tmp_path}/book, {tmp_path}\n"),
        nbformat.v4.new_output("display_data", {"text/html": f"<b>{tmp_path}/x</b>"}),
    ]
    record = {
        "parameters": {"PROFILE": "demo", "RUN_DIR": str(run_dir), "SEED": 3},
        "finished": "2026-01-02T03:04:05",
        "seconds": 187.0,
        "peak_bytes": 3 * 2**30,
        "device": "CPU, 2 threads",
        "python": "3.11.7",
        "torch": "2.13.0",
        "commit": "abc1234",
    }
    metadata = {"sadm": record, "papermill": {}, "widgets": {}}
    notebook = new_notebook(cells=[shown, printed], metadata=metadata)
    prepare_page(notebook, {run_dir: "runs/demo", tmp_path: ""})
    assert str(tmp_path) not in json.dumps(notebook)
    assert printed.outputs[0].text == "runs/demo/data and book, .\n"
    assert "remove-cell" in shown.metadata["tags"]
    assert not {"sadm", "papermill", "widgets"} & set(notebook.metadata)
    for part in ("`demo`", "SEED = 3", "2026-01-02", "3:07 min", "3.0 GiB", "abc1234"):
        assert part in notebook.cells[-1].source


def test_the_head_of_a_page_says_what_the_chapter_cost(tmp_path: Path) -> None:
    record = {"parameters": {"PROFILE": "demo"}}
    took = {"seconds": 1080.0, "peak_bytes": 2.1 * 2**30, "device": "CPU, 2 threads"}
    timings = {
        "04_x": took,
        "05_y-draem": {**took, "seconds": 130.0},
        "05_y-brats21": {**took, "seconds": 126.0, "peak_bytes": 3 * 2**30},
        "05_y-atlas_v2": {**took, "seconds": 124.0},
        "site": took,
    }

    def words(name: str, known: dict = timings, made: dict = record) -> str:
        return re.sub("<.*?>", "", website.cost_line(name, known, made))

    assert words("04_x") == (
        "This run took 18:00 min and 2.1 GiB with profile demo on CPU, 2 threads."
    )
    assert words("05_y") == (
        "The runs of this chapter took 2:10 min (draem), 2:06 min (brats21) and 2:04 min "
        "(atlas_v2), and at most 3.0 GiB, with profile demo on CPU, 2 threads."
    )
    assert words("06_z") == words("04_x", {}) == words("04_x", timings, {}) == ""
    for cost in (website.cost_line("04_x", timings, record), ""):
        cells = [nbformat.v4.new_markdown_cell("# Title"), new_code_cell("1")]
        notebook = new_notebook(cells=cells)
        prepare_page(notebook, {}, cost)
        sources = [cell.source for cell in notebook.cells]
        assert sources == ["# Title", *([cost] if cost else []), "1"]


def test_staging_puts_executed_notebooks_in_the_place_of_the_sources(
    project: Path, tmp_path: Path
) -> None:
    (project / "_config.yml").write_text("sphinx: {config: {html_theme_options: {}}}")
    (project / "_toc.yml").write_text("")
    (project / "book").mkdir()
    (project / "book" / "index.md").write_text("# Hello")
    executed = write_notebook(tmp_path / "01_first-variant.ipynb", "1")
    staging = tmp_path / "run" / "site"
    stage_sources({"01_first": executed}, staging, tmp_path / "run")
    assert {p.relative_to(staging).as_posix() for p in staging.rglob("*.*")} == {
        "_config.yml",
        "_toc.yml",
        "book/index.md",
        "notebooks/01_first.ipynb",
    }
    with pytest.raises(UserError, match="is missing"):
        stage_sources({"02_second": tmp_path / "no.ipynb"}, staging, tmp_path / "run")


def test_page_takes_tags_and_alternative_texts_of_the_source(tmp_path: Path) -> None:
    source = write_notebook(tmp_path / "a.ipynb", "1", "2")
    executed = nbformat.read(source, as_version=4)
    changed = nbformat.read(source, as_version=4)
    changed.cells[-1].metadata["mystnb"] = {"image": {"alt": "A picture."}}
    nbformat.write(changed, source)
    website.take_metadata(executed, source)
    assert executed.cells[-1].metadata["mystnb"]["image"]["alt"] == "A picture."
    assert "mystnb" not in executed.cells[-2].metadata
    website.take_metadata(executed, tmp_path / "none.ipynb")


@pytest.mark.parametrize("status", [0, 1])
def test_site_without_index_or_with_warnings_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    program = tmp_path / "jupyter-book"
    program.write_text(f"#!/bin/sh\necho 'a.md:3: WARNING: dead link'\nexit {status}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (tmp_path / "site").mkdir()
    with pytest.raises(SiteFailed, match="WARNING: dead link"):
        website._render(tmp_path / "site")
    assert os.path.exists(tmp_path / "site" / "build.log")
