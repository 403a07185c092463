"""The whole chain once in profile smoke: install to site, then again, then bare papermill.

Run with ``make chain`` (or ``pytest -m chain -s``): it takes minutes and prints its progress.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sadm_utils.book import ANNOTATIONS, build_book, plan_book
from sadm_utils.evaluation.tables import NO_PERCENTAGE
from sadm_utils.execute import PACKAGE
from sadm_utils.publish import READ_BY_NO_OTHER

pytestmark = pytest.mark.chain
NOTEBOOKS = PACKAGE.parent / "notebooks"


@pytest.fixture
def run_dir(built_run: Path) -> Path:
    """The run folder of one complete build, which the browser tests look at, too."""
    return built_run


def papermill(run_dir: Path, *parameters: str) -> subprocess.CompletedProcess:
    """Run chapter 5 with plain papermill, as a reader without our command would."""
    command = [sys.executable, "-m", "papermill", "--kernel", "python3", "--no-progress-bar"]
    words = [NOTEBOOKS / "05_sadm_training.ipynb", run_dir / "bare.ipynb", *parameters]
    environment = {**os.environ, "JUPYTER_PREFER_ENV_PATH": "1"}
    return subprocess.run([*command, *words], capture_output=True, text=True, env=environment)


def test_every_stage_is_finished_and_recorded(run_dir: Path) -> None:
    for stage in (stage for run in plan_book({}) for stage in run.stages):
        record = json.loads((run_dir / stage / "record.json").read_text())
        assert record["identity"] and record["profile"] == "smoke" and record["seed"] == 0
    assert not list(run_dir.glob("**/*.tmp")) and not list(run_dir.glob("*/last.ckpt"))


def test_what_colab_leaves_out_is_read_by_no_other_chapter(run_dir: Path) -> None:
    notebook_of = {stage: run.notebook for run in plan_book({}) for stage in run.stages}
    for stage, notebook in notebook_of.items():
        parents = json.loads((run_dir / stage / "record.json").read_text())["parents"]
        others = {notebook_of[parent] for parent in parents} - {notebook}
        assert not others & set(READ_BY_NO_OTHER), stage


def test_every_notebook_ran_to_its_end(run_dir: Path) -> None:
    timings = json.loads((run_dir / "timings.json").read_text())
    for run in plan_book({}):
        notebook = json.loads((run_dir / "executed" / f"{run.name}.ipynb").read_text())
        counts = [c["execution_count"] for c in notebook["cells"] if c["cell_type"] == "code"]
        assert len(counts) >= 5 and None not in counts
        assert timings[run.name]["seconds"] > 1
    assert not list((run_dir / "executed").glob("*.failed.ipynb"))


def test_results_hold_every_method_source_and_set(run_dir: Path) -> None:
    rows = json.loads((run_dir / "evaluation" / "results.json").read_text())["rows"]
    shares = [row["mean"] for row in rows if row["metric"] not in NO_PERCENTAGE]
    assert all(0 <= mean <= 1 for mean in shares if mean is not None)
    trained = {row["annotations"] for row in rows if row["method"] == "SADM_res"}
    assert set(ANNOTATIONS) <= trained
    methods = {row["method"] for row in rows}
    assert {"cDDPM", "Unet", "Unet_res", "SADM", "SADM_res"} <= methods
    assert {row["test_set"] for row in rows} >= {"Brats21", "ATLAS", "MSLUB"}
    assert (run_dir / "evaluation" / "results.csv").stat().st_size > 100


def test_site_has_every_page_and_needs_no_network(run_dir: Path) -> None:
    site = run_dir / "book"
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        page = (site / "notebooks" / f"{path.stem}.html").read_text()
        assert page.count("<img ") >= 2 and "Traceback" not in page
        assert "This page was executed with profile" in page
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?:https?:)?//', text)
        assert str(run_dir) not in text and str(PACKAGE.parent) not in text
    assert (site / "_static" / "mathjax" / "tex-svg.js").stat().st_size > 10**6


def test_second_build_reuses_everything(run_dir: Path, capsys: pytest.CaptureFixture) -> None:
    build_book("smoke", run_dir=run_dir)
    assert capsys.readouterr().out.count("reused") == len(plan_book({}))


def test_bare_papermill_runs_a_chapter(run_dir: Path) -> None:
    result = papermill(
        run_dir, "-p", "PROFILE", "smoke", "-p", "ANNOTATIONS", "atlas_v2",
        "-p", "RUN_DIR", str(run_dir),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]


def test_bare_papermill_refuses_an_unknown_parameter(run_dir: Path) -> None:
    result = papermill(
        run_dir, "-p", "PROFILE", "smoke", "-p", "ANOTATIONS", "atlas_v2",
        "-p", "RUN_DIR", str(run_dir),
    )  # fmt: skip
    assert result.returncode != 0
    assert "did you mean ANNOTATIONS?" in result.stderr + result.stdout
