"""Raw scans, as their authors share them, into the layout that every data tier has.

Recognized by file name: BIDS T1w scans and IXI (healthy), MSLUB, BraTS21 and ATLAS v2 (with lesion
masks). Every scan is registered to MNI152, and subjects are dealt to train, val and test by a hash
of their name, so that the same folder always gives the same splits.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from sadm_utils.data.io import save_nifti, write_atomic
from sadm_utils.data.layout import available_sets, split_path, write_split
from sadm_utils.data.scan import register_scan
from sadm_utils.data.workers import run_parallel
from sadm_utils.errors import UserError

HEALTHY = "IXI"
TEST_SHARE, VAL_SHARE = 1 / 6, 1 / 6
SICK_VAL_SHARE = 1 / 3


@dataclass(frozen=True)
class RawSubject:
    """One subject of a raw folder: ``cohort`` is ``IXI`` (healthy) or a sick set's name."""

    name: str
    cohort: str
    image: str
    mask: str = ""
    seg: str = ""
    age: str = ""


def find_subjects(source_dir: str | Path, leave_out: str | Path = "") -> list[RawSubject]:
    """Recognize the scans below a folder, one for each subject, sorted by cohort and name.

    Files below ``leave_out`` are passed over, so that a result may lie inside its source.

    Raises
    ------
    UserError
        The folder does not exist or holds no scan that is recognized.
    """
    source = Path(source_dir)
    if not source.is_dir():
        raise UserError(f"DATA_DIR {source} does not exist: check the path.")
    found: dict[tuple[str, str], RawSubject] = {}
    files = sorted(p for p in source.rglob("*.nii*") if p.name.endswith((".nii", ".nii.gz")))
    for file in files:
        if leave_out and file.resolve().is_relative_to(Path(leave_out).resolve()):
            continue
        subject = _recognize(file, source)
        if subject is not None:
            found.setdefault((subject.cohort, subject.name), subject)
    if not found:
        raise UserError(
            f"{source} holds neither a folder 'splits' nor scans that are recognized: expected "
            "sub-*_T1w.nii.gz (BIDS), IXI*-T1.nii.gz, patient*/T1.nii.gz (MSLUB) or "
            "BraTS2021_*_t1.nii.gz."
        )
    return [found[key] for key in sorted(found)]


def sick_sets_in(data_dir: str | Path) -> set[str]:
    """Names of the sick sets that a data folder holds, in the book's layout or raw.

    Raises
    ------
    UserError
        If nothing in the folder is recognized.
    """
    if (Path(data_dir) / "splits").is_dir():
        return set(available_sets(data_dir))
    return {subject.cohort for subject in find_subjects(data_dir) if subject.seg} - {HEALTHY}


def prepare_source(
    source_dir: str | Path,
    out_dir: str | Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    jobs: int = -1,
    report: Callable[[str], None] = print,
) -> Path:
    """Register every scan of a raw folder and write the layout with its splits.

    A subject that is done is not registered again; one that fails is reported and left out.

    Parameters
    ----------
    source_dir
        Raw folder; see :func:`find_subjects`.
    out_dir
        New data folder. ``registration.csv`` in it tells how each scan fared.
    progress
        Called with (subjects done, subjects in all) after each that was not done before.
    jobs
        Processes; -1 for one a core.
    report
        Called with a sentence for each subject or set that is left out.

    Returns
    -------
    pathlib.Path
        ``out_dir``.

    Raises
    ------
    UserError
        Nothing is recognized, or fewer than three healthy scans could be registered.
    """
    out = Path(out_dir)
    subjects = find_subjects(source_dir, out)
    out.mkdir(parents=True, exist_ok=True)
    known = {subject: _finished(subject, out) for subject in subjects}
    missing = [subject for subject, record in known.items() if record is None]
    results = run_parallel(_prepare_subject, ((subject, out) for subject in missing), jobs)
    first = len(subjects) - len(missing) + 1
    for done, (subject, record) in enumerate(zip(missing, results, strict=True), first):
        known[subject] = record
        if record["error"]:
            report(f"Left out {record['cohort']} {record['name']}: {record['error']}")
        if progress:
            progress(done, len(subjects))
    records = [record for record in known.values() if record]
    with write_atomic(out / "registration.csv") as temporary:
        pd.DataFrame(records).to_csv(temporary, index=False)
    _write_splits(out, [record for record in records if not record["error"]], report)
    return out


def deal(names: list[str], shares: tuple[float, ...]) -> list[list[str]]:
    """Deal subjects by a hash of their name: a group for each share (at least one subject where
    there are enough), and the rest as the last group. Groups are sorted."""
    order = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    groups = []
    for share in shares:
        count = min(max(1, round(share * len(names))), len(order) - 1)
        groups.append(sorted(order[:count]))
        order = order[count:]
    return [*groups, sorted(order)]


def layout_paths(cohort: str, name: str) -> dict[str, str]:
    """Paths of a subject in the layout, as the CSV files write them."""
    folder = "/Train/ixi" if cohort == HEALTHY else f"/Test/{cohort}"
    seg = "" if cohort == HEALTHY else f"{folder}/seg/{name}_seg.nii.gz"
    return {
        "img_path": f"{folder}/t1/{name}_t1.nii.gz",
        "mask_path": f"{folder}/mask/{name}_mask.nii.gz",
        "seg_path": seg,
    }


def _recognize(file: Path, source: Path) -> RawSubject | None:
    """A subject if ``file`` is a T1 scan of a known kind, with its companions."""
    name = file.name
    if name.startswith("sub-") and "_T1w.nii" in name:
        subject = name.split("_")[0]
        lesion = _companion(file, "*lesion_mask.nii*")
        age = _bids_age(file, source, subject)
        return RawSubject(subject, "ATLAS" if lesion else HEALTHY, str(file), "", lesion, age)
    if name.startswith("IXI") and "-T1.nii" in name:
        return RawSubject(name.split(".nii")[0], HEALTHY, str(file))
    folder = file.parent.name
    if folder.startswith("patient") and name.split(".")[0] in ("T1", f"{folder}_T1W"):
        lesion = _companion(file, "*lesion_mask.nii*") or _companion(file, "*consensus_gt.nii*")
        mask = _companion(file, "*brainmask.nii*")
        return RawSubject(folder, "MSLUB", str(file), mask, lesion)
    if name.startswith("BraTS2021_") and "_t1.nii" in name:
        subject = name.split("_t1.nii")[0]
        return RawSubject(subject, "Brats21", str(file), "", _companion(file, "*_seg.nii*"))
    return None


def _companion(file: Path, pattern: str) -> str:
    """First file beside ``file`` that fits, or an empty string."""
    return str(next(iter(sorted(file.parent.glob(pattern))), ""))


def _bids_age(file: Path, source: Path, subject: str) -> str:
    """Age from the nearest ``participants.tsv`` between a scan and the source folder."""
    for folder in file.parents:
        table = folder / "participants.tsv"
        if table.is_file():
            frame = pd.read_csv(table, sep="\t", dtype=str, keep_default_na=False)
            if {"participant_id", "age"} <= set(frame.columns):
                ages = frame.loc[frame["participant_id"] == subject, "age"]
                return ages.iloc[0].replace(",", ".") if len(ages) else ""
            return ""
        if folder == source:
            break
    return ""


def _prepare_subject(subject: RawSubject, out: Path) -> dict:
    """Register one subject. Its record is written after its files."""
    start = time.perf_counter()
    record = {**asdict(subject), "error": "", "dice": None, "brain": "", "note": "", "seconds": 0.0,
              "inputs": _inputs(subject)}
    try:
        if subject.cohort != HEALTHY and not subject.seg:
            raise UserError(f"{subject.image} has no lesion mask beside it: add the file.")
        registered = register_scan(subject.image, subject.mask or None, subject.seg or None)
        paths = layout_paths(subject.cohort, subject.name)
        arrays = (registered.image, registered.mask, registered.seg)
        for path, array in zip(paths.values(), arrays, strict=True):
            if path:
                save_nifti(out / path.lstrip("/"), array, registered.affine)
    except (UserError, RuntimeError, MemoryError) as error:
        return {**record, "error": " ".join(str(error).split())[:300]}
    record.update(
        dice=round(registered.dice, 4), brain=registered.brain.source, note=registered.brain.note,
        seconds=round(time.perf_counter() - start, 1),
        matrix=registered.matrix.round(6).tolist(),
    )
    with write_atomic(_record_file(subject, out)) as temporary:
        Path(temporary).write_text(json.dumps(record))
    return record


def _record_file(subject: RawSubject, out: Path) -> Path:
    return out / "registration" / f"{subject.cohort}_{subject.name}.json"


def _finished(subject: RawSubject, out: Path) -> dict | None:
    """The record of a subject whose files are there and whose scan has not changed since."""
    record_file = _record_file(subject, out)
    paths = [p for p in layout_paths(subject.cohort, subject.name).values() if p]
    if not record_file.is_file() or not all((out / p.lstrip("/")).is_file() for p in paths):
        return None
    try:
        record = json.loads(record_file.read_text())
    except json.JSONDecodeError:
        return None
    return record if record.get("inputs") == _inputs(subject) else None


def _inputs(subject: RawSubject) -> list[list]:
    files = [file for file in (subject.image, subject.mask, subject.seg) if file]
    return [[file, Path(file).stat().st_size, Path(file).stat().st_mtime_ns] for file in files]


def _write_splits(out: Path, records: list[dict], report: Callable[[str], None]) -> None:
    """Deal the registered subjects and write the CSV files; old ones are removed first."""
    for file in split_path(out, "x").parent.glob("*.csv"):
        file.unlink()
    cohorts: dict[str, dict[str, dict]] = {}
    for record in records:
        cohorts.setdefault(record["cohort"], {})[record["name"]] = record
    healthy = cohorts.pop(HEALTHY, {})
    if len(healthy) < 3:
        raise UserError(
            f"Only {len(healthy)} healthy scans could be registered (see {out}/registration.csv): "
            "give at least three, for training, validation and test."
        )
    groups = {}
    test, val, train = deal(list(healthy), (TEST_SHARE, VAL_SHARE))
    for name, names in (("train_fold0", train), ("val_fold0", val), ("test", test)):
        groups[f"{HEALTHY}_{name}"] = [healthy[n] for n in names]
    for cohort, sick in cohorts.items():
        if len(sick) < 2:
            report(f"Left out {cohort}: it needs two registered patients, for validation and test.")
            continue
        val, test = deal(list(sick), (SICK_VAL_SHARE,))
        groups[f"{cohort}_val"] = [sick[n] for n in val]
        groups[f"{cohort}_test"] = [sick[n] for n in test]
    for name, members in groups.items():
        write_split(out, name, [_row(record) for record in members])


def _row(record: dict) -> dict:
    label = 0 if record["cohort"] == HEALTHY else 1
    paths = layout_paths(record["cohort"], record["name"])
    return {"img_name": record["name"], "age": record["age"], "label": label, **paths}
