"""What the plain sum loses to the best weight, with its interval where subjects were kept."""

import numpy as np
import pandas as pd
import pytest

from sadm_utils.evaluation.statistics import bootstrap_interval
from sadm_utils.results.measured import RESAMPLES, read_sweep
from sadm_utils.results.paper import figure_5
from sadm_utils.results.weights import best_weights, weights_section
from tests.results.made_up import (
    SPREAD,
    as_in_the_paper,
    forget_subjects_of_curves,
    write_sweep,
)

PAIRS = [("brats21", "ATLAS"), ("brats21", "MSLUB")]


@pytest.fixture
def folder(root):
    return write_sweep(root, "t", as_in_the_paper(), [("SADM_res", "brats21")], seeds=(0, 1))


def cells(text: str) -> list[list[str]]:
    return [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def test_loss_of_the_sum_is_paired_over_subjects_with_their_runs_averaged(folder):
    line, other = cells(best_weights(read_sweep("t"), figure_5(), PAIRS))
    each = 0.2 * (0.1 + np.array(SPREAD))  # a fifth of the way down each subject's tent
    found = bootstrap_interval(each, np.random.default_rng(0), RESAMPLES)
    interval = f"[{100 * found.low:.1f}, {100 * found.high:.1f}]"
    assert line[:4] == ["brats21 → ATLAS", "0.3", "50.0", f"2.0 {interval}"]
    assert line[4:6] == ["0.8", "28.0"] and "[" not in line[6], "the paper has no subjects"
    assert other[3] == line[3] and other[4:] == ["–"] * 3
    # The levels of subjects differ much more than the losses: unpaired, it would be wide.
    assert found.high - found.low < 0.01


def test_older_record_has_the_loss_alone(folder):
    forget_subjects_of_curves(folder)
    line = cells(best_weights(read_sweep("t"), figure_5(), PAIRS))[0]
    assert line[1:4] == ["0.3", "50.0", "2.0"]


def test_loss_has_no_interval_if_only_some_runs_kept_their_subjects(folder):
    table = pd.read_csv(folder / "beta_subjects.csv.gz")
    table[table["seed"] == 0].to_csv(folder / "beta_subjects.csv.gz", index=False)
    line = cells(best_weights(read_sweep("t"), figure_5(), PAIRS))[0]
    assert line[1:4] == ["0.3", "50.0", "2.0"]


def test_no_curve_is_no_section(root):
    write_sweep(root, "t", as_in_the_paper(), [("cDDPM", "")])
    assert weights_section(read_sweep("t"), root) == ""
