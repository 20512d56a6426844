"""Draws pictures of a page that compares programs, for docs/: `make pictures`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, ViewportSize, sync_playwright

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
MOST_BYTES = 200_000
SIZE: ViewportSize = {"width": 1600, "height": 760}

# For each picture: its view, whether it is dark, and the function that is marked.
PICTURES = {
    "compare-code": ("view=code", False, "h3 button:text-is('take_up')"),
    "compare-code-dark": ("view=code&role=client&of=go,python", True, "h3 button:text-is('lose')"),
    "compare-figures": ("view=figures", False, ""),
}


def main() -> None:
    """Draw all pictures."""
    page = Path(sys.argv[1]).resolve().as_uri()
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name in PICTURES:
            draw(browser, page, name)
        browser.close()


def draw(browser: Browser, address: str, name: str) -> None:
    """Draw one picture, as a file that is small enough for a repository."""
    view, is_dark, marked = PICTURES[name]
    page = browser.new_page(color_scheme="dark" if is_dark else "light", viewport=SIZE)
    page.goto(f"{address}#{view}")
    page.wait_for_selector("body[data-ready]")
    if marked:
        page.focus(marked)
        page.evaluate("document.activeElement.scrollIntoView(); scrollBy(0, -140)")
    path = FOLDER / f"{name}.png"
    page.screenshot(path=path)
    page.close()
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise SystemExit(f"{path}: {size} bytes; no more than {MOST_BYTES} are kept here")
    print(path)


if __name__ == "__main__":
    main()
