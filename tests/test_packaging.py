"""What is installed, where it is pinned, and what must not be in the repository."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from sadm_utils.config import profile_names
from sadm_utils.execute import PACKAGE

ROOT = PACKAGE.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [Requirement(r) for r in [*PROJECT["dependencies"], *sum(EXTRAS.values(), [])]]
LOCK_TEXT = (ROOT / "constraints.txt").read_text()
LOCK_LINES = [line for line in LOCK_TEXT.splitlines() if line[:1] not in ("", "#")]
LOCK = {canonicalize_name(name): v for name, v in (line.split("==") for line in LOCK_LINES)}


def tracked_files() -> list[Path]:
    """Text files under version control; skips where there is no git."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    files = [ROOT / name for name in names if name and (ROOT / name).is_file()]
    binary = {".npz", ".png", ".svg", ".json", ".gz"}
    return [path for path in files if path.suffix not in binary]


def test_every_lock_line_is_an_exact_version() -> None:
    for line in LOCK_LINES:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), line


def test_one_lock_serves_cpu_and_cuda() -> None:
    assert LOCK["torch"] == "2.13.0"
    assert not [name for name in LOCK if name.startswith(("nvidia", "triton", "torchvision"))]


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda r: r.name)
def test_lock_fits_every_requirement(requirement: Requirement) -> None:
    locked = LOCK[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(locked), f"{requirement} but locked {locked}"
    assert any(s.operator in ("<", "==") for s in requirement.specifier), f"{requirement} is open"


def test_jupyter_book_is_version_1_wherever_it_is_installed() -> None:
    assert Version(LOCK["jupyter-book"]).major == 1
    assert LOCK["sphinx-book-theme"] == "1.1.4" and Version(LOCK["ipykernel"]).major == 6
    install = re.compile(r"install[^\n]*\bjupyter-book\b(?P<rest>[^\n]*)")
    for path in tracked_files():
        if path.name != "constraints.txt" and path != Path(__file__):
            for match in install.finditer(path.read_text(errors="ignore")):
                assert "<2" in match["rest"] or "is not installed" in match[0], (path, match[0])
    spec = next(r.specifier for r in REQUIREMENTS if r.name == "jupyter-book")
    assert not spec.contains("2.0.0") and spec.contains("1.0.4")


def test_conda_environment_installs_the_same() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    plain = [item for item in environment["dependencies"] if isinstance(item, str)]
    (pip,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert "--constraint constraints.txt" in pip
    (editable,) = [line for line in pip if line.startswith("--editable")]
    assert set(re.search(r"\[(.*)\]", editable)[1].split(",")) == set(EXTRAS) - {"bench"}
    python = next(item for item in plain if item.startswith("python="))
    assert Version(python.removeprefix("python=")) >= Version("3.11")
    assert {"make", "git", "pip"} <= set(plain)


def test_make_installs_every_extra_with_the_lock() -> None:
    makefile = (ROOT / "Makefile").read_text()
    lines = [x for x in makefile.splitlines() if "pip install" in x]
    assert all("--constraint constraints.txt" in line for line in lines)
    extras = [re.search(r"\[(.*)\]", line)[1].split(",") for line in lines]
    assert set(sum(extras, [])) == set(EXTRAS) and ["bench"] in extras  # peers are not for readers
    assert "MALLOC_MMAP_MAX_ := 0" in makefile and "OMP_NUM_THREADS" not in makefile


def test_ci_runs_what_a_reader_runs() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith(("#", "set ", "cd "))]
    # Here the pages have to be tested in a browser: it is installed, and its absence a failure.
    assert commands[:2] == [".ci/chromium", "export SADM_REQUIRE_BROWSER=1"]
    assert commands[2:] == ["make test", "make book"]
    assert "set -euo pipefail" in lines


def test_profiles_are_in_the_package() -> None:
    assert set(profile_names()) == {"smoke", "demo", "paper"}
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    viewer = ["viewers/viewer.css", "viewers/viewer.js"]
    assert tool["package-data"] == {"sadm_utils": ["profiles/*.yaml", *viewer]}
    assert all((PACKAGE / file).exists() for file in viewer)
    packages = {p.parent.relative_to(ROOT) for p in PACKAGE.rglob("*.py")}
    assert all((ROOT / p / "__init__.py").exists() for p in packages)


def test_no_machine_paths_registries_or_loose_ends() -> None:
    folders = "|".join(("work", "tmp", "root", "home/[a-z]+", "Users/[a-z]+"))
    patterns = {
        "machine path": re.compile(rf"(?<![\w.~/}}])/(?:{folders})/[\w.]"),
        "registry host": re.compile("|".join((r"pypi" + r"\.org", r"python" + r"hosted\.org"))),
        "loose end": re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b"),
    }
    found = []
    for path in tracked_files():
        text = path.read_text(errors="ignore")
        for name, pattern in patterns.items():
            found += [f"{path.relative_to(ROOT)}: {name} {m[0]!r}" for m in pattern.finditer(text)]
    assert not found


def test_no_device_is_named_in_the_package() -> None:
    named = []
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and str(node.value).startswith("cuda"):
                named.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert not named
