"""Raw scans, as their authors share them: one module for each public release.

An adapter finds the subjects of its release below a folder, and says which files are missing. All
of them together read any mixture; your own files (:mod:`.own`) are read only when asked for.
"""

from __future__ import annotations

from pathlib import Path

from sadm_utils.data.layout import SETS, available_sets
from sadm_utils.data.sources import atlas, bids, brats, ixi, mslub, own, wmh
from sadm_utils.data.sources.files import is_here, list_files
from sadm_utils.data.sources.table import COLUMNS, Found, RawSubject, Release, to_frame
from sadm_utils.errors import UserError

__all__ = [
    "COLUMNS", "Found", "RawSubject", "Release", "find_subjects", "releases", "sick_sets_in",
    "to_frame",
]  # fmt: skip

ADAPTERS = {module.RELEASE.key: module for module in (ixi, brats, atlas, mslub, wmh)}
SOURCES = ("auto", *ADAPTERS, "ds002748", "bids", "own")
"""Names of sources, one or several with commas between; ``auto`` is all public releases."""


def releases() -> list[Release]:
    """The releases that are read, with license, citation and access."""
    return [*(m.RELEASE for m in ADAPTERS.values()), bids.DS002748, bids.RELEASE, own.RELEASE]


def find_subjects(
    source: str | Path, kind: str = "auto", sick_set: str = "", leave_out: str | Path = ""
) -> Found:
    """Recognize the scans below a folder, one for each subject, sorted by set and name.

    Parameters
    ----------
    source
        Folder; for the kind ``own`` also a CSV.
    kind
        One or several of :data:`SOURCES`, with commas between.
    sick_set
        What subjects with lesions are, where the release does not tell (``bids``, ``own``).
    leave_out
        Folder that is passed over, so that a result may lie inside its source.

    Raises
    ------
    UserError
        The source does not exist, cannot be read, or holds nothing that is recognized.
    """
    source, kinds = Path(source), split_kinds(kind)
    if sick_set and sick_set not in SETS:
        raise UserError(f"Unknown set {sick_set!r}: choose one of {', '.join(SETS)}.")
    if kinds == ("own",) or (kinds == ("auto",) and source.is_file()):
        found = own.find(source, sick_set, leave_out)
    else:
        tree = list_files(source, leave_out)
        found = Found()
        for key, module in ADAPTERS.items():
            if {"auto", key} & set(kinds):
                found += module.find(tree)
        if {"auto", "bids", "ds002748"} & set(kinds):
            found += bids.find(tree, sick_set)
    found = _present(found)
    if not found.subjects:
        raise UserError(_nothing(source, kinds, found))
    subjects = sorted(found.subjects, key=lambda s: (s.set, s.subject))
    return Found(tuple(subjects), found.missing, found.notes)


def split_kinds(kind: str, name: str = "source") -> tuple[str, ...]:
    """The sources that a text such as ``ixi,brats21`` names.

    Raises
    ------
    UserError
        One of them is unknown (``name`` says in the sentence what it is), or your own scans are to
        be read together with others.
    """
    kinds = tuple(dict.fromkeys(part.strip() for part in str(kind).split(",")))
    for one in kinds:
        if one not in SOURCES:
            raise UserError(f"Unknown {name} {one!r}: choose one of {', '.join(SOURCES)}.")
    if "own" in kinds and len(kinds) > 1:
        others = ", ".join(one for one in kinds if one != "own")
        raise UserError(
            f"The {name} 'own' takes every scan of a folder, those of {others} too: name it alone, "
            "for a folder that holds nothing else."
        )
    return kinds


def sick_sets_in(data_dir: str | Path, kind: str = "auto") -> set[str]:
    """Names of the sick sets that a data folder holds, in the book's layout or raw.

    Raises
    ------
    UserError
        If nothing in the folder is recognized.
    """
    if (Path(data_dir) / "splits").is_dir():
        return set(available_sets(data_dir))
    return {subject.set for subject in find_subjects(data_dir, kind).subjects if subject.label}


def _present(found: Found) -> Found:
    """Leave out subjects with files that are links to nothing, as git-annex leaves them."""
    subjects, missing = [], list(found.missing)
    for subject in found.subjects:
        absent = [f for f in (subject.image, subject.mask, subject.lesion) if f and not is_here(f)]
        if absent:
            missing.append(
                f"{subject.set}: {absent[0]} of {subject.subject} is a link to content that is not "
                "here: get it (datalad get) or copy it."
            )
        else:
            subjects.append(subject)
    return Found(tuple(subjects), tuple(missing), found.notes)


def _nothing(source: Path, kinds: tuple[str, ...], found: Found) -> str:
    if found.missing:
        more = f" (and {len(found.missing) - 1} more)" if len(found.missing) > 1 else ""
        return f"{source} holds no complete subject: {found.missing[0].rstrip('.')}{more}."
    known = [r for r in releases() if r.key in kinds or ("auto" in kinds and r.subjects)]
    expected = "; ".join(f"{release.title}: {release.expected}" for release in known)
    hint = "" if "own" in kinds else ", or name your own files with --source own"
    return (
        f"{source} holds neither a folder 'splits' nor scans that are recognized: expected "
        f"{expected}{hint}."
    )
