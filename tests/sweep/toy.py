"""Sweeps whose points take no time: a worker that only writes what a real one would."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sadm_utils.runs import project_root
from sadm_utils.sweep import plan as plan_module
from sadm_utils.sweep import points
from sadm_utils.sweep.plan import Plan, plan_sweep
from sadm_utils.sweep.sweep_file import read_sweep

# It does what the file `orders.json` in the sweep's folder says of the point's notebook.
WORKER = """
import json, os, signal, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
task = json.loads((folder / "task.json").read_text())
orders = json.loads((folder.parent.parent / "orders.json").read_text())
order = orders.get(task["id"], orders.get(task["id"][:2], ""))
with open(folder.parent.parent / "calls.txt", "a") as calls:
    calls.write(task["id"] + "\\n")
print("line of the log", os.environ.get("OMP_NUM_THREADS"), flush=True)
if order == "die with parent":
    os.kill(os.getppid(), signal.SIGKILL)
    sys.exit(1)
if order == "die":
    os.kill(os.getpid(), signal.SIGKILL)
if order == "exit":
    sys.exit(3)
if order == "fail":
    (folder / "failed.json").write_text(json.dumps({"error": "A sentence."}))
    sys.exit(1)
if order == "wait":
    time.sleep(600)
record = {**task, "identities": {}, "seconds": 2.0, "peak_bytes": 2**30, "threads": 1,
          "finished": "2026-01-01T00:00:00+0000", "commit": "abc", "package": "1",
          "versions": {}, "device": "CPU", "python": "3", "sources": {}}
(folder / "point.json").write_text(json.dumps(record))
"""


def make_plan(folder: Path, **keys: Any) -> Plan:
    """The plan of a sweep file with these keys; profile smoke."""
    return plan_sweep(read_sweep(write_file(folder, **keys)))


def write_file(folder: Path, **keys: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump({"profile": "smoke", **keys}, sort_keys=False))
    return path


def use_toy_worker(folder: Path, patch: pytest.MonkeyPatch, **orders: str) -> None:
    """Let points be run by the toy, with orders by the number of a notebook or a point's id."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "worker.py").write_text(WORKER)
    order(folder, **orders)
    patch.setattr(points, "WORKER", (sys.executable, str(folder / "worker.py")))


def order(folder: Path, **orders: str) -> None:
    named = {name.removeprefix("n").replace("_", "-"): what for name, what in orders.items()}
    (folder / "orders.json").write_text(json.dumps(named))


def calls(folder: Path) -> list[str]:
    """Ids of the points that were run, in order."""
    path = folder / "calls.txt"
    return path.read_text().split() if path.exists() else []


def with_chapter_8(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let there be a notebook 08 with the parameter METHODS, whatever this checkout has."""
    real = plan_module._notebook
    path = project_root() / "notebooks" / "05_sadm_training.ipynb"
    text = path.read_text().replace('ANNOTATIONS = \\"draem\\"', 'METHODS = \\"ae\\"')
    made = folder / "08_baselines.ipynb"
    folder.mkdir(parents=True, exist_ok=True)
    made.write_text(text)
    patch.setattr(plan_module, "_notebook", lambda kind: made if kind == "08" else real(kind))
