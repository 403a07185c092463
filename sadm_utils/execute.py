"""Run one notebook through papermill, and decide whether an earlier run of it still counts.

An executed notebook is written under a temporary name and renamed when it has succeeded, so that
its existence means success; a failing one is kept as ``*.failed.ipynb``. What it was made from is
in its metadata: a hash of its source, of the package, of its parameters and of its data.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import nbformat

from sadm_utils.errors import UserError
from sadm_utils.parameters import unknown_parameter
from sadm_utils.runs import project_root

# A kernel keeps large blocks instead of handing them back to the system after each training step,
# is the one of this very environment, and draws its figures inline.
KERNEL_ENVIRONMENT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "JUPYTER_PREFER_ENV_PATH": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
PACKAGE = Path(__file__).parent
# The rooms of the package in the order of the chapters: room k belongs to notebook k.
CHAPTERS = ("data", "draem", "spark", "cddpm", "sadm", "evaluation")
# Rooms behind them, and the first notebook that may use them.
FURTHER_ROOMS = {"predict": 7, "baselines": 8, "failures": 9}
# Modules that steer and render, and change nothing that a notebook computes or shows.
STEERING_MODULES = (
    *("bibliography", "book", "browser", "cli", "costs", "cover", "data_commands", "doctor"),
    *("equations", "execute", "execution_times", "exercises", "foundations", "lock", "offline"),
    *("pdf", "progress", "publish", "real_scans", "reference", "results", "site_size", "speed"),
    *("sweep", "sweep_commands", "train", "trial", "website"),
)
# What decides what a cell shows: code, settings, and the style and script of figures with sliders.
SOURCES = (".py", ".yaml", ".css", ".js")
VERSIONS_IN_KEY = ("torch", "pytorch-lightning", "numpy", "scipy", "nilearn", "SimpleITK")


@dataclass(frozen=True)
class NotebookRun:
    """One notebook with one set of parameters: what the book executes in one go.

    ``stages`` are the folders of the run that it writes; ``needs`` is a list of subjects (split)
    without which there is nothing to run; ``variant`` tells runs of the same notebook apart.
    """

    notebook: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    variant: str = ""
    stages: tuple[str, ...] = ()
    needs: str = ""

    @property
    def name(self) -> str:
        """File name of the executed notebook without suffix, e.g. ``05_sadm_training-brats21``."""
        return f"{self.notebook}-{self.variant}" if self.variant else self.notebook


class NotebookFailed(Exception):
    """A notebook stopped at an error that is not a mistake of the user."""


class Interrupted(Exception):
    """The reader, or the end of the program that started us, stopped the build."""


def notebook_names() -> list[str]:
    """Names of the book's notebooks, in order, without suffix."""
    return sorted(path.stem for path in (project_root() / "notebooks").glob("[0-9]*.ipynb"))


def find_notebook(name: str) -> Path:
    """Find a notebook by number (``05``), name or path.

    Raises
    ------
    UserError
        If there is no such notebook; the sentence lists those there are.
    """
    if name.endswith(".ipynb") and Path(name).is_file():
        return Path(name).resolve()
    stem = Path(name).name.removesuffix(".ipynb")
    number = f"{int(stem):02d}" if stem.isdecimal() else stem
    matches = [n for n in notebook_names() if n == number or n.split("_")[0] == number]
    if len(matches) != 1:
        raise UserError(f"Unknown notebook {name!r}: choose one of {', '.join(notebook_names())}.")
    return project_root() / "notebooks" / f"{matches[0]}.ipynb"


def check_parameters(path: Path, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that the notebook's ``parameters`` cell does not have.

    Raises
    ------
    UserError
        Naming the unknown parameter, the closest valid one and all valid ones.
    """
    from papermill import inspect_notebook

    valid = list(inspect_notebook(str(path)))
    for name in parameters:
        if name not in valid:
            raise UserError(unknown_parameter(str(name), valid, path.name))


def execution_key(path: Path, run: NotebookRun) -> str:
    """Hash of all that decides what an executed notebook shows, but the stages before it."""
    cells = [(c.cell_type, c.source) for c in nbformat.read(path, as_version=4).cells]
    # Where the run lies does not change it: a moved folder is not run again.
    parameters = {k: v for k, v in run.parameters.items() if k != "RUN_DIR"}
    parts = {
        "cells": cells,
        "parameters": parameters,
        "package": package_digest(path.stem),
        "versions": {name: version(name) for name in VERSIONS_IN_KEY},
        "data": _folder_digest(str(parameters.get("DATA_DIR") or "")),
    }
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def package_digest(notebook: str, folder: Path = PACKAGE) -> str:
    """Hash of the sources that a notebook can depend on.

    Left out are the modules that only steer and render, and the rooms of later chapters, from
    which an earlier one must not import.
    """
    number = notebook.split("_")[0]
    chapter = int(number) if number.isdecimal() else 99
    further = [room for room, first in FURTHER_ROOMS.items() if chapter < first]
    later = (*CHAPTERS[chapter:], *further)
    digest = hashlib.sha256()
    for path in sorted(p for end in SOURCES for p in folder.rglob(f"*{end}")):
        room = path.relative_to(folder).parts[0].removesuffix(".py")
        if room not in (*STEERING_MODULES, *later):
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def _folder_digest(folder: str) -> str:
    """Hash of the names, sizes and times of a data folder's files; empty without a folder."""
    if not folder:
        return ""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).expanduser().rglob("*")):
        if path.is_file():
            stat = path.stat()
            entry = (path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns)
            digest.update(repr(entry).encode())
    return digest.hexdigest()


def stage_identities(run_dir: Path, stages: tuple[str, ...]) -> dict[str, str]:
    """Identity of each finished stage; an unfinished or unreadable one has an empty identity."""
    found = {}
    for stage in stages:
        try:
            found[stage] = json.loads((run_dir / stage / "record.json").read_text())["identity"]
        except (OSError, ValueError, KeyError):
            found[stage] = ""
    return found


def reusable(path: Path, key: str, stages: Mapping[str, str]) -> dict[str, Any] | None:
    """Return what is known of an executed notebook if it still counts, else ``None``.

    It counts if it was made with the same key, and its own stage and those before it are finished
    and still the ones it saw.
    """
    try:
        record = json.loads(path.read_text())["metadata"]["sadm"]
    except (OSError, ValueError, KeyError):
        return None
    same = record.get("key") == key and record.get("stages") == dict(stages)
    return record if same and all(stages.values()) else None


def execute(run: NotebookRun, source: Path, output: Path, log: TextIO | None = None) -> None:
    """Execute a notebook; ``output`` exists afterwards only if every cell succeeded.

    Parameters
    ----------
    log
        Receives what the cells print, while they run.

    Raises
    ------
    UserError
        If a cell raised one (its sentence is passed on), or the disk is full.
    NotebookFailed
        If a cell failed otherwise or the kernel died.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    check_parameters(source, run.parameters)
    output.parent.mkdir(parents=True, exist_ok=True)
    running = output.with_suffix(".running.ipynb")
    failed = output.with_suffix(".failed.ipynb")
    logging.getLogger("papermill").setLevel(logging.ERROR)
    logging.getLogger("traitlets").setLevel(logging.ERROR)
    try:
        with _environment(KERNEL_ENVIRONMENT):
            papermill.execute_notebook(
                source,
                running,
                parameters=dict(run.parameters),
                kernel_name="python3",
                language="python",
                cwd=source.parent,
                progress_bar=False,
                stdout_file=log,
                start_timeout=180,
            )
    except PapermillExecutionError as error:
        os.replace(running, failed)
        raise _explain(run, error, failed) from None
    except DeadKernelError:
        _keep(running, failed)
        raise NotebookFailed(
            f"The kernel of {run.name} died, most often for want of memory: close other programs "
            "or lower the batch sizes with -o, and run the same command again to resume."
        ) from None
    except KeyboardInterrupt:
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # tasks that nobody awaits now
        raise Interrupted(f"{run.name} was stopped; run the same command to resume.") from None
    except OSError as error:
        raise UserError(
            f"Cannot write {running}: {error.strerror or error}; free some space there and run "
            "the same command again to resume."
        ) from None
    failed.unlink(missing_ok=True)
    os.replace(running, output)


def annotate(path: Path, record: Mapping[str, Any]) -> None:
    """Write the provenance ``record`` into an executed notebook's metadata, atomically."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["sadm"] = dict(record)
    temporary = path.with_suffix(".tmp")
    nbformat.write(notebook, temporary)
    os.replace(temporary, path)


def _explain(run: NotebookRun, error: Any, failed: Path) -> Exception:
    """Turn papermill's error into one sentence: the user's mistake, or where the code failed."""
    if error.ename == "UserError":
        return UserError(error.evalue)
    if "No space left on device" in error.evalue:
        return UserError(
            f"The disk is full ({run.name}, cell {error.exec_count}): free some space and run the "
            "same command again to resume."
        )
    message = " ".join(str(error.evalue).split())[:400]
    return NotebookFailed(
        f"{run.name} failed in cell {error.exec_count} with {error.ename}: {message} "
        f"(the notebook up to there: {failed})"
    )


def _keep(running: Path, failed: Path) -> None:
    if running.exists():
        os.replace(running, failed)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the processes started inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
