"""Turn executed notebooks and prose pages into the book's site.

The site is rendered from a staging tree in which the executed notebooks lie where the sources lie
in the repository, so that download links and file names agree. Nothing is executed here.
"""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat

from sadm_utils.costs import read_timings
from sadm_utils.errors import UserError
from sadm_utils.execute import find_notebook, notebook_names
from sadm_utils.execution_times import fill_execution_times
from sadm_utils.progress import clock, gigabytes
from sadm_utils.publish import read_records, site_settings
from sadm_utils.runs import project_root


class SiteFailed(Exception):
    """The site did not build, or built with warnings."""


def build_site(pages: Mapping[str, Path], run_dir: Path) -> Path:
    """Stage and render the site of a run; return its ``index.html``.

    Parameters
    ----------
    pages
        For each notebook of the table of contents, the executed notebook that becomes its page.
    run_dir
        The site goes to ``run_dir/book``; an older one there is replaced only by a complete one.

    Raises
    ------
    SiteFailed
        If Sphinx gave a warning or no ``index.html`` was written.
    """
    staging = run_dir / "site"
    stage_sources(pages, staging, run_dir)
    rendered = _render(staging)
    book, old = run_dir / "book", run_dir / "book.old"
    shutil.rmtree(old, ignore_errors=True)
    if book.exists():
        os.replace(book, old)
    os.replace(rendered, book)
    shutil.rmtree(old, ignore_errors=True)
    return book / "index.html"


def stage_sources(pages: Mapping[str, Path], staging: Path, run_dir: Path) -> None:
    """Make the tree that jupyter-book reads: configuration, prose with tables, notebooks."""
    from sadm_utils.cover import fill_cover
    from sadm_utils.equations import fill_equations
    from sadm_utils.foundations.data_sets import fill_data_sets  # these load the chapters
    from sadm_utils.foundations.page import fill_foundations
    from sadm_utils.real_scans import fill_real_scans
    from sadm_utils.reference.page import fill_page
    from sadm_utils.results.page import fill_results
    from sadm_utils.results.studies import fill_studies
    from sadm_utils.speed import fill_speed

    root = project_root()
    shutil.rmtree(staging, ignore_errors=True)
    (staging / "notebooks").mkdir(parents=True)
    settings = (root / "_config.yml").read_text()
    records = read_records(list(pages.values()))
    (staging / "_config.yml").write_text(site_settings(settings, records))
    shutil.copy(root / "_toc.yml", staging / "_toc.yml")
    shutil.copytree(root / "book", staging / "book")
    if (changelog := root / "CHANGELOG.md").exists():
        shutil.copy(changelog, staging)  # book/changelog.md includes it
    for page in (staging / "book").glob("*.md"):
        text = fill_page(fill_execution_times(page.read_text(), run_dir), run_dir)
        text = fill_speed(fill_equations(text), page.parent)
        text = fill_studies(fill_results(text, page.parent), page.parent)
        text = fill_foundations(fill_data_sets(text), page.parent)
        text = fill_cover(text, run_dir, page.parent)
        page.write_text(fill_real_scans(text, run_dir.parent / "real", page.parent))
    timings = read_timings(run_dir)
    for name, executed in pages.items():
        if not executed.exists():
            raise UserError(f"{executed} is missing: run the book without --site-only first.")
        notebook = nbformat.read(executed, as_version=4)
        take_metadata(notebook, root / "notebooks" / f"{name}.ipynb")
        cost = cost_line(name, timings, notebook.metadata.get("sadm", {}))
        prepare_page(notebook, {run_dir: f"runs/{run_dir.name}", root: "", Path.home(): "~"}, cost)
        nbformat.write(notebook, staging / "notebooks" / f"{name}.ipynb")


def stage_text(staging: Path) -> None:
    """Stage the book without a run: the text with all it is filled with, to check its links."""
    sources = {name: find_notebook(name) for name in notebook_names()}
    stage_sources(sources, staging, run_dir=staging)


def take_metadata(notebook: Any, source: Path) -> None:
    """Give executed cells the metadata of their sources, in place.

    A notebook is not run again for a better alternative text or a tag, but its page has it.
    """
    if not source.exists():
        return
    present = {cell.get("id"): cell for cell in nbformat.read(source, as_version=4).cells}
    for cell in notebook.cells:
        if cell.get("id") in present and "injected-parameters" not in cell.metadata.get("tags", []):
            cell.metadata.update(present[cell["id"]].metadata)


def prepare_page(notebook: Any, folders: Mapping[Path, str], cost: str = "") -> None:
    """Make an executed notebook fit to publish, in place.

    The injected parameters are hidden, the names of this machine's ``folders`` are replaced in
    text output, papermill's own metadata goes, a cell below the first says what the run ``cost``,
    and a last cell says how the page was made.
    """
    record = notebook.metadata.pop("sadm", None)
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("widgets", None)  # they are dead without a kernel, and heavy
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags:
            cell.metadata["tags"] = [*tags, "remove-cell"]
            cell["source"] = _without_folders(cell["source"], folders)
        for output in cell.get("outputs", []):
            _clean_output(output, folders)
    if cost:
        notebook.cells.insert(1, nbformat.v4.new_markdown_cell(cost))
    if record:
        notebook.cells.append(nbformat.v4.new_markdown_cell(provenance(record)))


def cost_line(
    notebook: str, timings: Mapping[str, Mapping[str, Any]], record: Mapping[str, Any]
) -> str:
    """The line at the head of a page: what the chapter cost in the run that is shown.

    The time is that of the run that computed the stages; a chapter that ran in variants, once for
    each source of labels, names the time of each. Without a timing there is no line.
    """
    runs = {name: t for name, t in timings.items() if name.partition("-")[0] == notebook}
    profile = record.get("parameters", {}).get("PROFILE", "")
    if not runs or not profile:
        return ""
    times = [
        clock(run["seconds"]) + (f" ({variant})" if (variant := name.partition("-")[2]) else "")
        for name, run in runs.items()
    ]
    listed = " and ".join([", ".join(times[:-1]), times[-1]] if len(times) > 1 else times)
    memory = gigabytes(max(run.get("peak_bytes", 0) for run in runs.values()))
    places = list(dict.fromkeys(run["device"] for run in runs.values() if run.get("device")))
    place = f" on {html.escape(' and '.join(places))}" if places else ""
    took = (
        f"The runs of this chapter took {listed}, and at most {memory}," if len(times) > 1
        else f"This run took {listed} and {memory}"
    )  # fmt: skip
    return f'<p class="run-cost">{took} with profile <code>{profile}</code>{place}.</p>'


def provenance(record: Mapping[str, Any]) -> str:
    """The sentence under a page that says what it was made with."""
    shown = {k: v for k, v in record["parameters"].items() if k not in ("RUN_DIR", "PROFILE")}
    own = f", {', '.join(f'`{k} = {v!r}`' for k, v in shown.items())}" if shown else ""
    commit = f", commit {record['commit']}" if record.get("commit") else ""
    return (
        "---\n*This page was executed with profile "
        f"`{record['parameters'].get('PROFILE', '')}`{own} on {record['finished'][:10]} in "
        f"{clock(record['seconds'])} (peak memory {gigabytes(record['peak_bytes'])}) on "
        f"{record['device']}, Python {record['python']}, torch {record['torch']}{commit}.*"
    )


def _clean_output(output: Any, folders: Mapping[Path, str]) -> None:
    if "text" in output:
        output["text"] = _without_folders(output["text"], folders)
    for kind, content in output.get("data", {}).items():
        if kind.startswith("text/") and isinstance(content, str):
            output["data"][kind] = _without_folders(content, folders)


def _without_folders(text: str, folders: Mapping[Path, str]) -> str:
    for folder, name in folders.items():
        if folder == Path(folder.anchor):
            continue
        text = text.replace(f"{folder}/", f"{name}/" if name else "")
        text = re.sub(rf"{re.escape(str(folder))}(?![\w-])", lambda _, n=name: n or ".", text)
    return text


def _render(staging: Path) -> Path:
    """Run jupyter-book with warnings as errors; return the folder of the pages."""
    program = Path(sys.executable).with_name("jupyter-book")
    if not program.exists():
        raise UserError("jupyter-book is not installed here: run `make install`.")
    command = [program, "build", staging, "-W", "-n", "--keep-going", "--quiet"]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "NO_COLOR": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    log = staging / "build.log"
    log.write_text(result.stdout + result.stderr)
    rendered = staging / "_build" / "html"
    if result.returncode or not (rendered / "index.html").exists():
        lines = [
            line.replace(f"{staging}/", "")
            for line in log.read_text().splitlines()
            if re.search(r"WARNING|ERROR|Error", line)
        ]
        shown = "\n".join(lines[:20]) or log.read_text()[-2000:]
        raise SiteFailed(f"The site did not build without warnings (all of it in {log}):\n{shown}")
    return rendered


if __name__ == "__main__":  # `make links`
    stage_text(Path(sys.argv[1]))
