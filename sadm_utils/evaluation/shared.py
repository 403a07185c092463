"""The maps of many volumes, shared among processes.

On a CPU, two processes with one thread each get further than one with two, and any number of them
computes the same maps. One process alone takes all threads, which round otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch

from sadm_utils import device
from sadm_utils.cddpm.model import ConditionedDiffusion
from sadm_utils.cddpm.training import load_cddpm
from sadm_utils.data.store import Volumes
from sadm_utils.data.workers import run_parallel
from sadm_utils.evaluation.scoring import Networks, VolumeMaps, compute_maps, maps_of_split
from sadm_utils.runs import Run
from sadm_utils.sadm.training import load_network

MOST_JOBS = 4
"""Unless more are asked for: each takes about 0.7 GiB."""


def share_maps(
    run: Run, names: Sequence[tuple[str, str]], volumes: Volumes, version: str
) -> Iterator[VolumeMaps]:
    """Compute the maps of each volume of a split, in their order.

    Parameters
    ----------
    names
        Networks to use besides the diffusion model, by (annotations, inputs).
    version
        Tells weights apart that lie in the same files, before and after they are trained again.
    """
    jobs = processes_for(run.config.evaluation.jobs)
    if jobs == 1:
        models = load_models(run, tuple(names), version)
        yield from maps_of_split(volumes, *models, run.config.evaluation, run.seed)
        return
    arguments = (
        (run, tuple(names), version, *(volumes.volume(row, p) for p in ("image", "mask", "seg")),
         run.seed + row, subject)
        for row, subject in enumerate(volumes.subjects)
    )  # fmt: skip
    yield from run_parallel(_maps_of_volume, arguments, jobs)


def processes_for(jobs: int) -> int:
    """How many processes ``evaluation.jobs`` means here; a GPU is not shared."""
    if device.get_device().type != "cpu":
        return 1
    return min(torch.get_num_threads(), MOST_JOBS) if jobs == -1 else jobs


def _maps_of_volume(
    run: Run,
    names: tuple[tuple[str, str], ...],
    version: str,
    image: np.ndarray,
    mask: np.ndarray,
    seg: np.ndarray,
    seed: int,
    subject: str,
) -> VolumeMaps:
    torch.set_num_threads(1)
    models = load_models(run, names, version)
    return compute_maps(image, mask, *models, run.config.evaluation, seed, seg, subject)


@lru_cache(maxsize=1)
def load_models(
    run: Run, names: tuple[tuple[str, str], ...], version: str
) -> tuple[ConditionedDiffusion, Networks]:
    """Load the diffusion model and the named networks of a run, once a process."""
    return load_cddpm(run), {name: load_network(run, *name) for name in names}
