"""Several processes that train one network together: who am I, and what is my share?

A batch is shared in equal parts. What is random is drawn for the whole batch by every process, from
the same generator, and each keeps its own rows: any number of processes takes the same steps, but
for the order in which numbers are added. With one process everything here is a formality.

The processes are started by :mod:`sadm_utils.launch`, by ``torchrun`` or by ``srun``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from sadm_utils import device
from sadm_utils.errors import UserError

Result = TypeVar("Result")
FIRST_PORT, PORTS = 15000, 20000  # under Slurm, the number of the job chooses among them

_in_step = False  # between the begin and the end of a training step that is shared


def count() -> int:
    """Number of processes that work together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if count() > 1 else 0


def is_first() -> bool:
    """Tell whether this process is the one that writes files and speaks."""
    return rank() == 0


def started_together() -> tuple[int, int] | None:
    """Processes on a machine and machines, if ``torchrun`` or ``srun`` started this process."""
    _read_slurm()
    total = int(os.environ.get("WORLD_SIZE", 1))
    if total == 1 or not {"RANK", "LOCAL_RANK"} <= set(os.environ):
        return None
    here = int(os.environ.get("LOCAL_WORLD_SIZE", total))
    return here, total // here


@contextmanager
def together() -> Iterator[None]:
    """Connect with the processes that were started with this one, and part at the end.

    Raises
    ------
    UserError
        If the machine has fewer accelerators than processes.
    """
    if started_together() is None:
        yield
        return
    here, place = int(os.environ["LOCAL_RANK"]), device.get_device()
    if place.type != "cpu":
        found = torch.accelerator.device_count()
        if here >= found:
            raise UserError(
                f"Process {here + 1} of this machine sees {found} GPU(s): ask for as many GPUs as "
                "processes, all visible to each (with Slurm --gpus-per-node, not --gpus-per-task)."
            )
        torch.accelerator.set_device_index(here)
    dist.init_process_group(dist.get_default_backend_for_device(place.type))
    yield
    dist.destroy_process_group()  # not behind an error: the others may be gone


def from_first(function: Callable[[], Result]) -> Result:
    """Call ``function`` in the first process only; all get what it returned.

    If it fails there, the others end quietly: the first one says why.
    """
    if count() == 1:
        return function()
    told: list[Any] = [None]
    if is_first():
        try:
            told = [(function(),)]
        except Exception:
            dist.broadcast_object_list(told)
            raise
        dist.broadcast_object_list(told)
    else:
        dist.broadcast_object_list(told)
    if told[0] is None:
        raise SystemExit(1)
    return told[0][0]


def divided(compute: Callable[[int], Result], number: int) -> list[Result]:
    """Call ``compute`` for 0 … number − 1, each in one process; all get the whole list."""
    own = [compute(k) for k in range(rank(), number, count())]
    if count() == 1:
        return own
    each: list[Any] = [None] * count()
    dist.all_gather_object(each, own)
    return [each[k % count()][k // count()] for k in range(number)]


def mean(value: Tensor) -> float:
    """Average a number over the processes; each must call it."""
    if count() == 1:
        return float(value)
    total = value.detach().float().clone()
    dist.all_reduce(total)
    return float(total) / count()


def share(batch: int) -> slice:
    """Rows of a batch that belong to this process.

    Raises
    ------
    UserError
        If the batch cannot be shared equally.
    """
    if batch % count():
        raise UserError(
            f"A batch of {batch} slices cannot be shared equally by {count()} processes: change "
            "train.batch_size, train.devices or train.nodes."
        )
    own = batch // count()
    return slice(rank() * own, (rank() + 1) * own)


def set_in_step(value: bool) -> None:
    """Say that a training step begins or ends: in it, a batch is this process's share."""
    global _in_step
    _in_step = value and count() > 1


def in_step() -> bool:
    """Tell whether several processes are in the middle of a training step."""
    return _in_step


def rows(draw: Callable[[int], Tensor], batch: int) -> Tensor:
    """Call ``draw(batch)``; in a shared step, draw for all processes and return the own rows.

    Parameters
    ----------
    draw
        Returns random values for as many rows as it is told to, from a generator that is in the
        same state in every process.
    batch
        Rows of this process.
    """
    if not _in_step:
        return draw(batch)
    return draw(batch * count())[rank() * batch : (rank() + 1) * batch]


def _read_slurm() -> None:
    """Tell torch, in its own words, what ``srun`` says of this process."""
    own = os.environ
    if "RANK" in own or int(own.get("SLURM_STEP_NUM_TASKS", 1)) == 1:
        return
    from pytorch_lightning.plugins.environments import SLURMEnvironment

    nodes = own.get("SLURM_STEP_NODELIST", own.get("SLURM_NODELIST", "127.0.0.1"))
    job = 100 * int(own.get("SLURM_JOB_ID", 0)) + int(own.get("SLURM_STEP_ID", 0))
    total, machines = int(own["SLURM_STEP_NUM_TASKS"]), int(own.get("SLURM_STEP_NUM_NODES", 1))
    own["RANK"], own["LOCAL_RANK"] = own["SLURM_PROCID"], own["SLURM_LOCALID"]
    own["WORLD_SIZE"], own["LOCAL_WORLD_SIZE"] = str(total), str(total // machines)
    own["GROUP_RANK"] = own.get("SLURM_NODEID", "0")
    own.setdefault("MASTER_ADDR", SLURMEnvironment.resolve_root_node_address(nodes))
    own.setdefault("MASTER_PORT", str(FIRST_PORT + job % PORTS))
