"""Start the processes that train a stage together, from a notebook or a terminal.

A notebook's kernel cannot be one of them: its accelerator may be in use already, and the others
could not be started like it. So it starts ``sadm train`` once for each device, shows what the first
process prints, and then finds the stage finished. Machines beyond the first are for ``srun`` and
``torchrun``, which start the same command everywhere.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

import torch

from sadm_utils import device, processes
from sadm_utils.config import TrainConfig, flatten, load_config, to_dict
from sadm_utils.epochs import line_printer
from sadm_utils.errors import UserError
from sadm_utils.runs import Run
from sadm_utils.stages import Stage

GRACE = 10.0  # seconds that a process has to end when it is told to
PARENT_VARIABLE = "SADM_LAUNCHER"  # the process that a started one must not outlive


class TrainingFailed(Exception):
    """A process that trained with others failed, by no mistake of the user."""


def train_together(
    run: Run, stage: Stage, train: TrainConfig, *words: str, section: str = ""
) -> None:
    """Compute a stage in processes of its own if its configuration asks for several.

    Returns at once if it does not, if the stage is finished, or in one of those processes.

    Parameters
    ----------
    words
        What ``sadm train`` is told, e.g. ``"cddpm"``.
    section
        Where ``train`` stands in the configuration; by default ``<first word>.train``.

    Raises
    ------
    UserError
        If the machine has too few GPUs, several machines are asked for, or a process raised one.
    TrainingFailed
        If a process failed otherwise.
    """
    total = train.devices * train.nodes
    if total == 1 or processes.count() > 1 or stage.complete:
        return
    command = "sadm train " + " ".join(words)
    if train.nodes > 1:
        raise UserError(
            f"The stage {stage.name!r} is to be trained on {train.nodes} machines, which a "
            f"notebook cannot start: run 'srun {command}' with the same settings first (page "
            "'Reproduce, extend, rerun'); the notebook then finds the stage finished."
        )
    place, found = device.get_device(), torch.accelerator.device_count()
    if place.type != "cpu" and found < total:
        raise UserError(
            f"The stage {stage.name!r} is to be trained on {total} GPUs, and this machine has "
            f"{found}: lower {section or f'{words[0]}.train'}.devices."
        )
    print(f"Stage {stage.name}: {total} processes train it together.", flush=True)
    run_processes([sys.executable, "-m", "sadm_utils.train", *words, *_options(run)], total)


def run_processes(command: list[str], total: int) -> None:
    """Run ``command`` in ``total`` processes that find each other; show what the first prints.

    When one fails, or the wait is interrupted, all are ended.
    """
    with TemporaryDirectory() as folder:
        workers: list[subprocess.Popen] = []
        try:
            environment = _environment(total)
            for rank in range(total):
                workers.append(_start(command, rank, environment, Path(folder)))
            with open(Path(folder) / "0.out", encoding="utf-8", errors="replace") as printed:
                _wait(workers, printed, Path(folder))
        finally:
            _end(workers)


def _options(run: Run) -> list[str]:
    """Options that make the same run again."""
    usual = flatten(to_dict(load_config(run.config.profile)))
    here = flatten(to_dict(run.config))
    changed = [f"{key}={json.dumps(value)}" for key, value in here.items() if usual[key] != value]
    options = ["--profile", run.config.profile, "--run-dir", str(run.path), "--seed", str(run.seed)]
    if run.data_dir is not None:
        options += ["--data-dir", str(run.data_dir)]
    return options + [word for pair in changed for word in ("-o", pair)]


def _environment(total: int) -> dict[str, str]:
    """What torch reads to connect the processes; each gets its share of the cores."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {
        "WORLD_SIZE": total, "LOCAL_WORLD_SIZE": total, "GROUP_RANK": 0,
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, PARENT_VARIABLE: os.getpid(),
        "PYTHONUNBUFFERED": 1, "PYTHONIOENCODING": "utf-8",
    }  # fmt: skip
    threads = {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // total))}
    package = str(Path(__file__).parent.parent)  # the same, also where it is not installed
    paths = {"PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])}
    return {**threads, **os.environ, **paths, **{name: str(value) for name, value in own.items()}}


def _start(
    command: list[str], rank: int, environment: dict[str, str], folder: Path
) -> subprocess.Popen:
    own = {**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    with open(folder / f"{rank}.out", "wb") as out, open(folder / f"{rank}.err", "wb") as err:
        # A session of its own: an interrupt from the terminal comes through us, once.
        return subprocess.Popen(
            command, env=own, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            start_new_session=True,
        )  # fmt: skip


def _wait(workers: list[subprocess.Popen], printed: TextIO, folder: Path) -> None:
    show, rest = line_printer(), ""
    while True:
        codes = [worker.poll() for worker in workers]
        *lines, rest = (rest + printed.read()).split("\n")
        for line in lines:
            if line.startswith("epoch "):
                show(line)
            else:
                print(line, flush=True)
        if any(codes):
            time.sleep(1)  # the first to fail takes others along: see who was it
            raise _explain([worker.poll() for worker in workers], folder)
        if all(code == 0 for code in codes):
            return
        time.sleep(0.1)


def _explain(codes: list[int | None], folder: Path) -> Exception:
    """What to say of processes that failed: a user's mistake, a kill, or the end of a traceback."""
    said = [(folder / f"{rank}.err").read_text(errors="replace") for rank in range(len(codes))]
    for code, text in zip(codes, said, strict=True):
        last = text.rstrip().rpartition("\n")[2]
        if code == 2 and last.startswith("sadm: "):
            return UserError(last.removeprefix("sadm: "))
    for rank, code in enumerate(codes, start=1):
        if code is not None and code < 0:
            return UserError(
                f"Process {rank} of the {len(codes)} that train together was killed (signal "
                f"{-code}), most often for want of memory: lower the batch size or the number of "
                "processes, and run again; training resumes from the last checkpoint."
            )
    rank = next(rank for rank, code in enumerate(codes) if code)
    end = "\n".join(said[rank].rstrip().split("\n")[-25:])
    return TrainingFailed(f"Process {rank + 1} of {len(codes)} that train together failed:\n{end}")


def _end(workers: list[subprocess.Popen]) -> None:
    """Tell the processes that are left to end; after a while, end them."""
    for worker in workers:
        if worker.poll() is None:
            worker.terminate()
    deadline = time.monotonic() + GRACE
    for worker in workers:
        try:
            worker.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
