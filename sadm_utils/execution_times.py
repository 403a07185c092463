"""The page "Execution times": what each notebook of the shown run took, from its records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sadm_utils.costs import SITE, read_timings
from sadm_utils.equations import page_title
from sadm_utils.execute import notebook_names
from sadm_utils.progress import clock, gigabytes
from sadm_utils.publish import read_records

MARK = "<!-- table of execution times -->"
NOTHING = "*No notebook of this run has a record: run `make book`, then build these pages again.*"
UNBROKEN_SPACE, UNBROKEN_DASH = "\u00a0", "\u2011"
HEAD = ("notebook", "time", "peak memory", "device", "finished", "commit")


def fill_execution_times(text: str, run_dir: Path) -> str:
    """Put the table of a run into the place of its mark."""
    if MARK not in text:
        return text
    return text.replace(MARK, execution_table(run_dir))


def execution_table(run_dir: Path) -> str:
    """Markdown: a row for each executed notebook of a run, then the sum.

    A notebook that ran again and found its stages finished took seconds; what the stages took is
    in ``timings.json``, with the device, date and commit of the run that computed them.
    """
    from sadm_utils.reference.page import markdown  # it loads the chapters, in seconds

    timings = read_timings(run_dir)
    rows, total, peak = [], 0.0, 0
    chapters = notebook_names()
    for path in sorted((run_dir / "executed").glob("[0-9]*.ipynb")):
        if path.stem.partition("-")[0] not in chapters:
            continue  # a notebook of the reader's own, or one that has another name now
        found = read_records([path]) if path.stem.count(".") == 0 else []
        if not found:
            continue
        row, seconds, peak_bytes = _row(path.stem, found[0], timings.get(path.stem, {}))
        rows.append(row)
        total, peak = total + seconds, max(peak, peak_bytes)
    if not rows:
        return NOTHING
    if SITE in timings:
        site = timings[SITE]
        rows.append(("building these pages", *_cost(site), "", "", ""))
        total, peak = total + site["seconds"], max(peak, site.get("peak_bytes", 0))
    together = _cost({"seconds": total, "peak_bytes": peak})
    rows.append(("**together**", *together, "", "", ""))
    return markdown(HEAD, rows)


def _row(
    name: str, record: Mapping[str, Any], timing: Mapping[str, Any]
) -> tuple[tuple[str, ...], float, int]:
    longest = max((record, timing), key=lambda entry: entry.get("seconds", 0.0))
    notebook, _, variant = name.partition("-")
    page = f"notebooks/{notebook}"
    link = f"[{page_title(page)}](../{page}.ipynb)"
    link += f", `{variant}`" if variant else ""
    cells = (
        link,
        *_cost(longest),
        longest.get("device") or "",
        (longest.get("finished") or "")[:10].replace("-", UNBROKEN_DASH),
        f"`{longest['commit']}`" if longest.get("commit") else "",
    )
    return cells, longest["seconds"], longest.get("peak_bytes", 0)


def _cost(entry: Mapping[str, Any]) -> tuple[str, str]:
    words = clock(entry["seconds"]), gigabytes(entry.get("peak_bytes", 0))
    return words[0].replace(" ", UNBROKEN_SPACE), words[1].replace(" ", UNBROKEN_SPACE)
