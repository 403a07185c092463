"""The numbers of the paper, to compare with: Table 1 and Figure 5 (Behrendt et al., MIDL 2024).

F. Behrendt, D. Bhattacharya, L. Maack, J. Krüger, R. Opfer, A. Schlaefer, *Combining
Reconstruction-based Unsupervised Anomaly Detection with Supervised Segmentation for Brain MRIs*,
PMLR 250:87-102. Table 1 is given there in percent as mean ± standard deviation over five folds;
the values of Figure 5 are those written on its bars.
"""

from __future__ import annotations

import re
from functools import cache

import pandas as pd

Row = tuple[str, str]
"""(method, annotations): a row of the table, e.g. ``("SADM_res", "draem")`` or ``("AE", "")``."""
TEST_SETS = {
    "Brats21": "Brats21 (tumors)", "ATLAS": "ATLAS (strokes)", "DRAEM": "DRAEM (synthetic)",
}  # fmt: skip
"""The paper's test sets by their names in this book, and how a page calls them."""
OTHER_SETS = {"MSLUB": "MSLUB (multiple sclerosis)"}
METRICS = ("best_dice", "auprc")
OWN_ENCODER = ("FAE", "RD")
"""The paper's methods that stand on an encoder trained on photographs, and here on SparK's."""
OWN_SET = {"brats21": "Brats21", "atlas_v2": "ATLAS", "draem": "DRAEM"}
"""The test set with the kind of anomaly that a source of annotations shows."""

# method, annotations: ⌈Dice⌉ sd AUPRC sd, for BRATS | ATLAS | DRAEM-synth
_TABLE_1 = """
AE        -        | 39.16  .64 35.95  .70 | 14.14  .28 11.84  .37 |  9.91  .04  5.27  .04
VAE       -        | 39.25  .50 36.07  .56 | 14.52  .37 12.18  .39 |  9.83  .14  5.28  .08
DAE       -        | 55.93  .66 56.42  .84 | 19.95  .96 18.18  .98 | 12.50  .31  7.50  .22
FAE       -        | 43.04  .49 42.04  .41 | 17.59  .15 13.91  .10 | 19.60  .49 13.68  .25
RD        -        | 32.90  .65 28.31  .86 | 19.45  .25 15.51  .20 | 19.55  .60 13.17  .61
DDPM      -        | 48.65  .90 46.93 1.02 | 17.86  .87 14.70  .70 | 10.37  .23  6.04  .27
pDDPM     -        | 55.93  .28 55.44  .36 | 21.79  .40 19.12  .43 | 14.59  .47  9.27  .31
cDDPM     -        | 58.55  .78 59.09  .91 | 24.74 1.15 21.76  .98 | 11.94  .52  7.31  .43
PII       pii      | 30.38 2.46 24.66 2.54 |  9.81 1.93  7.31 1.64 | 23.44 1.61 15.09  .97
DRAEM-Net draem    | 24.78 4.21 18.49 4.05 | 12.65 1.90  9.51 1.75 | 79.77 2.37 83.39 2.34
Unet      draem    | 40.75 3.30 37.64 3.92 | 16.91  .38 15.25  .26 | 76.03 1.21 80.30 1.32
Unet_res  draem    | 45.80 3.22 44.05 4.09 | 18.44  .47 16.81  .44 | 77.43 1.16 81.93 1.23
SADM      draem    | 50.81  .57 49.81  .81 | 23.82  .32 20.71  .35 | 73.77 2.50 71.85 3.02
SADM_res  draem    | 60.53  .54 60.27 1.02 | 27.78  .14 24.57  .13 | 76.72 1.30 75.45 1.96
Unet      brats21  | 64.81  .21 69.24  .33 | 11.82  .60 10.32  .61 | 24.83 1.10 20.96 1.46
Unet_res  brats21  | 67.01  .70 71.80  .87 | 17.33 1.31 15.55 1.50 | 19.93 2.40 16.41 2.64
SADM      brats21  | 69.01  .21 72.62  .46 | 25.25  .58 21.03  .50 | 14.93  .51 11.65  .66
SADM_res  brats21  | 69.68  .48 73.34  .85 | 26.77  .65 23.22  .86 | 17.11 1.78 14.47 1.91
Unet      atlas_v2 | 35.13 2.97 32.87 3.07 | 46.30  .72 46.37  .73 | 29.11 1.02 24.55 1.91
Unet_res  atlas_v2 | 36.82 4.18 34.91 4.92 | 47.36  .80 47.61  .88 | 22.07 2.20 17.94 2.39
SADM      atlas_v2 | 58.52  .60 57.17 1.60 | 46.40  .17 44.71  .15 | 16.10 1.10 12.81 1.09
SADM_res  atlas_v2 | 58.85  .44 57.68 1.23 | 47.64 1.40 46.13 1.36 | 17.77 1.82 14.49 1.73
"""
# trained on, tested on | ⌈Dice⌉ of SADM_res at β = 0, 0.1, ..., 1
_FIGURE_5 = """
atlas_v2 ATLAS   | 47.4 48.4 48.6 48.6 48.2 47.6 47.6 44.3 40.1 33.5 24.7
atlas_v2 Brats21 | 36.8 56.5 57.9 58.2 58.7 58.8 58.8 59.2 59.2 58.7 58.5
brats21  ATLAS   | 17.3 22.9 24.6 25.6 26.3 26.8 27.3 27.7 28.0 27.9 24.8
brats21  Brats21 | 67.0 68.4 68.9 69.3 69.5 69.7 69.7 69.3 68.4 65.3 58.5
"""
PARTS_OF_THE_CURVE = ("Unet_res", "cDDPM")
"""What the ends of the curve stand for: β = 0 and β = 1."""


@cache
def table_1() -> pd.DataFrame:
    """The paper's Table 1 as tidy rows.

    Returns
    -------
    Columns method, annotations (``""`` for none), test_set, metric, mean and sd: fractions in
    [0, 1]; 22 rows of the paper × 3 test sets × 2 metrics.
    """
    rows = []
    for line in _TABLE_1.strip().splitlines():
        name, *cells = line.split("|")
        method, source = name.split()
        for test_set, cell in zip(TEST_SETS, cells, strict=True):
            numbers = [float(text) / 100 for text in cell.split()]
            for metric, mean, sd in zip(METRICS, numbers[::2], numbers[1::2], strict=True):
                rows.append({
                    "method": method, "annotations": source.replace("-", ""),
                    "test_set": test_set, "metric": metric, "mean": mean, "sd": sd,
                })  # fmt: skip
    return pd.DataFrame(rows)


@cache
def figure_5() -> pd.DataFrame:
    """The paper's Figure 5: columns annotations, test_set, beta and best_dice (a fraction)."""
    rows = []
    for line in _FIGURE_5.strip().splitlines():
        pair, numbers = line.split("|")
        source, test_set = pair.split()
        for step, text in enumerate(numbers.split()):
            rows.append({
                "annotations": source, "test_set": test_set,
                "beta": step / 10, "best_dice": float(text) / 100,
            })  # fmt: skip
    return pd.DataFrame(rows)


def paper_rows() -> list[Row]:
    """(method, annotations) of the 22 rows, in the paper's order."""
    table = table_1()
    return list(dict.fromkeys(zip(table["method"], table["annotations"], strict=True)))


@cache
def paper_values(metric: str) -> dict[tuple[Row, str], tuple[float, float]]:
    """(mean, sd) by ((method, annotations), test_set), as fractions."""
    chosen = table_1()[table_1()["metric"] == metric]
    return {
        ((row["method"], row["annotations"]), row["test_set"]): (row["mean"], row["sd"])
        for row in chosen.to_dict("records")
    }


def plain_name(method: str) -> str:
    """The paper's name of a method of this book: without a remark in parentheses or a star."""
    return re.sub(r"\s*\(.*\)|[*†]$", "", method).strip()


def row_name(row: Row) -> str:
    """``SADM_res (brats21)``, or the method alone."""
    method, source = row
    return f"{method} ({source})" if source and plain_name(method) != "PII" else method


def starred(method: str) -> str:
    """A method's name with a star if it stands on this book's encoder, such as ``FAE*``."""
    return f"{method}*" if plain_name(method) in OWN_ENCODER and "*" not in method else method


def set_title(test_set: str) -> str:
    """How a page calls a test set, such as ``ATLAS (strokes)``."""
    return {**TEST_SETS, **OTHER_SETS}.get(test_set, test_set)
