"""Opens a page in Chromium for tests, and checks what each page must fulfil."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

expect.set_options(timeout=60_000)  # milliseconds: enough on a busy machine

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"
)
PHONE = 360  # pixels

OPEN_ALL = "for (const one of document.querySelectorAll('details')) one.open = true"
GO = """view => new Promise((done) => {
    const before = location.href
    addEventListener("hashchange", done, { once: true })
    location.hash = view
    if (location.href === before) done()
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, path: Path, dark: bool = False, width: int = 1400) -> Iterator[Page]:
    """The page in a new window; an error in its script fails the test."""
    errors: list[str] = []
    page = browser.new_page(
        color_scheme="dark" if dark else "light", viewport={"width": width, "height": 900}
    )
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text))
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready]")
    yield page
    page.close()
    assert not errors


def go(page: Page, view: str) -> None:
    """Go to a view by its address; the page draws it when it is told that the address changed."""
    page.evaluate(GO, view)


def keeps_nobody_out(browser: Browser, path: Path, views: Iterable[str], dark: bool) -> None:
    """Check that axe finds no problem in these views, with everything unfolded."""
    axe = (files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
    with opened(browser, path, dark) as page:
        page.evaluate(axe)
        for view in views:
            go(page, view)
            page.evaluate(OPEN_ALL)
            page.evaluate("document.querySelector('h3 button')?.focus()")  # marks an idea
            found = page.evaluate("axe.run()")["violations"]
            told = [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]
            assert (view, told) == (view, [])


def fits_a_phone(browser: Browser, path: Path, views: Iterable[str]) -> None:
    """Check that none of these views is wider than the window, with everything unfolded."""
    with opened(browser, path, width=PHONE) as page:
        for view in views:
            go(page, view)
            page.evaluate(OPEN_ALL)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert (view, wide <= PHONE) == (view, True)
