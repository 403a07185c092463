"""What an adapter gives: subjects as one table, the facts of a release, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

COLUMNS = ("subject", "image", "mask", "lesion", "age", "sex", "label", "set")
"""Columns of the table of :func:`to_frame`."""


@dataclass(frozen=True)
class RawSubject:
    """One subject of a raw folder.

    Attributes
    ----------
    subject
        Name, as the paper's lists write it where they have it (``IXI012-HH-1211``).
    set
        The data set: a key of :data:`sadm_utils.data.layout.SETS` for sick subjects, any name for
        healthy ones.
    image, mask, lesion
        Files of the T1 scan, the brain mask and the lesion mask; empty for none.
    age
        Years, or None if it is not known.
    sex
        ``F``, ``M`` or empty.
    label
        0 healthy, 1 sick.
    lesion_values
        Values of the lesion mask that count as lesion; empty for every value but 0.
    """

    subject: str
    set: str
    image: str
    mask: str = ""
    lesion: str = ""
    age: float | None = None
    sex: str = ""
    label: int = 0
    lesion_values: tuple[int, ...] = ()


@dataclass(frozen=True)
class Release:
    """A public data set: its name in ``--source``, and what to know before using it."""

    key: str
    title: str
    subjects: int
    license: str
    citation: str
    access: str
    expected: str


@dataclass(frozen=True)
class Found:
    """What an adapter found.

    Attributes
    ----------
    subjects
        Complete subjects.
    missing
        A sentence for each subject, or group of subjects, of which a file is missing.
    notes
        A sentence for each decision that a reader should know of.
    """

    subjects: tuple[RawSubject, ...] = ()
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: Found) -> Found:
        return Found(
            self.subjects + other.subjects, self.missing + other.missing, self.notes + other.notes
        )


def to_frame(subjects: Iterable[RawSubject]) -> pd.DataFrame:
    """The subjects as a table with :data:`COLUMNS`; unknown ages are NaN."""
    rows = [{column: getattr(s, column) for column in COLUMNS} for s in subjects]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"age": float, "label": int})
