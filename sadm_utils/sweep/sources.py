"""What a result was made from: the hash of each source that its computation imports.

A commit says too much (a page that changed) and too little (files that are not committed). So each
point records the sources behind its stages, found by following the imports, and results mix if all
of their points agree on the sources that they share.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from sadm_utils.execute import PACKAGE
from sadm_utils.records import hash_file

ENTRIES = {
    "01": ("data/stage",),
    "03": ("spark/training",),
    "04": ("cddpm/training",),
    "05": ("sadm/training",),
    "06": ("evaluation/stage",),
    "08": ("baselines/stage", "baselines/training"),
}
# They carry values from place to place or show them. What a setting is worth is recorded by value.
PLUMBING = (
    *("config", "errors", "limits", "parameters", "records", "report", "runs", "stages"),
    *("viz",),
)


@cache
def sources_of(kind: str, method: str = "", package: Path = PACKAGE) -> dict[str, str]:
    """Hash of every source that the stages of a notebook depend on, by path in the package.

    Parameters
    ----------
    kind
        Number of the notebook, e.g. ``"05"``.
    method
        Of chapter 8, whose module is imported by its name.
    """
    entries = [*ENTRIES[kind], *([f"baselines/{method}"] if method else [])]
    waiting = [f for f in (package / f"{entry}.py" for entry in entries) if f.is_file()]
    found: dict[str, str] = {}
    while waiting:
        path = waiting.pop()
        name = path.relative_to(package).as_posix()
        room = name.split("/")[0].removesuffix(".py")
        if name not in found and room not in PLUMBING:
            found[name] = hash_file(path)[:8]
            waiting += _imported(path, package)
    return dict(sorted(found.items()))


def _imported(path: Path, package: Path) -> list[Path]:
    """Modules of the package that a module imports, also inside of functions."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    files = []
    for name in names:
        first, *rest = name.split(".")
        if first == package.name and rest:
            whole = package.joinpath(*rest)
            files += [f for f in (whole.with_suffix(".py"), whole / "__init__.py") if f.is_file()]
    return files
