"""Names of methods: the parameter METHODS, the titles of the rows, and mistakes."""

from __future__ import annotations

import pytest

from sadm_utils.baselines.method import Baseline
from sadm_utils.baselines.registry import METHODS, method_class, parse_methods, title
from sadm_utils.errors import UserError

ROWS = ["AE", "VAE", "DAE", "FAE", "RD", "DDPM", "pDDPM", "PII", "DRAEM-Net"]


def test_the_rows_are_the_papers_in_its_order():
    assert [title(name) for name in METHODS] == ROWS


@pytest.mark.parametrize("name", METHODS)
def test_every_name_has_a_class_with_its_title(name):
    method = method_class(name)
    assert issubclass(method, Baseline) and method.title == title(name)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("ae, dae", ["ae", "dae"]),
        ("dae,ae,dae", ["dae", "ae"]),
        ("AE, DRAEM-Net", ["ae", "draem_net"]),
        (["pddpm"], ["pddpm"]),
        (" all ", list(METHODS)),
        (["all"], list(METHODS)),
    ],
)
def test_methods_parse(value, names):
    assert parse_methods(value) == names


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("ae, ddpn", "Unknown comparison method 'ddpn': did you mean ddpm"),
        ("sadm", "Valid names: ae, vae, dae, fae, rd, ddpm, pddpm, pii, draem_net, or all"),
        ("", "METHODS is empty"),
        ([], "METHODS is empty"),
        (3, "METHODS takes names"),
        ([1], "METHODS takes names"),
    ],
)
def test_mistakes_are_one_sentence(value, sentence):
    with pytest.raises(UserError, match=sentence):
        parse_methods(value)
