"""Sentences about a sweep say what its record says, and older records are read as well."""

import pytest

from sadm_utils.results.measured import read_sweep
from sadm_utils.results.words import made_with, on_phantoms
from tests.results.made_up import as_in_the_paper, write_sweep


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"data": "phantom", "tier": "phantom"}, True),
        ({"data": "phantom-free", "tier": "own"}, False),
        ({"data": "phantom", "tier": "own"}, False),
        ({"data": "phantom"}, True),
        ({"data": "phantom-free"}, False),
        ({}, True),
    ],
)
def test_phantoms_are_told_by_the_tier_and_in_older_records_by_the_name(about, expected):
    assert on_phantoms(about) is expected


def test_time_says_how_many_points_ran_at_once_and_what_was_taken_over(root):
    write_sweep(root, "alone", as_in_the_paper(), [("cDDPM", "")])
    text = made_with(read_sweep("alone"))
    assert "wall time 1 h 02 min." in text and "taken over" not in text
    write_sweep(root, "two", as_in_the_paper(), [("cDDPM", "")], jobs=2, reused=3)
    text = made_with(read_sweep("two"))
    assert "wall time 1 h 02 min with 2 points at once." in text
    assert "3 points were taken over from another sweep; their time is not counted." in text
