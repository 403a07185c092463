"""The paper's numbers are complete and are what its text says about them."""

import pytest

from sadm_utils.results.paper import (
    METRICS,
    TEST_SETS,
    figure_5,
    paper_rows,
    paper_values,
    plain_name,
    row_name,
    table_1,
)


def test_table_1_has_every_cell_once():
    table = table_1()
    assert len(paper_rows()) == 22 and len(table) == 22 * 3 * 2
    assert not table.duplicated(["method", "annotations", "test_set", "metric"]).any()
    assert table["mean"].between(0.05, 0.85).all() and table["sd"].between(0, 0.05).all()
    assert set(table["test_set"]) == set(TEST_SETS) and set(table["metric"]) == set(METRICS)


@pytest.mark.parametrize(
    ("row", "test_set", "metric", "mean", "sd"),
    [
        (("AE", ""), "DRAEM", "auprc", 5.27, 0.04),
        (("cDDPM", ""), "ATLAS", "best_dice", 24.74, 1.15),
        (("PII", "pii"), "Brats21", "best_dice", 30.38, 2.46),
        (("SADM_res", "brats21"), "Brats21", "auprc", 73.34, 0.85),
        (("SADM_res", "atlas_v2"), "DRAEM", "best_dice", 17.77, 1.82),
    ],
)
def test_table_1_holds_the_paper_s_numbers_as_fractions(row, test_set, metric, mean, sd):
    assert paper_values(metric)[row, test_set] == pytest.approx((mean / 100, sd / 100))


def test_figure_5_ends_in_the_parts_of_the_sum_and_has_the_sum_in_the_middle():
    curve = figure_5()
    assert len(curve) == 4 * 11
    paper = paper_values("best_dice")
    for (source, test_set), part in curve.groupby(["annotations", "test_set"]):
        dice = part.set_index("beta")["best_dice"]
        for beta, row in ((0.0, ("Unet_res", source)), (0.5, ("SADM_res", source)),
                          (1.0, ("cDDPM", ""))):  # fmt: skip
            assert dice[beta] == pytest.approx(paper[row, test_set][0], abs=0.0011)


def test_names_lose_their_remarks():
    assert [plain_name(n) for n in ("FAE (SparK)", "RD*", "SADM_res", "DRAEM-Net")] == [
        "FAE", "RD", "SADM_res", "DRAEM-Net",
    ]  # fmt: skip
    assert row_name(("SADM", "draem")) == "SADM (draem)" and row_name(("AE", "")) == "AE"
    assert row_name(("PII", "pii")) == "PII"
