"""Run folders: the parameters of a notebook, checked, and the stages it may build on.

A run is a folder ``RUN_DIR`` with one sub-folder a stage (:mod:`sadm_utils.stages`).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sadm_utils import device
from sadm_utils.config import Config, flatten, load_config, to_dict
from sadm_utils.errors import UserError, writing
from sadm_utils.parameters import check_injected
from sadm_utils.records import hash_file, read_header, read_record, write_atomic
from sadm_utils.stages import NOTEBOOK_OF_STAGE, Stage, compute_once

__all__ = [
    "NOTEBOOK_OF_STAGE", "Run", "Stage", "compute_once", "default_run_dir", "git_commit",
    "hash_file", "open_run", "project_root", "read_record", "write_atomic",
]

# Settings that change speed but no result are left out of a stage's key. Several processes take the
# steps of one (sadm_utils/processes.py): what they find differs by rounding only.
NOT_IN_KEY = ("workers", "jobs", "checkpoint_every", "devices", "nodes", "strategy")


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
        saved = read_header(record_path.parent / "config.yaml").settings
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
        Where stages are written; empty means :func:`default_run_dir`.
    data_dir
        A data set on disk; empty means the built-in phantom cohort.

    Raises
    ------
    UserError
        If a parameter is unknown, of the wrong type, or the data folder is missing.
    """
    check_injected()
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UserError(f"SEED must be a whole number of at least 0, not {seed!r}.")
    config = load_config(profile, overrides)
    for name, folder in (("DATA_DIR", data_dir), ("RUN_DIR", run_dir)):
        if not isinstance(folder, str | os.PathLike):
            raise UserError(f"{name} must be the path of a folder or empty, not {folder!r}.")
    data = Path(data_dir).expanduser().resolve() if str(data_dir) else None
    if data is not None and not data.is_dir():
        raise UserError(
            f"DATA_DIR {str(data_dir)!r} does not exist: give the folder that holds the scans, "
            "or leave it empty for the built-in phantom cohort."
        )
    path = Path(run_dir).expanduser().resolve() if str(run_dir) else default_run_dir(profile, data)
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    device.seed_everything(seed)
    return Run(path, config, data, seed)


def project_root() -> Path:
    """The folder that holds ``notebooks``: the checkout, or the current folder if installed."""
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "notebooks").is_dir() else Path.cwd()


def default_run_dir(profile: str, data_dir: Path | None = None) -> Path:
    """``runs/<profile>`` in the project; with own data ``runs/<profile>-<name of the folder>``."""
    name = f"{profile}-{data_dir.name}" if data_dir else profile
    return project_root() / "runs" / name


def git_commit() -> str:
    """Short commit of the checkout, with a plus sign if it has changes; empty outside of git."""
    words = ["describe", "--always", "--exclude=*", "--dirty=+"]  # no tags: a page links to it
    command = ["git", "-C", str(Path(__file__).parent), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _without_speed(tree: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_speed(value) if isinstance(value, dict) else value
        for key, value in tree.items()
        if key not in NOT_IN_KEY
    }
