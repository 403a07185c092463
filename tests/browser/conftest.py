"""A built site, and Chromium to look at it with: from ``file://``, with the network off.

``make chain`` builds the site in profile smoke and tests it in the same session; another site is
tested with ``SADM_SITE=runs/demo/book make browser``. Without a browser these tests are skipped,
unless ``SADM_REQUIRE_BROWSER=1``, as in continuous integration: then they fail.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sadm_utils.browser import chromium as start_chromium
from sadm_utils.errors import UserError

LIGHT, DARK = "light", "dark"
DESKTOP, PHONE = 1400, 390


@dataclass
class Visit:
    """An open page, and what it complained about or asked for since it was opened."""

    tab: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def external(self) -> list[str]:
        """Requests for something that is not part of the site."""
        return [u for u in self.requests if not u.startswith(("file:", "data:", "blob:"))]


OpenPage = Callable[..., Visit]


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest) -> Path:
    """The folder of the site under test."""
    if named := os.environ.get("SADM_SITE"):
        folder = Path(named).resolve()
        assert (folder / "index.html").exists(), f"SADM_SITE={named} holds no index.html"
        return folder
    return request.getfixturevalue("built_run") / "book"


@pytest.fixture(scope="session")
def pages(site: Path) -> list[str]:
    """All pages of the site, by their path; the index of the root only leads on."""
    found = [path.relative_to(site).as_posix() for path in site.rglob("*.html")]
    return sorted(p for p in found if p != "index.html" and not p.startswith("_static/"))


def give_up(reason: str) -> None:
    """Skip the test for want of a browser, or fail where one is required."""
    if os.environ.get("SADM_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Playwright's browser; without one, a skip that says why, or a failure where it must be.

    One thread can have one Playwright at a time, so it ends with the module that asked for it.
    """
    try:
        with start_chromium() as found:
            yield found
    except UserError as error:
        give_up(str(error))


@pytest.fixture(scope="module")
def open_page(browser: Any, site: Path) -> Iterator[OpenPage]:
    """Open a page of the site: ``open_page("book/index.html", width=390, scheme="dark")``."""
    contexts: dict[tuple[int, str, bool], Any] = {}

    def context_of(key: tuple[int, str, bool]) -> Any:
        if key not in contexts:
            width, scheme, touch = key
            contexts[key] = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True,
                has_touch=touch, is_mobile=touch, reduced_motion="reduce",
            )  # fmt: skip
            contexts[key].set_default_timeout(30_000)
        return contexts[key]

    def open_it(
        page: str, width: int = DESKTOP, scheme: str = LIGHT, touch: bool | None = None
    ) -> Visit:
        touch = width <= PHONE if touch is None else touch
        visit = Visit(context_of((width, scheme, touch)).new_page())
        visit.tab.on("request", lambda request: visit.requests.append(request.url))
        visit.tab.on("pageerror", lambda error: visit.errors.append(str(error)))
        visit.tab.on(
            "console",
            lambda line: visit.errors.append(line.text) if line.type == "error" else None,
        )
        address, _, rest = page.partition("?")
        visit.tab.goto((site / address).as_uri() + (f"?{rest}" if rest else ""))
        visit.tab.evaluate(
            "async () => { if (window.MathJax && MathJax.startup) await MathJax.startup.promise; }"
        )
        return visit

    yield open_it
    for context in contexts.values():
        context.close()
