"""One stage of a run: a folder that is either finished or does not count.

A finished stage holds its weights (safetensors), its resolved settings (``config.yaml``) and
``record.json``, which is written last: a stage without it is unfinished, and no later stage accepts
it. Stages are tied together by hashes:

- ``key``: what went in (settings, seed, the identities of the parents). A stage whose key equals
  the one on disk is reused, not computed again.
- ``identity``: what came out (key and weights). Children store the identities of their parents.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sadm_utils import device, processes
from sadm_utils.errors import UserError, is_full_disk, write_error, writing
from sadm_utils.records import (
    Header,
    hash_file,
    hash_tree,
    read_header,
    read_record,
    write_atomic,
)

__all__ = [
    "NOTEBOOK_OF_STAGE", "Header", "Metrics", "Stage", "Weights", "compute_once", "hash_file",
    "read_header", "read_record", "write_atomic",
]

NOTEBOOK_OF_STAGE = {
    "data": "01_data_preparation",
    "draem": "02_draem_anomalies",
    "spark": "03_spark_pretraining",
    "cddpm": "04_cddpm_training",
    "sadm": "05_sadm_training",
    "evaluation": "06_evaluation",
    "baseline": "08_baselines",
    "failures": "09_where_it_breaks",
}
Metrics = Mapping[str, Any]
Weights = Mapping[str, torch.Tensor]


@dataclass
class Stage:
    """One folder of a run: what it was made from, and whether it is finished."""

    name: str
    path: Path
    settings: dict[str, Any]
    parents: dict[str, str]
    provenance: dict[str, Any]
    _lock: FileLock | None = field(default=None, repr=False)
    _started: float = field(default=0.0, repr=False)
    _spent_before: float = field(default=0.0, repr=False)

    @property
    def key(self) -> str:
        """Hash of everything that goes into the stage."""
        return hash_tree({"settings": self.settings, "parents": self.parents})

    @property
    def record_path(self) -> Path:
        return self.path / "record.json"

    @property
    def weights_path(self) -> Path:
        return self.path / "weights.safetensors"

    @property
    def checkpoint_path(self) -> Path:
        """Lightning's checkpoint for resuming; deleted when the stage is finished."""
        return self.path / "last.ckpt"

    @property
    def progress_path(self) -> Path:
        """What a running stage last told of itself; deleted when the stage is finished."""
        return self.path / "progress.json"

    @property
    def seconds(self) -> float:
        """Time spent on this stage since :meth:`begin`, and by killed runs before it."""
        return self._spent_before + time.time() - self._started

    @property
    def complete(self) -> bool:
        """True if a finished stage with the same key is on disk."""
        return self.record_path.exists() and self.record()["key"] == self.key

    def record(self) -> dict[str, Any]:
        """Return the metrics and the provenance of the finished stage."""
        return read_record(self.record_path)

    def begin(self) -> bool:
        """Make the folder ready to work in. Return False if the stage is already finished.

        A finished or half-finished stage with other settings is set aside under a new name, never
        overwritten. What a killed run left with the same settings is kept, so that it can resume.

        Raises
        ------
        UserError
            If another process is working on the stage, or the folder cannot be written.
        """
        self._acquire()
        try:
            return self._prepare()
        except BaseException:
            self.release()
            raise

    def _prepare(self) -> bool:
        if self.complete:
            self.release()
            print(f"Stage {self.name}: reused (same data, settings and seed).", flush=True)
            return False
        marker = self.path / "config.yaml"
        if self.record_path.exists() or (marker.exists() and read_header(marker).key != self.key):
            self._set_aside()
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for temporary in self.path.glob(".*"):  # what a killed run was just writing
                temporary.unlink()
        header = {"key": self.key, "parents": self.parents, "settings": self.settings}
        write_atomic(marker, yaml.safe_dump(header, sort_keys=False))
        self._started, self._spent_before = time.time(), self._seconds_of_killed_runs()
        return True

    def check_shared(self) -> None:
        """Check that every process sees the folder that the first one has made ready.

        Raises
        ------
        UserError
            If it does not, or has other settings.
        """
        marker = self.path / "config.yaml"
        if not processes.is_first() and not (
            marker.exists() and read_header(marker).key == self.key
        ):
            raise UserError(
                f"Process {processes.rank() + 1} of {processes.count()} does not find the stage "
                f"{self.name!r} of the first process in {self.path}: all machines must see the "
                "same RUN_DIR and have the same settings."
            )

    def note(self, progress: Mapping[str, Any]) -> None:
        """Write how far the stage is, and the time spent, for a resumed run and for watchers."""
        state = {**progress, "spent_s": round(self.seconds, 1)}
        write_atomic(self.progress_path, json.dumps(state))

    def finish(self, metrics: Metrics, weights: Weights | None = None) -> dict[str, Any]:
        """Write the weights and, last of all, the record that makes the stage count.

        Raises
        ------
        UserError
            If the disk is full; the stage then stays unfinished.
        """
        digest = "" if weights is None else self._write_weights(weights)
        record = {
            "stage": self.name,
            "key": self.key,
            "identity": hash_tree(
                {"key": self.key, "weights": digest, "metrics": metrics.get("hash")}
            ),
            "parents": self.parents,
            "weights_sha256": digest,
            "metrics": dict(metrics),
            "duration_s": round(self.seconds, 1),
            **self.provenance,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "device": device.device_name(),
            "versions": {name: version(name) for name in ("torch", "pytorch-lightning", "numpy")},
            "python": platform.python_version(),
        }
        write_atomic(self.record_path, json.dumps(record, indent=2))
        self.checkpoint_path.unlink(missing_ok=True)
        self.progress_path.unlink(missing_ok=True)
        self.release()
        return record

    def _write_weights(self, weights: Weights) -> str:
        """Write ``weights.safetensors`` through a temporary file; return its hash."""
        temporary = self.weights_path.with_suffix(".tmp")
        plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
        try:
            with writing(self.weights_path):
                save_file(plain, temporary)
                digest = hash_file(temporary)
                os.replace(temporary, self.weights_path)
        except SafetensorError as error:
            raise UserError(
                f"{self.weights_path} cannot be written ({error}): free some space and run again."
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
        return digest

    def load_weights(self) -> dict[str, torch.Tensor]:
        """Return the weights of the finished stage, checked against the hash in its record.

        Raises
        ------
        UserError
            If the file is missing, truncated or changed.
        """
        notebook = NOTEBOOK_OF_STAGE[self.name.split("-")[0]]
        remedy = f"delete the folder {self.path} and rerun notebooks/{notebook}.ipynb."
        if not self.weights_path.exists():
            raise UserError(f"The weights {self.weights_path} are missing: {remedy}")
        if hash_file(self.weights_path) != self.record()["weights_sha256"]:
            raise UserError(f"{self.weights_path} is truncated or was changed: {remedy}")
        return load_file(self.weights_path)

    def release(self) -> None:
        """Let other processes work on the stage."""
        if self._lock is not None:
            self._lock.release()

    def _seconds_of_killed_runs(self) -> float:
        """Time up to the last note of the run that was killed, which counts those before it."""
        try:
            return float(json.loads(self.progress_path.read_text())["spent_s"])
        except (OSError, ValueError, KeyError):
            return 0.0

    def _acquire(self) -> None:
        self._lock = FileLock(self.path.parent / f".{self.name}.lock")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"Another process is working on the stage {self.name!r} in {self.path.parent}: "
                "wait for it, or choose another RUN_DIR."
            ) from None
        except OSError as error:
            raise write_error(self.path, error) from error

    def _set_aside(self) -> None:
        number = 1
        while (old := self.path.with_name(f"{self.path.name}.old{number}")).exists():
            number += 1
        with writing(self.path):
            shutil.move(self.path, old)
        print(f"Stage {self.name}: other settings than before; the old one is now {old.name}.")


def compute_once(
    stage: Stage, compute: Callable[[], Metrics | tuple[Metrics, Weights]]
) -> dict[str, Any]:
    """Run ``compute`` unless the stage is finished; return its record either way.

    Parameters
    ----------
    compute
        Returns the stage's metrics, or its metrics and weights. Whatever it raises, the stage is
        left unfinished and unlocked. Of several processes all call it; the first one alone holds
        the lock and writes.

    Raises
    ------
    UserError
        If another process is working on the stage, or the disk is full.
    """
    try:
        begun = processes.from_first(stage.begin)
        stage.check_shared()
        if not begun:
            return stage.record()
        result = compute()
        parts = result if isinstance(result, tuple) else (result,)
        return processes.from_first(partial(stage.finish, *parts))
    except Exception as error:
        if is_full_disk(error) and not isinstance(error, UserError):
            raise UserError(
                f"The disk is full while the stage {stage.name!r} is written to {stage.path}: "
                "free some space and run again; what was finished is kept."
            ) from error
        raise
    finally:
        stage.release()
