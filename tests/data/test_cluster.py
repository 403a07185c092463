"""``sadm prepare --dask``: a scheduler and two workers as processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from sadm_utils.data import cluster as module
from sadm_utils.data.layout import read_split
from sadm_utils.data.prepare import prepare_source
from sadm_utils.errors import UserError
from tests.data.releases import touch

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("toy_registration.py")
PREPARE = """
import sys
from sadm_utils.data.prepare import prepare_source
raw, out, address = sys.argv[1:]
prepare_source(raw, out, lambda done, _: print(done, flush=True), cluster=address)
"""


PATHS = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
ENVIRONMENT = {
    **os.environ, "PYTHONPATH": PATHS, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"
}  # fmt: skip


def need_dask() -> None:
    """Skip where the extra is not installed."""
    pytest.importorskip("distributed", reason="the extra 'dask' is not installed")


def start(*words: object) -> subprocess.Popen:
    """Start a command of Dask."""
    command = [sys.executable, "-m", "dask", *map(str, words), "--host", "127.0.0.1"]
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=nowhere, stderr=nowhere)


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a scheduler that has no workers yet."""
    need_dask()
    file = tmp_path_factory.mktemp("dask") / "scheduler.json"
    process = start("scheduler", "--port", 0, "--no-dashboard", "--scheduler-file", file)
    try:
        deadline = time.monotonic() + 60
        while not file.is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield json.loads(file.read_text())["address"]
    finally:
        stop(process)


@pytest.fixture(scope="module")
def cluster(scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the scheduler, with two workers."""
    from distributed import Client

    folder = tmp_path_factory.mktemp("workers")
    process = start(
        *("worker", scheduler, "--nworkers", 2, "--nthreads", 1, "--no-dashboard"),
        *("--preload", WORKER, "--local-directory", folder),
    )
    try:
        with Client(scheduler, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield scheduler
    finally:
        stop(process)


def read_manifest(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "manifest.csv", keep_default_na=False)


def prepare(raw: Path, out: Path, address: str) -> list[str]:
    sentences: list[str] = []
    prepare_source(raw, out, cluster=address, report=sentences.append)
    return sentences


def test_scheduler_that_does_not_answer(raw, tmp_path, monkeypatch):
    need_dask()
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.5)
    for address in ("tcp://127.0.0.1:9", "nonsense"):
        begin = time.monotonic()
        with pytest.raises(UserError, match=f"No Dask scheduler answers at '{address}'.*start one"):
            prepare(raw, tmp_path / "out", address)
        assert time.monotonic() - begin < 5


def test_package_that_is_not_installed(raw, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match="Dask is not installed here: run 'pip install distributed"):
        prepare(raw, tmp_path / "out", "tcp://127.0.0.1:9")


def test_scheduler_without_workers(raw, tmp_path, scheduler, monkeypatch):
    monkeypatch.setattr(module, "CONNECT_SECONDS", 1.0)
    with pytest.raises(UserError, match=f"{scheduler} has no workers: start some"):
        prepare(raw, tmp_path / "out", scheduler)


def test_two_workers_do_what_one_process_does(raw, tmp_path, cluster, registrations):
    (raw / "ds/sub-02/anat/sub-02_T1w.nii.gz").write_bytes(b"")
    here, there = tmp_path / "here", tmp_path / "there"
    prepare_source(raw, here, jobs=1, report=lambda _: None)
    sentences = prepare(raw, there, cluster)
    assert [s for s in sentences if "Left out ds sub-02" in s and "is empty" in s]
    for file in sorted((here / "splits").iterdir()):
        assert file.read_bytes() == (there / "splits" / file.name).read_bytes()
    one, two = (read_manifest(out).drop(columns="seconds") for out in (here, there))
    assert len(two) == 14 and one.equals(two)


def test_subject_that_kills_its_worker_stops_no_other(raw, tmp_path, cluster):
    touch(raw / "ds/sub-66/anat/sub-66_T1w.nii.gz")
    sentences = prepare(raw, tmp_path / "out", cluster)
    (left,) = [s for s in sentences if s.startswith("Left out")]
    assert "ds sub-66: the Dask workers that took it died" in left
    assert (read_manifest(tmp_path / "out")["error"] != "").sum() == 1


def test_killed_run_resumes_on_the_cluster(raw, tmp_path, cluster):
    out = tmp_path / "out"
    command = [sys.executable, "-c", PREPARE, str(raw), str(out), cluster]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    lines = [process.stdout.readline() for _ in range(6)]  # notes come first
    process.kill()
    process.wait()
    time.sleep(1)  # what the workers had begun, they finish
    records = out / "registration"
    done = {file.name: file.stat().st_mtime_ns for file in records.glob("*.json")}
    assert lines and 1 <= len(done) < 14 and not (out / "manifest.csv").exists()
    seen: list[int] = []
    prepare_source(raw, out, lambda n, _: seen.append(n), cluster=cluster, report=lambda _: None)
    assert seen == list(range(len(done) + 1, 15))
    assert all((records / name).stat().st_mtime_ns == when for name, when in done.items())
    assert len(read_manifest(out)) == 14 and len(read_split(out, "IXI_test")) == 3
    prepare(raw, out, "tcp://127.0.0.1:9")  # nothing is left to do, so that nobody is asked


def test_folder_that_a_worker_does_not_see(raw, tmp_path, cluster):
    with pytest.raises(UserError, match="does not see .*elsewhere: use folders that all machines"):
        list(module.run_on_cluster(pow, [(2, 2)], cluster, shared=[tmp_path / "elsewhere"]))


def test_any_function_and_its_error(cluster):
    assert sorted(module.run_on_cluster(pow, ((k, 2) for k in range(20)), cluster)) == [
        k * k for k in range(20)
    ]
    with pytest.raises(ZeroDivisionError):
        list(module.run_on_cluster(divmod, [(1, 0)], cluster))
