"""A real sweep in miniature: undisturbed, killed twice, and on two Dask workers: the same table.

Run with ``make chain``; about six minutes on two quiet cores.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml

from sadm_utils.cli import main
from sadm_utils.runs import project_root
from sadm_utils.sweep.plan import Plan, plan_sweep
from sadm_utils.sweep.sweep_file import read_sweep

pytestmark = pytest.mark.chain
SADM = "import sys; from sadm_utils.cli import main; main(sys.argv[1:])"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(project_root()), "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest form of the example: one source of annotations."""
    tree = yaml.safe_load((project_root() / "sweeps" / "smoke.yaml").read_text())
    tree["annotations"] = ["draem"]
    tree["overrides"] |= {
        "cddpm.width": 8, "cddpm.groups": 4, "cddpm.levels": [500], "sadm.width": 4,
        "sadm.depth": 2, "evaluation.betas": 3, "evaluation.bootstrap": 20,
    }  # fmt: skip
    path = tmp_path_factory.mktemp("file") / "smallest.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.fixture(scope="module")
def plan(file: Path) -> Plan:
    return plan_sweep(read_sweep(file))


@pytest.fixture(scope="module")
def undisturbed(file: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The table of a sweep that one process has run from begin to end."""
    out = tmp_path_factory.mktemp("undisturbed")
    sweep(file, out, "--threads", "1")
    return table(out)


def sweep(file: Path, out: Path, *words: str) -> None:
    """Run a sweep to its end in this process."""
    main_returns(["sweep", str(file), "--out", str(out), *words])


def main_returns(words: list[str]) -> None:
    try:
        main(words)
    except SystemExit as end:
        assert not end.code, f"sadm {' '.join(words)} ended with {end.code}"


def table(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "results" / "table.csv")


def kill_when(words: list[str], there: Callable[[], bool]) -> None:
    """Start the command, and kill it and all below it as soon as something is there."""
    process = subprocess.Popen(
        [sys.executable, "-c", SADM, *words], env=ENVIRONMENT, start_new_session=True
    )
    deadline = time.monotonic() + 240
    while not there():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    os.killpg(process.pid, signal.SIGKILL)
    for child in children:  # kernels have groups of their own
        try:
            child.kill()
        except psutil.NoSuchProcess:
            pass
    process.wait()


def test_sweep_that_is_killed_twice(plan, file, undisturbed, tmp_path):
    words = ["sweep", str(file), "--out", str(tmp_path), "--threads", "1", "--jobs", "2"]
    model, network = (next(p for p in plan.points if p.startswith(k)) for k in ("04", "05"))
    points = tmp_path / "points"
    kill_when(words, lambda: (points / model / "cddpm" / "progress.json").exists())
    assert not (points / model / "point.json").exists()
    kill_when(words, (points / network / "sadm-draem-input" / "config.yaml").exists)
    assert (points / model / "point.json").exists()
    assert not (points / network / "point.json").exists()
    sweep(file, tmp_path, "--threads", "1", "--jobs", "2")
    pd.testing.assert_frame_equal(table(tmp_path), undisturbed, check_exact=True)
    assert set(undisturbed["variant"]) == {"plain", "l1 residual"}
    assert set(undisturbed["method"]) >= {"cDDPM", "Unet", "Unet_res", "SADM", "SADM_res"}


def test_two_dask_workers_make_the_same_table(file, undisturbed, tmp_path):
    distributed = pytest.importorskip("distributed", reason="the extra 'dask' is not installed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        sweep(file, tmp_path, "--dask", cluster.scheduler_address, "--threads", "1")
    pd.testing.assert_frame_equal(table(tmp_path), undisturbed, check_exact=True)
    main_returns(["results", str(tmp_path), "--format", "latex"])
