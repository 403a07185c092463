"""A parameter that papermill injects and the notebook does not have is refused."""

from __future__ import annotations

import pytest

from sadm_utils.errors import UserError
from sadm_utils.parameters import check_injected

HISTORY = [
    "",
    "%matplotlib inline\nimport os",
    'PROFILE = "demo"\nRUN_DIR = ""\nANNOTATIONS: str = "draem"\nn = 3',
]


def test_known_parameters_pass() -> None:
    check_injected([*HISTORY, '# Parameters\nPROFILE = "smoke"\nANNOTATIONS = "brats21"\n'])


@pytest.mark.parametrize("name", ["ANOTATIONS", "annotations"])
def test_unknown_parameter_is_refused_with_the_valid_names(name: str) -> None:
    with pytest.raises(UserError) as error:
        check_injected([*HISTORY, f'# Parameters\n{name} = "brats21"\n'])
    assert f"{name!r}" in str(error.value)
    assert "did you mean ANNOTATIONS?" in str(error.value)
    assert "PROFILE, RUN_DIR, ANNOTATIONS" in str(error.value)


def test_cells_of_the_notebook_itself_may_assign_what_they_like() -> None:
    check_injected([*HISTORY, "NEW = 1\nother = 2"])


def test_outside_of_a_notebook_nothing_happens() -> None:
    check_injected()
