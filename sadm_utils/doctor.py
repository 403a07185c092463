"""Check the machine and the installation: what is there, what is missing, how to mend it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import psutil

from sadm_utils import device
from sadm_utils.errors import UserError
from sadm_utils.progress import gigabytes
from sadm_utils.runs import default_run_dir, project_root

NEEDED_MEMORY_GIB = 8
NEEDED_DISK_GIB = 2


@dataclass(frozen=True)
class Check:
    """One finding: a name, whether it is fine, and what was found or what to do."""

    name: str
    ok: bool
    found: str

    @property
    def line(self) -> str:
        """The finding as a line of the report."""
        return f"{'ok     ' if self.ok else 'PROBLEM'}  {self.name:<14}{self.found}"


def check_all(run_dir: str = "", data_dir: str = "") -> list[Check]:
    """All findings about this machine, in the order of the report."""
    folder = Path(run_dir).expanduser() if run_dir else default_run_dir("demo")
    return [
        check_python(),
        *check_packages(),
        check_jupyter_book(),
        check_device(),
        check_memory(),
        check_disk(folder),
        check_data(data_dir),
        check_run(folder),
    ]


def check_python() -> Check:
    """Python is new enough."""
    ok = sys.version_info >= (3, 11, 5)
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Check("Python", ok, found if ok else f"{found}: install Python 3.11.5 or newer.")


def check_packages() -> list[Check]:
    """Every dependency is installed in the version that the book allows."""
    from packaging.requirements import Requirement

    wrong, names = [], []
    for text in requires("sadm-book") or []:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": "book"}):
            continue
        names.append(requirement.name)
        try:
            present = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(present, prereleases=True):
            wrong.append(f"{requirement.name} {present} is not {requirement.specifier}")
    if wrong:
        return [Check("packages", False, f"{'; '.join(wrong)}: run `make install`.")]
    shown = ", ".join(f"{n} {version(n)}" for n in ("torch", "pytorch-lightning", "numpy"))
    return [Check("packages", True, f"{len(names)} as required ({shown})")]


def check_jupyter_book() -> Check:
    """The program that renders the site is beside this Python, and of version 1."""
    program = Path(sys.executable).with_name("jupyter-book")
    try:
        number = version("jupyter-book")
    except PackageNotFoundError:
        return Check("jupyter-book", False, "missing: run `make install`.")
    ok = program.exists() and number.startswith("1.")
    return Check("jupyter-book", ok, number if ok else f"{number}: run `make install`.")


def check_device() -> Check:
    """What the models will be trained on."""
    name = device.device_name()
    precision = device.lightning_precision("auto")
    return Check("device", True, f"{name}; precision {precision}; {os.cpu_count()} cores")


def check_memory() -> Check:
    """Enough memory for the demo."""
    memory = psutil.virtual_memory()
    found = f"{gigabytes(memory.available)} free of {gigabytes(memory.total)}"
    ok = memory.available >= (NEEDED_MEMORY_GIB - 2) * 2**30
    remedy = f": the demo may need {NEEDED_MEMORY_GIB} GiB; close other programs."
    return Check("memory", ok, found if ok else found + remedy)


def check_disk(folder: Path) -> Check:
    """Enough room where the run will be written."""
    place = next(p for p in [folder, *folder.resolve().parents] if p.exists())
    free = shutil.disk_usage(place).free
    ok = free >= NEEDED_DISK_GIB * 2**30
    remedy = f": the demo needs {NEEDED_DISK_GIB} GiB; free some space or use --run-dir."
    return Check("disk", ok, f"{gigabytes(free)} free for {folder}" + ("" if ok else remedy))


def check_data(data_dir: str) -> Check:
    """The data set is complete, or the phantom cohort will be used."""
    if not data_dir:
        return Check("data", True, "built-in phantom cohort (no --data-dir given)")
    from sadm_utils.data.layout import available_sets, read_split

    folder = Path(data_dir).expanduser()
    if not folder.is_dir():
        return Check("data", False, f"{folder} does not exist: give the folder of the data set.")
    try:
        sets = list(available_sets(folder))
        names = sorted(path.stem for path in (folder / "splits").glob("*.csv"))
        rows = {name: len(read_split(folder, name)) for name in names}
    except UserError as error:
        return Check("data", False, str(error))
    counted = ", ".join(f"{name} {count}" for name, count in rows.items())
    ok = bool(rows)
    return Check("data", ok, f"{folder}: {', '.join(map(str, sets))} ({counted or 'no splits'})")


def check_run(folder: Path) -> Check:
    """Which stages of a run are finished."""
    done = sorted(path.parent.name for path in folder.glob("*/record.json"))
    if not folder.is_dir():
        shown = folder.relative_to(project_root()) if _inside(folder) else folder
        return Check("run", True, f"no run in {shown} yet: `make book` makes one")
    return Check("run", True, f"{folder}: finished stages {', '.join(done) or 'none'}")


def _inside(folder: Path) -> bool:
    return folder.resolve().is_relative_to(project_root())
