"""What every page says about its run, and the buttons that need the repository's address.

The address is one setting, ``repository: url`` in ``_config.yml``. While it is empty, the buttons
to the source, to an edit, to an issue, to Colab and to Binder are left out of the pages.
"""

from __future__ import annotations

import html
import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import yaml

from sadm_utils.execute import NotebookRun
from sadm_utils.offline import COLAB_FOLDER
from sadm_utils.progress import clock

SERVICES = {
    "colab_url": "https://colab.research.google.com",
    "binderhub_url": "https://mybinder.org",
    "notebook_interface": "jupyterlab",
}
READ_BY_NO_OTHER = ("02_draem_anomalies", "07_own_scan", "08_baselines")
"""Chapters whose stages no other chapter reads; tests/test_chain.py compares it with a run."""


def repository_address(config: Mapping[str, Any]) -> str:
    """The repository's address of a ``_config.yml``, without a last slash; empty while unset."""
    return str((config.get("repository") or {}).get("url") or "").rstrip("/")


def published_ref(config: Mapping[str, Any]) -> str:
    """The branch or tag that the site is made from: that of the workflow, else the setting's."""
    pushed = re.fullmatch("refs/(?:heads|tags)/(.+)", os.environ.get("GITHUB_REF", ""))
    return pushed[1] if pushed else (config.get("repository") or {}).get("branch") or "main"


def read_records(executed: Sequence[Path]) -> list[dict[str, Any]]:
    """What executed notebooks say about how they were made; those that say nothing are left out."""
    found = []
    for path in executed:
        try:
            found.append(json.loads(path.read_text())["metadata"]["sadm"])
        except (OSError, ValueError, KeyError):
            continue
    return found


def site_settings(text: str, records: Sequence[Mapping[str, Any]]) -> str:
    """The ``_config.yml`` to build with: with a footer about the run, and the buttons.

    The options of the theme in ``sphinx: config`` replace those that jupyter-book would derive,
    so everything is written there.
    """
    config = yaml.safe_load(text)
    address = repository_address(config)
    options = config["sphinx"]["config"]["html_theme_options"]
    options["extra_footer"] = footer(records, address)
    if address:
        options |= {
            "repository_url": address,
            "repository_branch": config["repository"].get("branch") or "main",
            "path_to_docs": "",
            "use_repository_button": True,
            "use_edit_page_button": True,
            "use_issues_button": True,
            "launch_buttons": dict(SERVICES),
        }
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def footer(records: Sequence[Mapping[str, Any]], address: str = "") -> str:
    """HTML under every page: profile, device, date and commit of the shown run.

    Notebooks of one run may have been executed at different commits; all of them are named.
    """
    if not records:
        return '<p class="shown-run">The notebooks of this site say nothing about their run.</p>'
    profiles = [
        f"<code>{html.escape(name)}</code>"
        for name in _distinct(r.get("parameters", {}).get("PROFILE", "") for r in records)
    ]
    devices = _distinct(r.get("device", "") for r in records)
    commits = _distinct(r.get("commit", "") for r in records)
    last = max(r.get("finished", "") for r in records)[:10]
    words = [
        f"The run shown: profile {' and '.join(profiles)}",
        f"on {html.escape(' and '.join(devices))}",
        f"finished on {last}",
    ]
    if commits:
        linked = [_commit_link(commit, address) for commit in commits]
        words.append(f"commit {', '.join(linked)}")
    return f'<p class="shown-run">{", ".join(words)}.</p>'


def _distinct(values: Any) -> list[str]:
    return [value for value in dict.fromkeys(values) if value]


def _commit_link(commit: str, address: str) -> str:
    """A commit as HTML, linked if there is an address; a plus sign means changes on top of it."""
    shown = f"<code>{html.escape(commit)}</code>"
    if not address:
        return shown
    return f'<a href="{html.escape(address)}/commit/{html.escape(commit.rstrip("+"))}">{shown}</a>'


def write_colab_copies(
    sources: Mapping[str, Path],
    plan: Sequence[NotebookRun],
    site: Path,
    address: str,
    ref: str,
    timings: Mapping[str, Mapping[str, Any]],
) -> list[Path]:
    """Write each notebook, without outputs and with a first cell that installs, into the site.

    Parameters
    ----------
    sources
        The notebooks of the repository by name.
    plan
        The runs of the book: a chapter needs the stages of those before it.
    ref
        The branch or tag of the repository that the notebooks are from.
    timings
        What the run measured, so that a reader knows how long the earlier chapters take.
    """
    if not address:
        return []
    folder = site / COLAB_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, source in sources.items():
        notebook = nbformat.read(source, as_version=4)
        first = next((i for i, run in enumerate(plan) if run.notebook == name), 0)
        earlier = [run for run in plan[:first] if run.notebook not in READ_BY_NO_OTHER]
        cell = nbformat.v4.new_code_cell(colab_cell(address, ref, earlier, timings))
        cell["id"] = "install-on-colab"
        notebook.cells.insert(0, cell)
        written.append(folder / f"{name}.ipynb")
        nbformat.write(notebook, written[-1])
    return written


def colab_cell(
    address: str,
    ref: str,
    earlier: Sequence[NotebookRun],
    timings: Mapping[str, Mapping[str, Any]],
) -> str:
    """The cell that gets the book, installs it, and runs the chapters that this one builds on."""
    folder = address.rsplit("/", 1)[-1]
    lines = [
        "# On Colab only: get the book and install its package, a few minutes.",
        f"!git clone --quiet --depth 1 --branch {shlex.quote(ref)} {address} {folder}",
        f"%cd {folder}",
        "%pip install --quiet --constraint constraints.txt --editable .",
    ]
    if earlier:
        seconds = sum(timings.get(run.name, {}).get("seconds", 0) for run in earlier)
        took = f"; in the run of the site they took {clock(seconds)}" if seconds else ""
        lines.append(f"# This chapter reads what earlier ones wrote, so they run first{took}.")
    for run in earlier:
        own = run.parameters.get("ANNOTATIONS")
        source = f" -p ANNOTATIONS {own}" if own else ""
        lines.append(f"!sadm run {run.notebook.split('_')[0]}{source} --profile demo")
    return "\n".join(lines)
