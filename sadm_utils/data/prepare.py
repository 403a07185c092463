"""From raw scans to the layout that every data tier has: ``sadm prepare``.

Every subject is registered to MNI152 on its own, and its record is written after its files: a
killed run resumes where it stopped, a changed file or setting makes its subject anew, and a subject
that fails is reported at the end and does not stop the others.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from textwrap import shorten

import pandas as pd

from sadm_utils.data import montage, quality
from sadm_utils.data.brain import BRAIN_CHOICES
from sadm_utils.data.cluster import run_on_cluster
from sadm_utils.data.intensity import check_contrast
from sadm_utils.data.io import save_nifti, write_atomic
from sadm_utils.data.layout import split_path, write_split
from sadm_utils.data.naming import (
    layout_paths,
    name_subjects,
    picture_file,
    record_file,
    remove_unfinished,
)
from sadm_utils.data.scan import Registered, register_scan
from sadm_utils.data.sources import RawSubject, find_subjects
from sadm_utils.data.splits import FOLDS, adopt_lists, make_splits, refuse_overlaps
from sadm_utils.data.template import open_template
from sadm_utils.data.workers import run_parallel
from sadm_utils.errors import UserError, is_full_disk

SHOWN, WIDTH = 5, 160


@dataclass(frozen=True)
class PrepareSettings:
    """How raw scans become a data set.

    Attributes
    ----------
    source
        One of ``sources.SOURCES``.
    sick_set
        What subjects with lesions are, where the source does not tell.
    bias_correction
        Divide by a smooth bias field (N4).
    brain
        One of ``brain.BRAIN_CHOICES``.
    seed, folds
        See :func:`sadm_utils.data.splits.make_splits`.
    lists
        Folder with lists to use instead, such as the paper's; empty for none.
    template, template_mask
        See :func:`sadm_utils.data.template.read_template`; empty for MNI152.
    """

    source: str = "auto"
    sick_set: str = ""
    bias_correction: bool = True
    brain: str = "auto"
    seed: int = 0
    folds: int = FOLDS
    lists: str = ""
    template: str = ""
    template_mask: str = ""

    def __post_init__(self) -> None:
        if self.brain not in BRAIN_CHOICES:
            raise UserError(
                f"Unknown brain mask {self.brain!r}: choose one of {', '.join(BRAIN_CHOICES)}."
            )
        if self.folds < 1:
            raise UserError(f"The number of folds must be at least 1, not {self.folds}.")
        if self.template_mask and not self.template:
            raise UserError(f"The mask {self.template_mask} needs its template: add --template.")


def prepare_source(
    source_dir: str | Path,
    out_dir: str | Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    settings: PrepareSettings | None = None,
    jobs: int = -1,
    cluster: str = "",
    report: Callable[[str], None] = print,
) -> Path:
    """Register every scan of a raw folder, and write the layout, its lists and its checks.

    Parameters
    ----------
    source_dir
        Raw folder, or a CSV; see :func:`sadm_utils.data.sources.find_subjects`.
    out_dir
        New data folder. ``manifest.csv`` in it tells how each scan fared, ``missing.txt`` what was
        not complete, ``quality.html`` shows every subject.
    progress
        Called with (subjects done, subjects in all) after each that was not done before.
    settings
        See :class:`PrepareSettings`; by default everything as in the paper.
    jobs
        Processes; -1 for one a core.
    cluster
        Address of a Dask scheduler whose workers do it instead; they must see the same files.
    report
        Called with a sentence for each decision, and at the end for each subject left out.

    Returns
    -------
    pathlib.Path
        ``out_dir``.

    Raises
    ------
    UserError
        Nothing is recognized, fewer than three healthy scans could be registered, the disk is
        full, or the cluster cannot be used.
    """
    source, out = Path(source_dir).absolute(), Path(out_dir).absolute()
    chosen = _absolute(settings or PrepareSettings())
    open_template(chosen.template, chosen.template_mask)  # refuse it before anything is done
    found = find_subjects(source, chosen.source, chosen.sick_set, out)
    out.mkdir(parents=True, exist_ok=True)
    remove_unfinished(out)
    _report_found(found.missing, found.notes, out, report)
    named = name_subjects(found.subjects)
    known = {name: read_record(out, name, s, chosen) for name, s in named.items()}
    todo = [name for name, record in known.items() if record is None]
    tasks = ((name, named[name], out, chosen) for name in todo)
    done = len(named) - len(todo)
    if cluster and todo:
        files = (source, out / "missing.txt", chosen.template, chosen.template_mask)
        shared = [file for file in files if file]
        results = run_on_cluster(prepare_subject, tasks, cluster, shared=shared, lost=_lost)
    else:
        results = run_parallel(prepare_subject, tasks, jobs, ordered=False)
    for record in results:
        known[record["key"]] = record
        done += 1
        if progress:
            progress(done, len(named))
    records = [record for record in known.values() if record]
    good = [record for record in records if not record["error"]]
    table = quality.write_manifest(out, records)
    montage.write_page(out, table)
    for record in records:
        if record["error"]:
            report(f"Left out {record['set']} {record['subject']}: {record['error']}")
    _write_lists(out, good, chosen, report)
    return out


def prepare_subject(key: str, subject: RawSubject, out: Path, settings: PrepareSettings) -> dict:
    """Register one subject and write its files, its picture and, last, its record."""
    start = time.perf_counter()
    record = {"key": key, **asdict(subject), "error": "", **_identity(subject, settings)}
    try:
        template = open_template(settings.template, settings.template_mask)
        registered = register_scan(
            subject.image, subject.mask or None, subject.lesion or None,
            bias_correction=settings.bias_correction, brain=settings.brain,
            lesion_values=subject.lesion_values, template=template,
        )
        check_contrast(registered.contrast, subject.image)
        _save(out, key, registered)
        record |= quality.describe_registered(subject.image, registered)
        montage.draw_subject(picture_file(out, key), registered)
    except Exception as error:  # whatever it is, it concerns this subject only
        if is_full_disk(error) or is_full_disk(error.__cause__ or error):
            raise
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        return {**record, "error": reason}
    record["seconds"] = round(time.perf_counter() - start, 1)
    with write_atomic(record_file(out, key)) as temporary:
        Path(temporary).write_text(json.dumps(record))
    return record


def _absolute(settings: PrepareSettings) -> PrepareSettings:
    """The same settings for processes that run in other folders."""
    files = {k: getattr(settings, k) for k in ("template", "template_mask")}
    return replace(settings, **{k: str(Path(f).absolute()) for k, f in files.items() if f})


def _lost(arguments: tuple, reason: str) -> dict:
    """The record of a subject whose process has died."""
    key, subject, *_ = arguments
    return {"key": key, **asdict(subject), "error": reason}


def read_record(
    out: Path, key: str, subject: RawSubject, settings: PrepareSettings
) -> dict | None:
    """The record of a subject whose files are there and were made from the same with the same."""
    paths = [out / path.lstrip("/") for path in layout_paths(key).values() if path]
    if not all(path.is_file() for path in [*paths, picture_file(out, key)]):
        return None
    try:
        record = json.loads(record_file(out, key).read_text())
    except (OSError, ValueError):
        return None
    wanted = json.loads(json.dumps(_identity(subject, settings)))
    if not isinstance(record, dict) or any(record.get(k) != v for k, v in wanted.items()):
        return None
    return {**record, **asdict(subject)}


def _save(out: Path, key: str, registered: Registered) -> None:
    arrays = (registered.image, registered.mask, registered.seg)
    for path, array in zip(layout_paths(key).values(), arrays, strict=True):
        if path:
            save_nifti(out / path.lstrip("/"), array, registered.affine)


def _identity(subject: RawSubject, settings: PrepareSettings) -> dict:
    """What a subject is made from: its files with size and time, and the steps that are taken."""
    files = [file for file in (subject.image, subject.mask, subject.lesion) if file]
    inputs = [[file, Path(file).stat().st_size, Path(file).stat().st_mtime_ns] for file in files]
    steps = {"bias_correction": settings.bias_correction, "brain": settings.brain}
    if template := open_template(settings.template, settings.template_mask):
        steps["template"] = template.name
    return {"inputs": inputs, "steps": {**steps, "lesion_values": list(subject.lesion_values)}}


def _report_found(
    missing: tuple[str, ...], notes: tuple[str, ...], out: Path, report: Callable[[str], None]
) -> None:
    """Tell notes, and the first of what is missing; all of it goes to ``missing.txt``."""
    for sentence in notes:
        report(f"Note: {sentence}")
    for sentence in missing[:SHOWN]:
        report(f"Missing: {shorten(sentence, WIDTH, placeholder=' ...')}")
    if len(missing) > SHOWN or any(len(sentence) > WIDTH for sentence in missing):
        report(f"Everything that is missing is listed in {out / 'missing.txt'}.")
    with write_atomic(out / "missing.txt") as temporary:
        Path(temporary).write_text("".join(f"{sentence}\n" for sentence in missing), "utf-8")


def _write_lists(
    out: Path, records: list[dict], settings: PrepareSettings, report: Callable[[str], None]
) -> None:
    """Write the CSV files of the splits; old ones are removed first."""
    for file in split_path(out, "x").parent.glob("*.csv"):
        file.unlink()
    rows = {record["key"]: _row(record) for record in records}
    table = pd.DataFrame(
        [
            {"subject": r["subject"], "set": r["set"], "label": r["label"],
             "age": r["age"], "lesion_ml": r["lesion_ml"]}
            for r in records
        ],
        columns=["subject", "set", "label", "age", "lesion_ml"],
    ).astype({"age": float, "lesion_ml": float})
    if settings.lists:
        lists, sentences = adopt_lists(settings.lists, table)
        for sentence in sentences:
            report(f"Note: {sentence}")
    else:
        lists = make_splits(table, settings.seed, settings.folds)
        refuse_overlaps(lists)
    for name, subjects in lists.items():
        set_name = name.split("_")[0]
        write_split(out, name, [rows[f"{set_name}/{subject}"] for subject in subjects])
    _report_unlisted(table, lists, settings, report)


def _report_unlisted(
    table: pd.DataFrame, lists: dict, settings: PrepareSettings, report: Callable[[str], None]
) -> None:
    """Tell of sets that are too small, and of overlaps in lists that others made."""
    for name, sick in table[table["label"] == 1].groupby("set"):
        if not any(listed.startswith(f"{name}_") for listed in lists):
            report(
                f"Left out {name}: it needs two registered patients, for validation and test; "
                f"there {'is' if len(sick) == 1 else 'are'} {len(sick)}."
            )
    if settings.lists:
        try:
            refuse_overlaps(lists)
        except UserError as error:
            report(f"Warning: the lists overlap: {error} Run 'sadm splits' for all of them.")


def _row(record: dict) -> dict:
    paths = layout_paths(record["key"])
    facts = {"sex": record["sex"], "source": record["set"]}
    return {
        "img_name": record["subject"], "age": record["age"], "label": record["label"], **paths,
        **facts,
    }  # fmt: skip
