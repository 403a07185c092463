"""A sweep on a Dask cluster: a scheduler and two workers as processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sadm_utils.errors import UserError
from sadm_utils.sweep import points
from sadm_utils.sweep.plan import Plan
from sadm_utils.sweep.pool import DaskPool
from sadm_utils.sweep.schedule import run_sweep
from tests.sweep.toy import calls, make_plan, use_toy_worker


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a scheduler with two workers; a worker that dies costs the point that it had."""
    distributed = pytest.importorskip("distributed", reason="the extra 'dask' is not installed")
    import dask

    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster:
            yield cluster.scheduler_address


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    without = {"cddpm.pretrained": False}
    return make_plan(tmp_path / "file", annotations=["draem", "brats21"], overrides=without)


def set_worker(command: tuple[str, ...]) -> None:
    """Runs on a worker of the cluster."""
    points.WORKER = command


def use_toys(address: str, folder: Path, patch: pytest.MonkeyPatch, **orders: str) -> None:
    from distributed import Client

    use_toy_worker(folder, patch, **orders)
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        client.run(set_worker, (sys.executable, str(folder / "worker.py")))


class NoWorkers:
    """A client whose scheduler has lost its workers."""

    def ncores(self) -> dict[str, int]:
        return {}


def test_a_sweep_does_not_just_end_when_the_workers_are_gone():
    pool = DaskPool(NoWorkers(), "tcp://head:8786", 1, "token")
    with pytest.raises(UserError, match="tcp://head:8786 has no worker left.*same command"):
        pool.slots()
    pool.running["future"] = Path("a point")
    assert pool.slots() == 0, "while one runs, its worker may come back"


def test_two_workers_run_all_points(plan, tmp_path, address, monkeypatch):
    use_toys(address, tmp_path, monkeypatch)
    lines: list[str] = []
    state = run_sweep(plan, tmp_path, dask=address, show=lines.append)
    assert state.count("finished") == 5 and len(calls(tmp_path)) == 5
    assert any("2 running" in line for line in lines)


def test_killed_process_and_killed_worker_are_sentences(plan, tmp_path, address, monkeypatch):
    one, two = (p for p in plan.points.values() if p.kind == "05")
    use_toys(address, tmp_path, monkeypatch)
    (tmp_path / "orders.json").write_text(f'{{"{one.id}": "die", "{two.id}": "die with parent"}}')
    state = run_sweep(plan, tmp_path, dask=address, show=lambda _: None)
    assert state.count("finished") == 2 and state.count("failed") == 2
    assert f"The process of {one.id} was killed (signal 9)" in state.errors[one.id]
    assert f"The Dask workers that took {two.id} died" in state.errors[two.id]


def test_no_scheduler(plan, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="the extra 'dask' is not installed")
    monkeypatch.setattr("sadm_utils.data.cluster.CONNECT_SECONDS", 0.5)
    with pytest.raises(UserError, match="No Dask scheduler answers at 'tcp://127.0.0.1:9'"):
        run_sweep(plan, tmp_path, dask="tcp://127.0.0.1:9", show=lambda _: None)
