"""The device: the accelerator if there is one, or the CPU if that is wanted."""

from __future__ import annotations

import pytest
import torch

from sadm_utils.device import get_device
from sadm_utils.errors import UserError


@pytest.fixture(autouse=True)
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with an accelerator."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("meta"))


@pytest.mark.parametrize(("wanted", "found"), [("", "meta"), ("cpu", "cpu")])
def test_cpu_only_if_wanted(monkeypatch: pytest.MonkeyPatch, wanted: str, found: str) -> None:
    monkeypatch.setenv("SADM_DEVICE", wanted)
    assert get_device() == torch.device(found)


def test_accelerator_without_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SADM_DEVICE")
    assert get_device() == torch.device("meta")


def test_another_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SADM_DEVICE", "gpu")
    with pytest.raises(UserError, match="SADM_DEVICE is 'gpu': set it to 'cpu', or remove it"):
        get_device()
