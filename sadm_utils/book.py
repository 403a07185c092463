"""Run all notebooks of the book in order, reuse what still counts, and build the site."""

from __future__ import annotations

import csv
import json
import os
import platform
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from sadm_utils.config import load_config
from sadm_utils.costs import DISK_GIB, ESTIMATES, SITE, check_disk, read_timings
from sadm_utils.device import device_name
from sadm_utils.errors import UserError
from sadm_utils.execute import (
    NotebookRun,
    annotate,
    check_parameters,
    execute,
    execution_key,
    find_notebook,
    reusable,
    stage_identities,
)
from sadm_utils.lock import locked
from sadm_utils.progress import (
    Monitor,
    NotebookLog,
    TimeLeft,
    clock,
    gigabytes,
    training_progress,
)
from sadm_utils.publish import published_ref, repository_address, write_colab_copies
from sadm_utils.runs import git_commit, project_root, write_atomic
from sadm_utils.site_size import size_words
from sadm_utils.website import build_site

# Sources of labels of chapter 5, and the list of subjects that each needs.
ANNOTATIONS = {"draem": "", "brats21": "Brats21_val", "atlas_v2": "ATLAS_val"}
DATA_NOTEBOOK = "01_data_preparation"
# Comparison methods that the book trains: the default of METHODS in chapter 8.
BASELINES = ("ae", "dae")


KEPT = ("seconds", "peak_bytes", "finished", "device", "commit")
"""What ``timings.json`` holds of the run of a notebook that computed its stages."""


def plan_book(parameters: Mapping[str, Any], dataset: str = "") -> list[NotebookRun]:
    """The notebook runs of the book in order; chapter 5 runs once for each training source.

    Parameters
    ----------
    parameters
        What every notebook gets: ``PROFILE``, ``RUN_DIR`` and, if set, ``DATA_DIR``, ``SEED`` and
        ``OVERRIDES``. A training source of which ``DATA_DIR`` has no subjects is left out.
    dataset
        Which raw scans of ``DATA_DIR`` are meant, for chapter 1; empty for all.

    Raises
    ------
    UserError
        If nothing in ``DATA_DIR`` is recognized.
    """
    own = {"DATASET": dataset} if dataset else {}
    plan = [NotebookRun(DATA_NOTEBOOK, {**parameters, **own}, stages=("data",))]
    absent = absent_sources(parameters.get("DATA_DIR"), dataset)
    for notebook, stage in (
        ("02_draem_anomalies", "draem"),
        ("03_spark_pretraining", "spark"),
        ("04_cddpm_training", "cddpm"),
    ):
        plan.append(NotebookRun(notebook, dict(parameters), stages=(stage,)))
    for source, needs in ANNOTATIONS.items():
        if source in absent:
            continue
        own = {**parameters, "ANNOTATIONS": source}
        stages = (f"sadm-{source}-input", f"sadm-{source}-residual")
        plan.append(NotebookRun("05_sadm_training", own, source, stages, needs))
    plan.append(NotebookRun("06_evaluation", dict(parameters), stages=("evaluation",)))
    plan.append(NotebookRun("07_own_scan", dict(parameters)))  # writes maps, and no stage
    stages = tuple(f"baseline-{n}{part}" for n in BASELINES for part in ("", "-evaluation"))
    plan.append(NotebookRun("08_baselines", dict(parameters), stages=stages))
    plan.append(NotebookRun("09_where_it_breaks", dict(parameters), stages=("failures",)))
    return plan


def absent_sources(data_dir: str | None, dataset: str = "") -> list[str]:
    """Training sources of which a data folder has no subjects; the phantom cohort has all."""
    if not data_dir:
        return []
    from sadm_utils.data.sources import sick_sets_in

    there = sick_sets_in(data_dir, dataset or "auto")
    return [s for s, needs in ANNOTATIONS.items() if needs and needs[: -len("_val")] not in there]


def pages_of(plan: list[NotebookRun], run_dir: Path) -> dict[str, Path]:
    """For each notebook, the executed one that becomes its page: the first of its variants."""
    pages: dict[str, Path] = {}
    for run in plan:
        pages.setdefault(run.notebook, executed_path(run_dir, run))
    return pages


def executed_path(run_dir: Path, run: NotebookRun) -> Path:
    """Where the executed notebook of a run lies."""
    return run_dir / "executed" / f"{run.name}.ipynb"


def common_parameters(
    profile: str,
    run_dir: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], Path]:
    """Check the settings that all notebooks share; return them as parameters, and the run folder.

    Without ``run_dir`` a run lies in ``runs/<profile>``, and one on other data than the phantom
    cohort in ``runs/<profile>-<name of the data folder>``.
    """
    load_config(profile, overrides)
    parameters: dict[str, Any] = {"PROFILE": profile}
    name = profile
    if data_dir:
        data = Path(data_dir).expanduser().resolve()
        if not data.is_dir():
            raise UserError(
                f"DATA_DIR {str(data_dir)!r} does not exist: give the folder that holds the "
                "scans, or leave it out for the built-in phantom cohort."
            )
        parameters["DATA_DIR"] = str(data)
        name = f"{profile}-{data.name}"
    folder = Path(run_dir).expanduser().resolve() if run_dir else project_root() / "runs" / name
    parameters["RUN_DIR"] = str(folder)
    if seed is not None:
        parameters["SEED"] = seed
    if overrides:
        parameters["OVERRIDES"] = dict(overrides)
    return parameters, folder


def build_book(
    profile: str = "demo",
    run_dir: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    site_only: bool = False,
    dataset: str = "",
) -> Path:
    """Execute all notebooks, build the site, and return its ``index.html``.

    A notebook whose source, package, parameters, data and stages are unchanged is reused. A
    stage that was killed half-way resumes inside its notebook.

    Parameters
    ----------
    site_only
        Build the site from the notebooks executed before, and run none.
    dataset
        Which raw scans of ``data_dir`` are meant; empty for all.

    Raises
    ------
    UserError
        For a mistake in the settings, too small a disk, or a second build in the same folder.
    NotebookFailed, SiteFailed
        If a notebook or the site did not come to its end.
    """
    started = time.monotonic()
    parameters, folder = common_parameters(profile, run_dir, data_dir, seed, overrides)
    plan = plan_book(parameters, dataset)
    if absent := absent_sources(parameters.get("DATA_DIR"), dataset):
        print(f"DATA_DIR has no subjects for the training on {' and '.join(absent)}: left out.")
    for run in plan:
        check_parameters(find_notebook(run.notebook), run.parameters)
    _make_folder(folder)
    with locked(folder) as write_processes:
        if not site_only:
            check_disk(folder, DISK_GIB.get(profile, 0.0))
            run_plan(plan, folder, profile, write_processes)
        timings = read_timings(folder)
        print("[site] rendering the pages", flush=True)
        with Monitor(lambda s: f"[site] {clock(s)}") as monitor:
            index = build_site(pages_of(plan, folder), folder)
            publish_copies(plan, index.parent, timings)
        timings[SITE] = {"seconds": round(monitor.seconds, 1), "peak_bytes": monitor.peak_bytes}
        write_atomic(folder / "timings.json", json.dumps(timings, indent=2))
    peak = max(entry.get("peak_bytes", 0) for entry in timings.values())
    print(f"[site] done in {clock(monitor.seconds)}, without warnings; {size_words(index.parent)}")
    print(
        f"The book is ready after {clock(time.monotonic() - started)} "
        f"(peak memory {gigabytes(peak)}). Open it in a browser:\n  {index.as_uri()}"
    )
    return index


def publish_copies(plan: list[NotebookRun], site: Path, timings: Mapping[str, Any]) -> None:
    """Put notebooks that install themselves into the site, if the repository has an address."""
    config = yaml.safe_load((project_root() / "_config.yml").read_text())
    sources = {run.notebook: find_notebook(run.notebook) for run in plan}
    address, ref = repository_address(config), published_ref(config)
    write_colab_copies(sources, plan, site, address, ref, timings)


def run_plan(
    plan: list[NotebookRun], folder: Path, profile: str, on_processes: Any = None
) -> list[str]:
    """Execute the runs of ``plan`` in order; return the names of those that were reused."""
    steps = [run.name for run in plan] + [SITE]
    timings = {name: entry for name, entry in read_timings(folder).items() if name in steps}
    measured = {name: entry["seconds"] for name, entry in timings.items()}
    left = TimeLeft(steps, {**ESTIMATES.get(profile, {}), **measured})
    stages: tuple[str, ...] = ()
    reused = []
    for number, run in enumerate(plan, start=1):
        label = f"[{number}/{len(plan)}] {run.name}"
        if run.needs and run.needs not in splits_of(folder):
            print(f"{label}: left out, as the data has no {run.needs}", flush=True)
            left.finish(run.name, 0.0, reused=True)
            continue
        stages += run.stages
        source, output = find_notebook(run.notebook), executed_path(folder, run)
        key = execution_key(source, run)
        if reusable(output, key, stage_identities(folder, stages)):
            print(f"{label}: reused, nothing it depends on has changed", flush=True)
            left.finish(run.name, 0.0, reused=True)
            reused.append(run.name)
            continue
        print(f"{label}: running; about {clock(left.seconds())} left for the book", flush=True)
        before = stage_identities(folder, run.stages)
        record = _run_one(run, output, (key, stages), label, left, on_processes)
        # A run that found its stages finished says nothing about how long they take.
        found = bool(before) and before == stage_identities(folder, run.stages)
        if not found or record["seconds"] > timings.get(run.name, {"seconds": 0})["seconds"]:
            timings[run.name] = {k: record.get(k) for k in KEPT}
            write_atomic(folder / "timings.json", json.dumps(timings, indent=2))
        left.finish(run.name, record["seconds"])
    return reused


def run_notebook(
    name: str,
    parameters: Mapping[str, Any],
    own: Mapping[str, Any],
    folder: Path,
    dataset: str = "",
) -> Path:
    """Run one notebook with the common ``parameters`` and its ``own``; return the executed one.

    If it is one of the book's runs (with this ``dataset``), the book will reuse it.
    """
    source = find_notebook(name)
    if source.stem == DATA_NOTEBOOK and dataset:
        own = {"DATASET": dataset, **own}
    check_parameters(source, {**parameters, **own})
    if source.stem == "05_sadm_training":
        own = {"ANNOTATIONS": next(iter(ANNOTATIONS)), **own}
    merged = {**parameters, **own}
    plan = plan_book(parameters, own.get("DATASET", dataset))
    same = [i for i, r in enumerate(plan) if (r.notebook, r.parameters) == (source.stem, merged)]
    run = plan[same[0]] if same else NotebookRun(source.stem, merged, "own" if own else "")
    before = plan[: same[0]] if same else []
    stages = tuple(stage for r in [*before, run] for stage in r.stages)
    key = execution_key(source, run) if same else ""
    _make_folder(folder)
    output = executed_path(folder, run)
    with locked(folder) as write_processes:
        print(f"{run.name}: running", flush=True)
        _run_one(run, output, (key, stages), run.name, None, write_processes)
    print(f"  {output}")
    return output


def _run_one(
    run: NotebookRun,
    output: Path,
    made_from: tuple[str, tuple[str, ...]],
    label: str,
    left: TimeLeft | None,
    on_processes: Any,
) -> dict[str, Any]:
    """Execute a notebook under the monitor and note in it what it was made from."""
    log = NotebookLog(lambda line: print(f"{label}: {line}", flush=True))
    folders = [Path(run.parameters["RUN_DIR"]) / stage for stage in run.stages]
    started = time.time()

    def line(seconds: float) -> str:
        rest = f"; about {clock(left.seconds(seconds))} left for the book" if left else ""
        news = training_progress(folders, started) or log.line
        return f"{label}: {clock(seconds)}{rest}" + (f" | {news}" if news else "")

    with Monitor(line, on_processes=on_processes) as monitor:
        execute(run, find_notebook(run.notebook), output, log)
    key, stages = made_from
    record = {
        "key": key,
        "stages": stage_identities(Path(run.parameters["RUN_DIR"]), stages),
        "seconds": round(monitor.seconds, 1),
        "peak_bytes": monitor.peak_bytes,
        "parameters": dict(run.parameters),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "device": device_name(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "commit": git_commit(),
    }
    annotate(output, record)
    print(
        f"{label}: done in {clock(monitor.seconds)}, peak memory {gigabytes(monitor.peak_bytes)}",
        flush=True,
    )
    return record


def splits_of(folder: Path) -> set[str]:
    """Names of the lists of subjects that the finished stage ``data`` of a run holds."""
    try:
        with open(folder / "data" / "manifest.csv", newline="") as file:
            return {row["split"] for row in csv.DictReader(file)}
    except (OSError, KeyError):
        return set()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"Cannot make the run folder {folder}: {error.strerror}; choose another --run-dir."
        ) from None
