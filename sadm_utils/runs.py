"""Run folders and the contract between chapters.

A run is a folder ``RUN_DIR`` with one sub-folder a stage. A finished stage holds its weights
(safetensors), its resolved settings (``config.yaml``) and ``record.json``, which is written last:
a stage without it is unfinished, and no later stage accepts it. Stages are tied together by hashes:

- ``key``: what went in (settings, seed, the identities of the parents). A stage whose key equals
  the one on disk is reused, not computed again.
- ``identity``: what came out (key and weights). Children store the identities of their parents.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from filelock import FileLock, Timeout
from safetensors.torch import load_file, save_file

from sadm_utils import device
from sadm_utils.config import Config, flatten, load_config, to_dict
from sadm_utils.errors import UserError

NOTEBOOK_OF_STAGE = {
    "data": "01_data_preparation",
    "draem": "02_draem_anomalies",
    "spark": "03_spark_pretraining",
    "cddpm": "04_cddpm_training",
    "sadm": "05_sadm_training",
    "evaluation": "06_evaluation",
}
# Settings that change speed but no result are left out of a stage's key.
NOT_IN_KEY = ("workers", "jobs", "checkpoint_every")


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

    @property
    def key(self) -> str:
        """Hash of everything that goes into the stage."""
        return _hash({"settings": self.settings, "parents": self.parents})

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
            If another process is working on the stage.
        """
        self._acquire()
        if self.complete:
            self._release()
            print(f"Stage {self.name}: reused (same data, settings and seed).", flush=True)
            return False
        marker = self.path / "config.yaml"
        if marker.exists() and (yaml.safe_load(marker.read_text()) or {}).get("key") != self.key:
            self._set_aside()
        self.path.mkdir(parents=True, exist_ok=True)
        header = {"key": self.key, "parents": self.parents, "settings": self.settings}
        write_atomic(marker, yaml.safe_dump(header, sort_keys=False))
        self._started = time.time()
        return True

    def finish(
        self, metrics: Mapping[str, Any], weights: Mapping[str, torch.Tensor] | None = None
    ) -> dict[str, Any]:
        """Write the weights and, last of all, the record that makes the stage count."""
        digest = ""
        if weights is not None:
            temporary = self.weights_path.with_suffix(".tmp")
            save_file({k: v.detach().cpu().contiguous() for k, v in weights.items()}, temporary)
            digest = hash_file(temporary)
            os.replace(temporary, self.weights_path)
        record = {
            "stage": self.name,
            "key": self.key,
            "identity": _hash({"key": self.key, "weights": digest, "metrics": metrics.get("hash")}),
            "parents": self.parents,
            "weights_sha256": digest,
            "metrics": dict(metrics),
            "duration_s": round(self._previous_seconds() + time.time() - self._started, 1),
            **self.provenance,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "device": device.device_name(),
            "versions": {name: version(name) for name in ("torch", "pytorch-lightning", "numpy")},
            "python": platform.python_version(),
        }
        write_atomic(self.record_path, json.dumps(record, indent=2))
        self.checkpoint_path.unlink(missing_ok=True)
        self._release()
        return record

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

    def _previous_seconds(self) -> float:
        """Seconds that killed runs of this stage had already spent, from their progress file."""
        path = self.path / "progress.json"
        if not path.exists():
            return 0.0
        state = json.loads(path.read_text())
        return float(state.get("spent_before_s", 0.0))

    def _acquire(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.path.parent / f".{self.name}.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"Another process is working on the stage {self.name!r} in {self.path.parent}: "
                "wait for it, or choose another RUN_DIR."
            ) from None

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _set_aside(self) -> None:
        number = 1
        while (old := self.path.with_name(f"{self.path.name}.old{number}")).exists():
            number += 1
        shutil.move(self.path, old)
        print(f"Stage {self.name}: other settings than before; the old one is now {old.name}.")


@dataclass(frozen=True)
class Run:
    """A run folder with its configuration, data folder and seed."""

    path: Path
    config: Config
    data_dir: Path | None
    seed: int

    def stage(
        self,
        name: str,
        settings: Mapping[str, Any],
        parents: Sequence[str] = (),
        seeded: bool = True,
    ) -> Stage:
        """Describe a stage to be computed from finished parents.

        Raises
        ------
        UserError
            If a parent is missing, unfinished, or was made from other data than the rest.
        """
        identities = {parent: self.require(parent)["identity"] for parent in parents}
        plain = _without_speed(dict(settings)) | ({"seed": self.seed} if seeded else {})
        return Stage(name, self.path / name, plain, identities, self._provenance())

    def require(self, name: str) -> dict[str, Any]:
        """Return the record of a finished stage whose own parents are still the ones on disk."""
        notebook = NOTEBOOK_OF_STAGE[name.split("-")[0]]
        path = self.path / name / "record.json"
        if not path.exists():
            state = "unfinished" if path.parent.exists() else "missing"
            raise UserError(
                f"The stage {name!r} is {state} in {self.path}: "
                f"run notebooks/{notebook}.ipynb with the same RUN_DIR first."
            )
        record = read_record(path)
        self._check_settings(name, path, notebook)
        for parent, identity in record["parents"].items():
            if self.require(parent)["identity"] != identity:
                raise UserError(
                    f"The stage {name!r} in {self.path} was made from another {parent!r} stage "
                    f"than the one there now: rerun notebooks/{notebook}.ipynb."
                )
        return record

    def finished(self, name: str) -> Stage:
        """Return a finished stage for reading, after the same checks as :meth:`require`."""
        record = self.require(name)
        return Stage(name, self.path / name, {}, record["parents"], {})

    def _check_settings(self, name: str, record_path: Path, notebook: str) -> None:
        """Compare a finished stage's settings with the present configuration, key by key."""
        saved = yaml.safe_load((record_path.parent / "config.yaml").read_text())["settings"]
        here = flatten(_without_speed(to_dict(self.config)))
        here |= {"seed": self.seed, "DATA_DIR": str(self.data_dir or "")}
        for key, value in flatten(saved).items():
            if key in here and here[key] != value:
                raise UserError(
                    f"The stage {name!r} in {self.path} was made with {key} = {value!r}, but this "
                    f"run has {here[key]!r}: rerun notebooks/{notebook}.ipynb, or choose another "
                    "RUN_DIR."
                )

    def _provenance(self) -> dict[str, Any]:
        return {"profile": self.config.profile, "seed": self.seed, "commit": git_commit()}


def open_run(
    profile: str,
    run_dir: str | os.PathLike[str] = "",
    data_dir: str | os.PathLike[str] = "",
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
) -> Run:
    """Check the parameters of a notebook and return its run.

    Parameters
    ----------
    run_dir
        Where stages are written; empty means ``runs/<profile>`` in the project.
    data_dir
        A data set on disk; empty means the built-in phantom cohort.

    Raises
    ------
    UserError
        If a parameter is unknown, of the wrong type, or the data folder is missing.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UserError(f"SEED must be a whole number of at least 0, not {seed!r}.")
    config = load_config(profile, overrides)
    data = Path(data_dir).expanduser().resolve() if str(data_dir) else None
    if data is not None and not data.is_dir():
        raise UserError(
            f"DATA_DIR {str(data_dir)!r} does not exist: give the folder that holds the scans, "
            "or leave it empty for the built-in phantom cohort."
        )
    path = Path(run_dir).expanduser().resolve() if str(run_dir) else default_run_dir(profile)
    path.mkdir(parents=True, exist_ok=True)
    device.seed_everything(seed)
    return Run(path, config, data, seed)


def project_root() -> Path:
    """The folder that holds ``notebooks``: the checkout, or the current folder if installed."""
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "notebooks").is_dir() else Path.cwd()


def default_run_dir(profile: str) -> Path:
    """``runs/<profile>`` in the project."""
    return project_root() / "runs" / profile


def read_record(path: Path) -> dict[str, Any]:
    """Read a ``record.json``; a damaged one is an error that names it."""
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        raise UserError(f"{path} is damaged: delete its folder and rerun the stage.") from None


def write_atomic(path: Path, text: str) -> None:
    """Write a text file so that a reader sees either the old or the new one, never a part.

    Raises
    ------
    UserError
        If the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"Cannot write {path}: {error.strerror}; free some space there.") from None


def hash_file(path: Path) -> str:
    """SHA-256 of a file, as 16 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def git_commit() -> str:
    """Short commit of the checkout, with a plus sign if it has changes; empty outside of git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def compute_once(stage: Stage, compute: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """Run ``compute`` unless the stage is finished; return its record either way."""
    if stage.begin():
        try:
            return stage.finish(compute())
        finally:
            stage._release()
    return stage.record()


def _without_speed(tree: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_speed(value) if isinstance(value, dict) else value
        for key, value in tree.items()
        if key not in NOT_IN_KEY
    }


def _hash(tree: Any) -> str:
    text = json.dumps(tree, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
