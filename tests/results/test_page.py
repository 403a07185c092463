"""The page "Results" holds each cell, verdict and picture, or says that there are none."""

import re

import pandas as pd
import pytest

from sadm_utils.execute import PACKAGE
from sadm_utils.results import measured
from sadm_utils.results.cells import cells_table, further_section
from sadm_utils.results.measured import read_sweep
from sadm_utils.results.orderings import against_base, judge
from sadm_utils.results.page import (
    MARKS,
    family_table,
    fill_results,
    rivals_words,
    tally_table,
)
from sadm_utils.results.paper import paper_rows
from sadm_utils.results.pictures import NO_PICTURES
from tests.results.made_up import as_in_the_paper, write_pictures, write_sweep

PAGE = (PACKAGE.parent / "book" / "results.md").read_text()
OTHERS = [("Intensity", ""), ("Intensity_med", "")]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with the record of a sweep of all rows."""
    root = tmp_path_factory.mktemp("project")
    rows = [*paper_rows(), *OTHERS]
    target = write_sweep(
        root, "table", as_in_the_paper(0.02), rows, seeds=(0, 1), failed={"x": "why"}
    )
    write_pictures(target, rows)
    return root


@pytest.fixture(scope="module")
def filled(project):
    """The page, filled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measured, "project_root", lambda: project)
        return fill_results(PAGE, project)


def line_of(text: str, start: str) -> list[str]:
    (line,) = [x for x in text.splitlines() if x.startswith(f"| {start} |")]
    return [cell.strip().replace("\u00a0", " ") for cell in line.strip("|").split("|")]


def test_a_cell_has_the_paper_ours_with_spread_and_interval_and_the_gap(root):
    mean = as_in_the_paper(0.0212)
    write_sweep(root, "table", mean, [("cDDPM", ""), ("SADM_res", "draem")], seeds=(0, 2))
    table = cells_table(read_sweep("table"), "Brats21")
    assert line_of(table, "cDDPM") == [
        "cDDPM", "58.55 ± 0.78", "60.8 ± 0.1 [59.8, 61.8]", "+2.2",
        "59.09 ± 0.91", "61.3 ± 0.1 [60.3, 62.3]", "+2.2",
    ]  # fmt: skip
    # The best of each column.
    bold = [c.replace("\u00a0", " ") for c in table.split("|") if "**" in c]
    assert bold[:2] == [" **62.8** ± 0.1 [61.8, 63.8] ", " **62.5** ± 0.1 [61.5, 63.5] "]
    assert line_of(table, "AE")[1:4] == ["39.16 ± 0.64", "–", "–"], "not run"
    assert len(table.splitlines()) == 2 + 22


def test_rivals_on_this_book_s_encoder_have_a_star_and_noise_a_dagger(root):
    rows = [("FAE", ""), ("AE", ""), ("cDDPM", "")]
    better = {"FAE": 0.503, "AE": 0.5, "cDDPM": 0.2}
    write_sweep(root, "table", lambda v, row, s, m: better[row[0]], rows, jitter=0.02)
    table = cells_table(read_sweep("table"), "ATLAS")
    assert line_of(table, r"FAE*")[2].startswith("**50.3** [")
    assert line_of(table, "AE")[2].endswith("] †") and "†" not in line_of(table, "cDDPM")[2]


def test_further_protocols_have_their_units_and_the_best_in_bold(root):
    folder = write_sweep(root, "table", as_in_the_paper(), [("cDDPM", ""), ("AE", "")])
    for name in ("table.csv", "subjects.csv.gz"):
        path = folder / name
        frame = pd.read_csv(path, keep_default_na=False)
        distance = frame[frame["metric"] == "best_dice"].assign(metric="hd95")
        share = frame[frame["metric"] == "auprc"].assign(metric="dice")
        pd.concat([frame, distance, share]).to_csv(path, index=False)
    section = further_section(read_sweep("table"))
    assert section.count(":::{dropdown}") == 4 and ":::{dropdown} MSLUB (multiple" in section
    table = section.split("\n\n")[0]
    assert table.splitlines()[1] == "| method (trained on) | Dice | HD95 in mm |"
    ours, other = line_of(table, "cDDPM"), line_of(table, "AE")
    assert ours[1].startswith("**59.1** [58.1") and ours[2] == "0.6 [0.6, 0.6]"
    assert other[1].startswith("35.9") and other[2].startswith("**0.4** [")


def test_page_says_how_it_was_made_and_on_what(filled):
    made = filled.split("## How to read it")[0]
    for words in ("profile `table`", "`0123456789ab`", "2026-01-02", "a CPU", "1 h 02 min",
                  "2 runs", "1 points of the sweep are missing, 1 of them failed", "are phantoms",
                  "data: phantoms",
                  "| 04 cddpm training | 2 | 3 min 20 s | 1.0 GiB |"):  # fmt: skip
        assert words in made, words


def test_page_has_no_mark_left_and_a_picture_for_each_reference(filled, project):
    assert not [mark for mark in MARKS.values() if mark in filled] and "<!--" not in filled
    assert filled.count("ot measured yet") == 1, "further protocols"
    assert "{row" not in filled and "nan" not in filled
    pictures = re.findall(r"```\{image\} (\S+)\n:alt: (.+)\n```", filled)
    assert [name for name, _ in pictures] == [
        "paper_against_here.png", "slice_brats21.png", "slice_atlas.png", "slice_draem.png",
        "slice_mslub.png", "weights_paper.png", "weights_other.png",
    ]  # fmt: skip
    assert all((project / name).stat().st_size > 5000 and len(alt) > 40 for name, alt in pictures)
    before, after = filled.split("### Test sets that the paper's table does not have")
    assert "MSLUB ⌈Dice⌉" not in before and "MSLUB ⌈Dice⌉" in after
    test_sets, methods = after.split("### Methods that the paper's table does not have")
    methods = methods.split("\n## ")[0]
    assert "| Intensity |" in test_sets and "| SADM_res (draem) |" in test_sets
    assert test_sets.index("| AE |") < test_sets.index("| cDDPM |") < test_sets.index("| Intensity")
    assert "| Intensity |" in methods and "SADM" not in methods


def test_pictures_of_the_page_are_told_in_words(filled):
    section = filled.split("## The methods on one slice")[1].split("\n## ")[0]
    assert section.count("```{image}") == 4 and "Figures 2 and 3" in section
    assert "**ATLAS (strokes)**, subject `P401`, slice 1. Of a map's brightest" in section
    assert "**MSLUB (multiple sclerosis)**, subject `P401`" in section
    (alt,) = re.findall(r"slice_draem.png\n:alt: (.+)\n", section)
    assert alt.startswith("A slice of P401 with its lesion outlined, then the same slice")
    assert "maps of AE, VAE, DAE" in alt and "SADM_res (atlas_v2) and Intensity_med" in alt
    assert "and below as AE, VAE, DAE, FAE, RD, DDPM, pDDPM, cDDPM and Intensity_med rebuild" in alt
    assert "inside of the lesion is 100\u00a0% (11 maps), the smallest " in alt


def test_record_without_pictures_says_so(root):
    write_sweep(root, "table", as_in_the_paper(), [("cDDPM", "")])
    assert fill_results(MARKS["pictures"], root) == NO_PICTURES
    assert not list(root.glob("slice_*.png"))


def test_tables_keep_their_columns(filled):
    """A cell with a bar, or a line too long, would shift a table."""
    for block in re.findall(r"(?:^\|.*\n)+", filled + "\n", flags=re.M):
        widths = {line.replace("\\|", "").count("|") for line in block.splitlines()}
        assert len(widths) == 1, block[:200]


def test_verdicts_are_written_with_both_differences(root):
    plain = as_in_the_paper()
    write_sweep(root, "table", lambda *key: 1 - plain(*key), [("cDDPM", ""), ("AE", "")])
    sweep = read_sweep("table")
    judged = judge(against_base(), sweep)
    line = line_of(family_table(against_base(), judged), "AE − cDDPM")
    assert line[1] == "**reversed**: +19.4 [19.4, 19.4] (paper −19.4)"
    unrun = line_of(family_table(against_base(), judged), "SADM (brats21) − cDDPM")
    assert unrun[1:3] == ["**not run** (paper +10.5)", "no order in the paper"]
    counts = tally_table({"all": judged}).splitlines()[2]
    cells = [cell.strip() for cell in counts.strip("|").split("|")]
    assert cells[0] == "all, Brats21 (tumors)" and cells[3] == "1"
    assert int(cells[1]) == sum(map(int, cells[2:]))


def test_a_family_with_one_test_set_a_line_has_no_columns_of_dashes(filled):
    section = filled.split("### Training on the tested kind against another kind")[1]
    table = section.split("\n\n")[1].splitlines()
    assert table[0] == "| difference | verdict |" and len(table) > 20
    assert all(", Brats21 (" in x or ", ATLAS (" in x or ", DRAEM (" in x for x in table[2:])


def test_reversed_pairs_are_listed(root):
    plain = as_in_the_paper()
    write_sweep(root, "table", lambda *key: 1 - plain(*key), [("cDDPM", ""), ("AE", "")])
    text = fill_results(PAGE, root)
    assert "All 3 pairs that are reversed here, without" in text
    line = "| AE − cDDPM, ATLAS (strokes) | −10.6 | +10.6 [10.6, 10.6] |"
    assert line in text.replace("\u00a0", " ")
    assert "**Here**, SADM_res was not run." in text


def test_the_paper_s_own_misses_are_told_without_a_sweep():
    text = rivals_words(None)
    assert "- trained on draem, tested on DRAEM (synthetic): ⌈Dice⌉ DRAEM-Net (draem) +3.0" in text
    assert "SADM_res (" not in text.split("\n\n")[1], "SADM is not its own rival"
    assert "cDDPM +1.4 (within noise)" in text and "+0.7 (within noise); AUPRC" in text


def test_page_without_a_sweep_says_so_in_each_place(root):
    text = fill_results(PAGE, root)
    assert "Not measured yet: run `sadm sweep sweeps/table.yaml`" in text and "<!--" not in text
    assert text.count("*Not measured yet.*") == len(MARKS) - 2  # the paper's own misses stand
    assert not list(root.glob("*.png"))
    assert fill_results("other page", root) == "other page"


def test_page_without_a_curve(root):
    folder = write_sweep(root, "table", as_in_the_paper(), [("cDDPM", "")])
    assert (folder / "beta_curve.csv").read_text().count("\n") == 1
    assert fill_results(MARKS["weights"], root) == "*Not measured yet.*"


@pytest.mark.parametrize(("share", "bold"), [(3, 3), (4, 0)])
def test_a_best_value_that_many_rows_share_is_not_bold(root, share, bold):
    rows = paper_rows()[:6]
    folder = write_sweep(root, "table", as_in_the_paper(), rows)
    table = pd.read_csv(folder / "table.csv", keep_default_na=False)
    one = table[(table["test_set"] == "Brats21") & (table["metric"] == "auprc")]
    mean = [0.9] * share + [0.5] * (len(rows) - share)
    more = one.assign(metric="detection_auroc", mean=mean)
    pd.concat([table, more]).to_csv(folder / "table.csv", index=False)
    text = further_section(read_sweep("table"))
    assert text.count("**90.0**") == bold and text.count("90.0") == share


def test_without_further_metrics_there_is_no_table(filled):
    section = filled.split("## With thresholds")[1].split("\n## ")[0]
    assert "Not measured yet" in section and "dropdown" not in section
