"""Lists: the paper's sizes, even strata, disjoint parts; and lists that others have made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sadm_utils.data.splits import (
    adopt_lists,
    find_overlaps,
    healthy_sizes,
    make_splits,
    read_lists,
    refuse_overlaps,
    sick_val_size,
)
from sadm_utils.errors import UserError


def people(count: int, set_name: str = "IXI", label: int = 0, start: int = 0) -> pd.DataFrame:
    """Subjects with ages and, if they are sick, lesions, both drawn."""
    rng = np.random.default_rng(count + start)
    return pd.DataFrame({
        "subject": [f"{set_name}{i:04d}" for i in range(start, start + count)],
        "set": set_name, "label": label, "age": rng.uniform(20, 80, count).round(1),
        "lesion_ml": rng.gamma(1.0, 20.0, count) if label else 0.0,
    })  # fmt: skip


def paper() -> pd.DataFrame:
    sick = {"Brats21": 1251, "ATLAS": 655, "MSLUB": 30, "WMH": 60}
    return pd.concat([people(562), *(people(n, name, 1) for name, n in sick.items())])


def test_sizes_are_the_papers() -> None:
    lists = make_splits(paper())
    assert len(lists["IXI_test"]) == 160
    for fold in range(5):
        assert len(lists[f"IXI_train_fold{fold}"]) == 358
        assert len(lists[f"IXI_val_fold{fold}"]) == 44
    sizes = {name: len(v) for name, v in lists.items() if not name.startswith("IXI")}
    assert sizes == {
        "ATLAS_test": 589, "ATLAS_val": 66, "Brats21_test": 1151, "Brats21_val": 100,
        "MSLUB_test": 20, "MSLUB_val": 10, "WMH_test": 45, "WMH_val": 15,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(3, (1, 1)), (12, (3, 2)), (72, (20, 12)), (562, (160, 44)), (581, (160, 44))],
)
def test_fewer_subjects_keep_the_shares(count: int, sizes: tuple[int, int]) -> None:
    assert healthy_sizes(count) == sizes
    assert [sick_val_size("MSLUB", n) for n in (2, 3, 9, 30, 90)] == [1, 1, 3, 10, 10]


@pytest.mark.parametrize("count", [3, 4, 7, 14, 100, 562])
def test_parts_of_a_fold_are_disjoint_and_complete(count: int) -> None:
    lists = make_splits(people(count))
    refuse_overlaps(lists)
    everyone = set(people(count)["subject"])
    for fold in range(5):
        parts = [lists[f"IXI_train_fold{fold}"], lists[f"IXI_val_fold{fold}"], lists["IXI_test"]]
        assert all(parts) and set().union(*parts) == everyone
        assert sum(map(len, parts)) == count


def test_validation_lists_of_the_folds_are_disjoint() -> None:
    lists = make_splits(people(562))
    drawn = [name for fold in range(5) for name in lists[f"IXI_val_fold{fold}"]]
    assert len(set(drawn)) == 5 * 44


def test_lists_depend_on_the_seed_and_on_nothing_else() -> None:
    table = people(100)
    lists = make_splits(table)
    assert make_splits(table.sample(frac=1, random_state=3)) == lists
    assert make_splits(table, seed=1) != lists


def test_every_list_has_its_share_of_each_set_and_age() -> None:
    table = pd.concat([people(400), people(100, "ds002748", start=1000)])
    ages = table.set_index("subject")["age"]
    lists = make_splits(table)
    share = 100 / 500
    for name, subjects in lists.items():
        others = sum(s.startswith("ds") for s in subjects)
        assert abs(others - share * len(subjects)) <= 2, name
        assert abs((ages[subjects] < ages.median()).mean() - 0.5) < 0.08, name


def test_small_and_large_lesions_are_in_both_lists() -> None:
    table = people(90, "ATLAS", 1)
    lists = make_splits(pd.concat([people(3), table]))
    volume = table.set_index("subject")["lesion_ml"]
    thirds = pd.qcut(volume, 3, labels=False)
    for name in ("ATLAS_val", "ATLAS_test"):
        counts = thirds[lists[name]].value_counts()
        assert counts.max() - counts.min() <= 2, name


def test_unknown_ages_are_a_stratum_of_their_own() -> None:
    table = people(60).assign(age=[np.nan] * 30 + [50.0] * 30)
    test = make_splits(table)["IXI_test"]
    unknown = table.set_index("subject")["age"].isna()
    assert abs(unknown[test].sum() - len(test) / 2) <= 1


def test_refusals() -> None:
    with pytest.raises(UserError, match="Only 2 healthy scans could be registered: give at least"):
        make_splits(people(2))
    with pytest.raises(UserError, match="IXI0000 is the name of two subjects"):
        make_splits(pd.concat([people(4), people(4)]))
    lists = {"IXI_train_fold0": ["a", "b"], "IXI_val_fold0": ["c"], "IXI_test": ["b"]}
    with pytest.raises(UserError, match="IXI_train_fold0 and IXI_test share b: remove"):
        refuse_overlaps(lists)
    with pytest.raises(UserError, match="WMH_val and WMH_test share x"):
        refuse_overlaps({"WMH_val": ["x"], "WMH_test": ["x", "y"]})
    refuse_overlaps({"IXI_train_fold0": ["a"], "IXI_train_fold1": ["a"], "IXI_test": ["b"]})


def test_set_with_one_patient_gets_no_lists() -> None:
    lists = make_splits(pd.concat([people(5), people(1, "WMH", 1)]))
    assert not [name for name in lists if name.startswith("WMH")]


def released(folder: Path, name: str, subjects: list[str], columns: str = "img_name") -> None:
    """Write a list as the paper's authors do: an index, a file name as name, further columns."""
    part = "IXI" if name.startswith("IXI") else name.rsplit("_", 1)[0]
    base = f"/{'Train' if part == 'IXI' else 'Test'}/{part}"
    rows = [
        f"{7 * i},{s}_t1.nii.gz,2,38.9,{int(part != 'IXI')},{base}/t1/{s}_t1.nii.gz,"
        f"{base}/mask/{s}_mask.nii.gz,{'' if part == 'IXI' else f'{base}/seg/{s}_seg.nii.gz'},1.0"
        for i, s in enumerate(subjects)
    ]
    header = f',{columns},"SEX_ID (1=m, 2=f)",age,label,img_path,mask_path,seg_path,Agegroup'
    (folder / "splits").mkdir(parents=True, exist_ok=True)
    (folder / "splits" / f"{name}.csv").write_text("\n".join([header, *rows]))


@pytest.fixture
def authors(tmp_path: Path) -> Path:
    """Lists with the kinds of overlaps that the released ones have, small."""
    names = [f"IXI{i:03d}-Guys-0001" for i in range(20)]
    for fold in range(2):
        released(tmp_path, f"IXI_train_fold{fold}", [*names[:12], names[0], names[15]])
        released(tmp_path, f"IXI_val_fold{fold}", [*names[12:15], *names[:fold]])
    released(tmp_path, "IXI_test", names[15:])
    released(tmp_path, "ATLAS_v2_val", ["sub-r001s001", "sub-r001s002"])
    released(tmp_path, "ATLAS_v2_test", ["sub-r001s003", "sub-r001s004"])
    return tmp_path


def test_released_lists_are_read_and_their_overlaps_told(authors: Path) -> None:
    lists = read_lists(authors)
    assert "ATLAS_val" in lists and list(lists["ATLAS_val"]["subject"])[0] == "sub-r001s001"
    assert len(lists["IXI_train_fold0"]) == 13, "the repeated row counts once"
    sentences = find_overlaps(lists)
    assert sentences == [
        "IXI_train_fold0 and IXI_test share 1 subject: IXI015-Guys-0001.",
        "IXI_train_fold1 and IXI_val_fold1 share 1 subject: IXI000-Guys-0001.",
        "IXI_train_fold1 and IXI_test share 1 subject: IXI015-Guys-0001.",
        "IXI_train_fold0 has 1 repeated rows, which count once.",
        "IXI_train_fold1 has 1 repeated rows, which count once.",
    ]


def test_released_lists_are_taken_for_the_scans_that_are_here(authors: Path) -> None:
    table = pd.concat([
        pd.DataFrame({
            "subject": [f"IXI{i:03d}-Guys-0001" for i in range(18)], "set": "IXI", "label": 0,
            "age": np.nan, "lesion_ml": 0.0}),
        pd.DataFrame({"subject": ["sub-r001s001", "sub-r001s003"], "set": "ATLAS", "label": 1,
                      "age": np.nan, "lesion_ml": 3.0}),
    ])  # fmt: skip
    for folder in (authors, authors / "splits"):
        lists, sentences = adopt_lists(folder, table)
        assert lists["IXI_train_fold0"] == [f"IXI{i:03d}-Guys-0001" for i in [*range(12), 15]]
        assert lists["IXI_test"] == [f"IXI{i:03d}-Guys-0001" for i in range(15, 18)]
        assert lists["ATLAS_val"] == ["sub-r001s001"] and lists["ATLAS_test"] == ["sub-r001s003"]
        assert any("IXI_test lists 5 subjects, of which 2 are not here" in s for s in sentences)


def test_lists_of_other_scans_are_refused(authors: Path) -> None:
    with pytest.raises(UserError, match="name no healthy subject for training that is here"):
        adopt_lists(authors, people(9, "ds"))
