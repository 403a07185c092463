"""Chromium for what only a browser can do: print the book, and test its pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sadm_utils.errors import UserError

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NO_PLAYWRIGHT = "Playwright is not installed here: run `make install`."
NO_BROWSER = (
    "No Chromium found: install your system's package `chromium`, or run "
    "`.venv/bin/playwright install chromium`."
)


@contextmanager
def chromium() -> Iterator[Any]:
    """Start Chromium without a window; yields Playwright's ``Browser``.

    Taken is the one on the path, else the one that Playwright has downloaded before; nothing is
    downloaded here.

    Raises
    ------
    UserError
        If there is no Playwright or no Chromium.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise UserError(NO_PLAYWRIGHT) from None
    program = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=program,
                # Software rendering needs no GPU; a small /dev/shm (containers) ends large pages.
                args=["--disable-gpu", "--disable-dev-shm-usage"],
            )
        except Error as error:
            if "Executable doesn't exist" in str(error):
                raise UserError(NO_BROWSER) from None
            raise UserError(f"{program or 'Chromium'} does not start: {error}") from None
        try:
            yield browser
        finally:
            browser.close()
