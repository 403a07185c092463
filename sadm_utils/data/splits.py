"""Who is trained on and who is tested: lists by subject, and a check that they are disjoint.

Subjects are dealt by a seeded hash of their names, so that a folder always gives the same lists,
and strata are spread evenly: every list has its share of each data set, of young and old, and of
small and large lesions. Sizes are the paper's (METHOD.md, "Data sets") where there are enough
subjects, and the same shares where there are not.
"""

from __future__ import annotations

import hashlib
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from sadm_utils.data.layout import SETS, available_splits, check_disjoint, read_split
from sadm_utils.errors import UserError

HEALTHY = "IXI"
FOLDS = 5
HEALTHY_TEST, HEALTHY_VAL, HEALTHY_ALL = 160, 44, 562
SICK_VAL = {"Brats21": 100, "ATLAS": 66, "MSLUB": 10, "WMH": 15}
SMALL_VAL = 1 / 6
SMALL_SICK_VAL = 1 / 3
THIRDS = 3


def healthy_sizes(count: int) -> tuple[int, int]:
    """Sizes of the test list and of each validation list for ``count`` healthy subjects.

    The paper's 160 and 44 for its 562 subjects or more; fewer subjects give the paper's share to
    test, and a sixth, up to 44, to validation.
    """
    test = min(HEALTHY_TEST, max(1, round(count * HEALTHY_TEST / HEALTHY_ALL)))
    return test, min(HEALTHY_VAL, max(1, round(count * SMALL_VAL)))


def sick_val_size(set_name: str, count: int) -> int:
    """Size of a sick set's ``val`` list: the paper's, but no more than a third of the subjects."""
    return min(SICK_VAL.get(set_name, count), max(1, round(count * SMALL_SICK_VAL)))


def make_splits(table: pd.DataFrame, seed: int = 0, folds: int = FOLDS) -> dict[str, list[str]]:
    """Deal subjects into lists.

    Parameters
    ----------
    table
        One row a subject: ``subject`` (unique among healthy, and in a sick set), ``set``,
        ``label``, ``age`` and, for sick subjects, ``lesion_ml``.
    seed
        Another seed deals other lists.
    folds
        Number of pairs of healthy training and validation lists.

    Returns
    -------
    dict
        ``IXI_test``, ``IXI_train_fold0``, ``IXI_val_fold0``, ..., ``<SET>_val``, ``<SET>_test``, to
        the names of their subjects. A sick set with one subject is left out.

    Raises
    ------
    UserError
        Fewer than three healthy subjects, or a subject in two rows.
    """
    healthy = table[table["label"] == 0]
    if len(healthy) < 3:
        raise UserError(
            f"Only {len(healthy)} healthy scans could be registered: give at least three, for "
            "training, validation and test."
        )
    _check_unique(healthy)
    order = _spread(healthy, _thirds(healthy["age"], healthy["set"]), seed)
    test, val = healthy_sizes(len(order))
    lists = {f"{HEALTHY}_test": sorted(order[:test])}
    pool = order[test:]
    for fold in range(folds):
        # Validation lists of different folds are disjoint where there are enough subjects.
        chosen = {pool[(fold * val + i) % len(pool)] for i in range(min(val, len(pool) - 1))}
        lists[f"{HEALTHY}_train_fold{fold}"] = sorted(set(pool) - chosen)
        lists[f"{HEALTHY}_val_fold{fold}"] = sorted(chosen)
    for name, sick in table[table["label"] == 1].groupby("set"):
        _check_unique(sick)
        if len(sick) > 1:
            order = _spread(sick, _thirds(sick["lesion_ml"], sick["set"]), seed)
            count = sick_val_size(str(name), len(sick))
            lists[f"{name}_val"] = sorted(order[:count])
            lists[f"{name}_test"] = sorted(order[count:])
    return lists


def adopt_lists(lists_dir: str | Path, table: pd.DataFrame) -> tuple[dict, list[str]]:
    """Take lists that others have made, such as the paper's, for the subjects that are here.

    Parameters
    ----------
    lists_dir
        The folder ``splits`` of the lists, or the folder that holds it. Released lists are read as
        they are: ``ATLAS_v2_val.csv``, repeated rows, further columns.
    table
        As for :func:`make_splits`.

    Returns
    -------
    lists, sentences
        Names by list, without repetition; and, to be told, how many of a list are not here.
    """
    folder = Path(lists_dir)
    root = folder.parent if folder.name == "splits" else folder
    sick = table["label"] == 1
    here = {key: set(table.loc[sick & (table["set"] == key), "subject"]) for key in SETS}
    here[HEALTHY] = set(table.loc[~sick, "subject"])
    lists, sentences = {}, []
    for name in available_splits(root):
        known = here.get(name.split("_")[0], set())
        listed = list(dict.fromkeys(read_split(root, name, check_files=False)["subject"]))
        found = [subject for subject in listed if subject in known]
        if len(found) < len(listed):
            absent = [subject for subject in listed if subject not in known]
            sentences.append(
                f"{name} lists {len(listed)} subjects, of which {len(absent)} are not here: "
                f"{_some(absent)}."
            )
        if found:
            lists[name] = found
    if f"{HEALTHY}_train_fold0" not in lists:
        raise UserError(
            f"The lists of {root} name no healthy subject for training that is here: check that "
            "they belong to these scans."
        )
    return lists, sentences


def read_lists(data_dir: str | Path) -> dict[str, pd.DataFrame]:
    """Every list of a data folder, whether its files are there or not."""
    names = available_splits(data_dir)
    return {name: read_split(data_dir, name, check_files=False) for name in names}


def find_overlaps(lists: dict[str, pd.DataFrame]) -> list[str]:
    """Sentences about subjects in two parts of one split, and about repeated rows.

    The parts of a split are training, validation and test of one fold, and ``val`` and ``test`` of
    a sick set. The same subject may be in the training lists of two folds.
    """
    sentences = []
    for group in _parts(list(lists)):
        sentences += check_disjoint({name: lists[name] for name in group})
    for name, frame in lists.items():
        if repeated := int(frame.attrs.get("duplicates", 0)):
            sentences.append(f"{name} has {repeated} repeated rows, which count once.")
    return list(dict.fromkeys(sentences))


def refuse_overlaps(lists: dict[str, list[str]]) -> None:
    """Refuse lists of names that share a subject between two parts of one split.

    Raises
    ------
    UserError
        Naming the first two lists and the subjects they share.
    """
    for group in _parts(list(lists)):
        for one, two in combinations(group, 2):
            if shared := sorted(set(lists[one]) & set(lists[two])):
                raise UserError(
                    f"{one} and {two} share {_some(shared)}: remove the subject from one of them."
                )


def _parts(names: list[str]) -> list[list[str]]:
    """Groups of lists that must not share a subject."""
    folds = sorted({n.rpartition("fold")[2] for n in names if "_fold" in n})
    groups = [
        [f"{HEALTHY}_train_fold{k}", f"{HEALTHY}_val_fold{k}", f"{HEALTHY}_test"] for k in folds
    ]
    sets = dict.fromkeys(n.rpartition("_")[0] for n in names if n.endswith(("_val", "_test")))
    groups += [[f"{name}_val", f"{name}_test"] for name in sets]
    return [[name for name in group if name in names] for group in groups]


def _spread(frame: pd.DataFrame, strata: pd.Series, seed: int) -> list[str]:
    """Order subjects so that any run of neighbors holds each stratum in proportion."""
    keys: dict[str, tuple[float, str]] = {}
    for stratum, rows in frame.groupby(strata):
        names = sorted(rows["subject"], key=lambda name: _hash(seed, name))
        shift = int(_hash(seed, stratum)[:8], 16) / 16**8
        for rank, name in enumerate(names):
            keys[name] = ((rank + shift) / len(names), _hash(seed, name))
    return sorted(keys, key=keys.__getitem__)


def _thirds(values: pd.Series, sets: pd.Series) -> pd.Series:
    """Stratum of each row: its set and the third of the set's values that it lies in."""
    ranks = values.groupby(sets).rank(pct=True)
    third = np.ceil(ranks.fillna(0) * THIRDS).astype(int)
    return sets.astype(str) + "/" + third.astype(str)


def _check_unique(frame: pd.DataFrame) -> None:
    if frame["subject"].duplicated().any():
        name = frame.loc[frame["subject"].duplicated(), "subject"].iloc[0]
        raise UserError(f"{name} is the name of two subjects: rename one of them.")


def _hash(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")

