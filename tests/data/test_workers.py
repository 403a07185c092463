"""Work that is shared between processes, and what a killed parent leaves behind."""

import subprocess
import sys
import time

import psutil
import pytest

from sadm_utils.data.workers import run_parallel


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_order(jobs):
    assert list(run_parallel(pow, ((k, 2) for k in range(6)), jobs)) == [0, 1, 4, 9, 16, 25]
    assert sorted(run_parallel(pow, ((k, 2) for k in range(3)), jobs, ordered=False)) == [0, 1, 4]


def test_workers_end_with_a_killed_parent():
    code = (
        "import time; from sadm_utils.data.workers import run_parallel\n"
        "for _ in run_parallel(time.sleep, [(0.01,), (0.01,), (90,), (90,)], 2):\n"
        "    print('working', flush=True)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout.readline().strip() == "working"
        children = psutil.Process(parent.pid).children(recursive=True)
        assert len(children) >= 2
    finally:
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 20
    while any(_alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [child for child in children if _alive(child)]


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
