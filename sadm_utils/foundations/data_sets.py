"""The data sets of the page "Ethics and limits", from the same list as ``sadm sources``."""

from __future__ import annotations

import re

from sadm_utils.data.sources import releases
from sadm_utils.data.sources.table import Release
from sadm_utils.reference.page import markdown

MARK = "<!-- table of data sets -->"
HOLDS = {
    "ixi": ("healthy adults", "ixi"),
    "brats21": ("gliomas", "baid2021brats"),
    "atlas": ("chronic strokes", "liew2022atlas"),
    "mslub": ("multiple sclerosis", "lesjak2018mslub"),
    "wmh": ("white-matter hyperintensities", "kuijf2019wmh"),
    "ds002748": ("adults without lesions", "bezmaternykh2021"),
}
"""What a set holds, and its key in the bibliography."""
TEMPLATE = (
    "MNI152", "the template, and the phantoms made from it", "comes with nilearn",
    "free, with its notice", "{cite:p}`fonov2009mni`",
)  # fmt: skip


def fill_data_sets(text: str) -> str:
    """Put the table into the place of its mark."""
    if MARK not in text:
        return text
    rows = [_row(release) for release in releases() if release.key in HOLDS]
    head = ("data set", "holds", "access", "license", "cite")
    return text.replace(MARK, markdown(head, [*rows, TEMPLATE]))


def _row(release: Release) -> tuple[str, ...]:
    words, address = re.match(r"(.*?): .*?(https://[^\s)]+)", release.access).groups()
    holds, key = HOLDS[release.key]
    return release.title, holds, f"[{words}]({address})", release.license, f"{{cite:p}}`{key}`"
