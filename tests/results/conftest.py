"""A project folder in which tests put the records of sweeps."""

from pathlib import Path

import pytest

from sadm_utils.results import measured


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(measured, "project_root", lambda: tmp_path)
    return tmp_path
