"""Refuse parameters that papermill injected but the notebook does not have.

Papermill itself only logs an unknown parameter and runs on. Its injected cell begins with the
comment ``# Parameters``; a name assigned there that no cell before has assigned is a mistake.
"""

from __future__ import annotations

import ast
import difflib
import sys
from collections.abc import Sequence

from sadm_utils.errors import UserError


def check_injected(history: Sequence[str] | None = None) -> None:
    """Check the parameters of the running notebook; outside of one, do nothing.

    Parameters
    ----------
    history
        Sources of the cells executed so far; by default those of the running notebook.

    Raises
    ------
    UserError
        Naming the unknown parameter, the closest valid one and all valid ones.
    """
    known: list[str] = []
    for source in _cells_so_far() if history is None else history:
        names = _assigned_names(source)
        if source.startswith("# Parameters\n"):
            for name in names:
                if name not in known:
                    raise UserError(unknown_parameter(name, known))
        known.extend(names)


def unknown_parameter(name: str, valid: Sequence[str], notebook: str = "this notebook") -> str:
    """The sentence for a parameter that a notebook does not have."""
    close = difflib.get_close_matches(name.upper(), valid, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"Unknown parameter {name!r} of {notebook}: {hint}Valid parameters: {', '.join(valid)}."


def _cells_so_far() -> Sequence[str]:
    if "IPython" not in sys.modules:
        return []
    from IPython import get_ipython

    shell = get_ipython()
    return [] if shell is None else shell.user_ns.get("In", [])


def _assigned_names(source: str) -> list[str]:
    """Upper-case names assigned at the top of a cell, and all names in papermill's cell."""
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a magic command
        return []
    names = []
    for statement in body:
        if isinstance(statement, ast.Assign):
            names += [t.id for t in statement.targets if isinstance(t, ast.Name)]
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            names.append(statement.target.id)
    injected = source.startswith("# Parameters\n")
    return [name for name in names if injected or name.isupper()]
