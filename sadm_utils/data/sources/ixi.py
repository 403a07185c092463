"""IXI: nearly 600 healthy adults of three London hospitals.

``IXI-T1.tar`` unpacks to files ``IXI012-HH-1211-T1.nii.gz`` (subject, hospital, scan), with skull;
other contrasts have other endings. ``IXI.xls`` has ages and sexes by number; it lists some people
twice, some without an age, and some who have no T1 scan.
"""

from __future__ import annotations

import re

from sadm_utils.data.sources.files import (
    FileTree,
    parse_age,
    parse_sex,
    read_table,
    stem,
    take_first,
)
from sadm_utils.data.sources.table import Found, RawSubject, Release
from sadm_utils.errors import UserError

RELEASE = Release(
    "ixi", "IXI", 581, "CC BY-SA 3.0",
    "IXI data set, brain-development.org (Imperial College London)",
    "free: IXI-T1.tar and IXI.xls from https://brain-development.org/ixi-dataset/",
    "IXI*-T1.nii.gz, IXI.xls",
)
NAME = re.compile(r"(IXI(\d{3})-[A-Za-z]+-\d{4})-T1")
TABLES = ("IXI.csv", "IXI.xlsx", "IXI.xls")


def find(tree: FileTree) -> Found:
    """Find the T1 scans, and ages and sexes if the spreadsheet is there."""
    named = [(match, file) for file in tree.volumes if (match := NAME.fullmatch(stem(file)))]
    if not named:
        return Found()
    scans, notes = take_first((match[1], file) for match, file in named)
    people, about = _people(tree)
    notes += about
    subjects = []
    for name, file in scans.items():
        age, sex = people.get(name[3:6], (None, ""))
        mask = tree.beside(file, rf"{re.escape(stem(file))}_(bet_|brain_?)?mask")
        subjects.append(RawSubject(name, "IXI", str(file), mask, "", age, sex))
    unknown = sum(subject.age is None for subject in subjects)
    if people and unknown:
        notes.append(f"{unknown} of {len(subjects)} IXI subjects have no age in the spreadsheet.")
    without = sorted(set(people) - {name[3:6] for name in scans})
    missing = []
    if without:
        missing.append(
            f"IXI: no T1 scan of {', '.join('IXI' + n for n in without)}, whom the spreadsheet "
            "names (some have none in the release)."
        )
    return Found(tuple(subjects), tuple(missing), tuple(notes))


def _people(tree: FileTree) -> tuple[dict[str, tuple[float | None, str]], list[str]]:
    """Age and sex by three-digit number, and what is to be said about the spreadsheet."""
    tables = [file for name in TABLES for file in tree.files if file.name == name]
    if not tables:
        return {}, ["IXI.xls is not there: ages and sexes of IXI stay empty."]
    try:
        frame = read_table(tables[0])
    except UserError as error:
        return {}, [f"Ages and sexes of IXI stay empty, as {error}"]
    columns = {name.split()[0].upper(): name for name in frame.columns if name.strip()}
    if not {"IXI_ID", "AGE"} <= set(columns):
        return {}, [f"{tables[0]} lacks the columns IXI_ID and AGE: ages of IXI stay empty."]
    people: dict[str, tuple[float | None, str]] = {}
    for _, row in frame.iterrows():
        number = re.fullmatch(r"\s*(?:IXI)?0*(\d{1,3})(?:\.0)?\s*", str(row[columns["IXI_ID"]]))
        if number is None:
            continue
        key = number[1].zfill(3)
        age = parse_age(row[columns["AGE"]])
        sex = parse_sex(row[columns["SEX_ID"]], "2", "1") if "SEX_ID" in columns else ""
        before = people.get(key, (None, ""))
        people[key] = (before[0] if before[0] is not None else age, before[1] or sex)
    return people, []
