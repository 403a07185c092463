"""Sentences about a sweep say what its record says, and older records are read as well."""

import pytest

from sadm_utils.results.words import on_phantoms


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
