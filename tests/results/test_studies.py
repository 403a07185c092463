"""Each study has its sweep, its table, its figure and sentences that follow from its numbers."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sadm_utils.config import load_config
from sadm_utils.execute import PACKAGE
from sadm_utils.results.annotation_study import SOURCES
from sadm_utils.results.measured import read_sweep
from sadm_utils.results.paper import OWN_SET
from sadm_utils.results.studies import (
    fill_studies,
    found,
    seeds_words,
    study_section,
    study_table,
)
from sadm_utils.results.study import ANNOTATIONS, STUDIES
from sadm_utils.sweep import sweep_file
from tests.results.made_up import write_sweep

ROOT = PACKAGE.parent
PAGE = (ROOT / "book" / "studies.md").read_text()
ALL = (ANNOTATIONS, *STUDIES)
NETWORKS = ("Unet", "Unet_res", "SADM", "SADM_res")
ROWS = [("cDDPM", ""), *((n, s) for s in OWN_SET for n in NETWORKS)]
NOISE = next(study for study in STUDIES if study.name == "noise")


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory):
    """The sweep files as the program reads them, in a profile that is small to resolve."""
    folder, found = tmp_path_factory.mktemp("sweeps"), {}
    for name in {study.sweep for study in ALL}:
        text = (ROOT / "sweeps" / f"{name}.yaml").read_text()
        (folder / f"{name}.yaml").write_text(text.replace("profile: table", "profile: demo"))
        found[name] = sweep_file.read_sweep(folder / f"{name}.yaml")
    return found


@pytest.mark.parametrize("study", ALL, ids=lambda s: s.name)
def test_each_study_has_a_mark_and_a_sweep_with_its_variants(study, sweeps):
    assert PAGE.count(study.mark) == 1
    sweep = sweeps[study.sweep]
    assert set(study.variants) <= set(sweep.variants) and study.base in study.variants
    settings = [load_config("demo", sweep.variants[name]) for name in study.variants]
    section, name = study.parameter.split(".")
    values = [getattr(getattr(config, section), name) for config in settings]
    assert len(set(values)) == len(values), f"{study.parameter} is not what differs"
    shown = {source for _, source in study.rows if source}
    assert set(sweep.annotations) == (set(SOURCES) if study is ANNOTATIONS else shown)


def test_the_page_has_no_mark_without_a_study():
    assert set(re.findall(r"<!-- study: \w+ -->", PAGE)) == {study.mark for study in ALL}
    assert len(ALL) == 8


def test_the_spread_over_seeds_comes_from_the_table(root):
    assert "not been measured" in seeds_words(None)
    rows = [("cDDPM", ""), ("SADM_res", "draem")]
    folder = write_sweep(root, "table", lambda *key: 0.3, rows, sweep={"seeds": [0]})
    assert "not been measured" in seeds_words(read_sweep("table")), "one run has no spread"
    table = pd.read_csv(folder / "table.csv")
    table["n_runs"], table["sd_runs"] = 3, 0.01 * (1 + np.arange(len(table)) // 2)
    table.to_csv(folder / "table.csv", index=False)
    assert "not been measured" in seeds_words(read_sweep("table")), "three folds, one seed"
    about = json.loads((folder / "about.json").read_text())
    (folder / "about.json").write_text(json.dumps({**about, "sweep": {"seeds": [0, 1, 2]}}))
    words = seeds_words(read_sweep("table"))
    assert "for cDDPM 1.0 on tumors, 2.0 on strokes, 3.0 on MS and 4.0 on synthetic; for" in words
    assert "for SADM_res (draem) 5.0 on tumors, 6.0 on strokes, 7.0 on MS and 8.0 on" in words


def write_noise(root, sweeps, gaussian=0.1):
    """cDDPM gains on tumors with Gaussian noise; all else stays at 0.3."""

    def mean(variant, row, test_set, metric):
        better = variant == "gaussian" and row[0] == "cDDPM" and test_set == "Brats21"
        return 0.3 + gaussian * better

    return write_sweep(root, "noise", mean, ROWS, sweeps["noise"].variants)


def test_words_follow_from_the_numbers(root, sweeps):
    write_noise(root, sweeps)
    text = found(NOISE, read_sweep("noise"))
    assert (
        "cDDPM, Gaussian against simplex: 10.0 points above on Brats21 [10.0, 10.0]; "
        "within noise on ATLAS, MSLUB and DRAEM." in text
    )
    assert "SADM_res (draem), coarse against simplex: within noise on Brats21, ATLAS," in text
    assert "1 of 16 differences is more than noise" in text


def test_words_turn_with_the_sign_and_tell_what_was_not_run(root, sweeps):
    write_noise(root, sweeps, gaussian=-0.1)
    sweep = read_sweep("noise")
    part = replace(sweep, subjects=sweep.subjects[sweep.subjects["test_set"] != "MSLUB"])
    assert (
        "cDDPM, Gaussian against simplex: 10.0 points below on Brats21 [−10.0, −10.0]; "
        "within noise on ATLAS and DRAEM; not run on MSLUB." in found(NOISE, part)
    )


def test_table_has_a_line_for_each_row_and_variant(root, sweeps):
    write_noise(root, sweeps)
    lines = study_table(NOISE, read_sweep("noise")).splitlines()
    assert len(lines) == 2 + 2 * 3
    assert lines[2].startswith("| cDDPM, simplex (this book) |")
    line = lines[3].replace("\u00a0", " ")
    assert line.startswith("| cDDPM, Gaussian | 40.0 [39.0, 41.0] | 30.0 [29.0, 31.0] |")


def test_page_with_all_records_is_complete(root, sweeps):
    for name, sweep in sweeps.items():
        write_sweep(root, name, lambda *key: 0.3, ROWS, sweep.variants)
    text = fill_studies(PAGE, root)
    assert "<!--" not in text and "ot measured yet" not in text and "nan" not in text
    pictures = re.findall(r"```\{image\} (\S+)\n:alt: (.+)\n```", text)
    assert len(pictures) == len(ALL) == text.count("**Found.**")
    for name, alt in pictures:
        assert (root / name).stat().st_size > 5000 and len(alt) > 40 and "{" not in alt
    for study in ALL:
        assert f"*Parameter:* `{study.parameter}`" in text


def test_page_without_records_says_so_in_each_place(root):
    text = fill_studies(PAGE, root)
    assert text.count("Not measured yet") == len(ALL) and "<!--" not in text
    assert "`sadm sweep sweeps/scoring.yaml`" in text
    assert not list(root.glob("*.png")) and fill_studies("other", root) == "other"


def write_annotations(root):
    """In domain, 10 points are lost below five subjects; the plain network is lost elsewhere."""

    def mean(variant, row, test_set, metric):
        count = int(variant.split("=")[1]) or 99
        if row[0] == "cDDPM":
            return 0.3
        if OWN_SET[row[1]] == test_set:
            return 0.6 if count >= 5 else 0.5
        return 0.2 if row[0] == "Unet_res" else 0.3

    return write_sweep(root, "annotations", mean, ROWS, ANNOTATIONS.variants)


def test_annotation_study_tells_what_is_enough(root):
    write_annotations(root)
    text = study_section(ANNOTATIONS, root)
    own = "brats21 → tumors, the same kind, Unet_res: all against 1: +10.0 [10.0, 10.0] points"
    assert f"{own}; from 5 on" in text
    assert "above cDDPM by more than noise with 1, 2, 5, 10 and all." in text
    other = "brats21 → strokes, another kind, Unet_res: all against 1: 0.0 [0.0, 0.0] points"
    assert f"{other} (within noise); from 1 on" in text
    worse = "never above cDDPM by more than noise, below it with 1, 2, 5, 10 and all."
    assert text.count(worse) == 2 and text.count("never above cDDPM by more than noise.") == 2
    added = "another kind, SADM_res against Unet_res: +10.0 [10.0, 10.0] with 1, +10.0 [10.0, 10.0]"
    assert text.count(added) == 2
    line = "| SADM_res, atlas_v2 → strokes, the same kind | 50.0 [49.0, 51.0] |"
    assert line in text.replace("\u00a0", " ")
