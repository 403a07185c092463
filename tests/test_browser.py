"""Where there is no Chromium: a clear sentence, a skip at home, a failure where it is required."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sadm_utils.browser import chromium
from sadm_utils.errors import UserError
from tests.browser.conftest import give_up


def test_without_playwright_the_mistake_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    with pytest.raises(UserError, match="make install"):
        with chromium():
            pass


def test_without_chromium_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("playwright")
    for name in ("PATH", "PLAYWRIGHT_BROWSERS_PATH"):
        monkeypatch.setenv(name, str(tmp_path))
    with pytest.raises(UserError, match="No Chromium found: install"):
        with chromium():
            pass


def test_a_missing_browser_is_a_skip_or_where_required_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SADM_REQUIRE_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="none here"):
        give_up("none here")
    monkeypatch.setenv("SADM_REQUIRE_BROWSER", "1")
    with pytest.raises(pytest.fail.Exception, match="none here"):
        give_up("none here")
