"""The page of programs side by side as people use it, in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from browsing import browser, fits_a_phone, go, keeps_nobody_out, needs_chromium, opened
from playwright.sync_api import Browser, Page, expect
from test_compare import compared
from test_page_in_a_browser import SAID, SEEN, SOURCE
from test_report import result, run

from conformance.report.compare.draw import compare_html
from conformance.report.folder.attached import Table
from conformance.report.folder.transcripts import timed_name
from conformance.report.run import Script

__all__ = ["browser"]  # a fixture

pytestmark = needs_chromium

LINES = {
    "c": "/* --- 1. Lines --- */\n/* It is CHAT-1. */\nvoid take_line(void)\n{\n    end();\n}\n",
    "go": "// --- 1. Lines ---\nfunc takeLine() {\n}\nfunc alone() {\n\ttakeLine()\n}\n",
    "py": "# --- 1. Lines ---\ndef take_line():\n    pass\ndef end():\n    end = 1\n    end()\n",
}
PROGRAMS = compared(**{name: {f"server.{name}": text} for name, text in LINES.items()})
CASES = [result("hello", name, "c") for name in ("c", "go", "py")]
COLUMNS = ["", "server-c", "server-go", "other"]
TABLE = Table(
    "Bench", "2026-01-01", COLUMNS, [["start-up, µs", 20, 1500000, 1], ["x", "a", "b", ""]]
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    for one, said in zip(CASES, (SAID, SAID, SAID + SEEN), strict=True):
        (folder / timed_name(one.id)).write_text(said)
    script = Script("A line reaches the other", "chat.yaml", 1, {"alice": "client", "bob": "wire"})
    whole = replace(
        run(*CASES),
        scenarios={"chat/hello": script},
        sources={"chat.yaml": SOURCE},
        tables=[TABLE],
    )
    path = folder / "compare.html"
    path.write_text(compare_html(PROGRAMS, whole, folder), "utf-8")
    return path


@pytest.fixture
def page(browser: Browser, path: Path) -> Iterator[Page]:
    with opened(browser, path) as page:
        yield page


def marked(page: Page) -> list[str]:
    """All elements that are marked as the same idea."""
    return page.locator(".code .lit").all_inner_texts()


def columns(page: Page) -> list[str]:
    return [text.split()[0] for text in page.locator(".heads > *").all_inner_texts()]


def test_functions_of_one_name_stand_in_one_row(page: Page) -> None:
    assert columns(page) == ["c", "go", "py"]
    assert page.locator(".compared h2").all_inner_texts() == [
        "server: 1. Lines c 5 · go 5 · py 5 lines"
    ]
    assert page.locator(".compared h3").all_inner_texts() == [
        "take_line CHAT-1",
        "Alone: go: alone · py: end",
    ]
    row = page.locator(".columns.card").first
    first = [text.splitlines()[0] for text in row.locator(".code").all_inner_texts()]
    assert first == ["/* It is CHAT-1. */", "func takeLine() {", "def take_line():"]
    assert row.locator(".line").first.get_attribute("data-line") == "2"


def test_two_are_chosen_and_the_address_keeps_them(page: Page) -> None:
    page.uncheck("text=go C")
    expect(page.locator(".heads > *")).to_have_count(2)
    assert columns(page) == ["c", "py"]
    assert page.locator("input[type=checkbox]:disabled").count() == 2
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert columns(page) == ["c", "py"]
    page.check("text=go C")
    expect(page.locator(".heads > *")).to_have_count(3)


def test_an_idea_is_marked_in_all_by_mouse_and_by_keyboard(page: Page) -> None:
    assert marked(page) == []
    page.hover(".code [data-idea=takeline] >> nth=1")
    assert marked(page) == ["take_line", "takeLine", "take_line", "takeLine"]
    page.hover("h1")
    assert marked(page) == []
    page.focus("h3 button")
    assert len(marked(page)) == 4
    page.keyboard.press("Enter")  # it stays marked
    page.hover("h1")
    assert len(marked(page)) == 4
    assert page.get_attribute("h3 button", "aria-pressed") == "true"
    page.keyboard.press("Enter")
    page.focus("#search")
    assert marked(page) == []


def test_a_variable_is_no_function_of_its_name(page: Page) -> None:
    lone = page.locator(".code >> text=end = 1")
    assert lone.locator("[data-idea]").count() == 0


def test_a_name_or_a_rule_is_found(page: Page) -> None:
    page.keyboard.press("/")
    page.keyboard.type("take l")
    expect(page.locator(".compared h3")).to_have_text(["take_line CHAT-1"])
    page.fill("#search", "chat-1")
    expect(page.locator(".compared h3")).to_have_text(["take_line CHAT-1"])
    page.fill("#search", "nothing")
    assert page.locator(".empty").inner_text() == "No function or rule is called “nothing”."
    page.keyboard.press("Escape")  # out of the field
    page.keyboard.press("Escape")
    expect(page.locator(".compared h3")).to_have_count(2)


def test_a_section_says_which_rules_and_what_proves_them(page: Page) -> None:
    page.click("summary")
    assert page.locator(".proofs > li").inner_text().startswith("CHAT-1 (MUST) A line goes to")
    assert page.locator(".proofs a").get_attribute("href") == "index.html#view=rule&id=CHAT-1"
    page.click("nav a:has-text('1. Lines')")
    assert "at=server" in page.url


def test_figures_are_counted_and_measured(page: Page) -> None:
    go(page, "view=figures")
    rows = page.locator("table tbody tr").all_inner_texts()
    assert "lines\t6\t6\t6" in rows
    assert "comment lines\t2\t1\t1" in rows
    assert "functions and types\t1\t2\t2" in rows
    assert "cases PASSED\t1\t1\t1" in rows
    assert "x\ta\tb" in rows
    bars = page.locator("figure:has-text('start-up, µs') svg")
    assert bars.get_attribute("aria-label") == "c 20, go 1.5M"
    wide = [float(bar.get_attribute("width") or 0) for bar in bars.locator("rect").all()]
    assert wide[0] < 1 < 100 < wide[1]


def test_transcripts_are_compared(page: Page) -> None:
    go(page, "view=transcripts")
    expect(page.locator("h2").first).to_have_text("A line reaches the other")
    assert page.locator(".beside th").all_inner_texts() == ["c+c", "py+c"]  # they differ
    assert "bob < alice: hello" in page.inner_text(".beside")
    page.select_option("select[aria-label=Right]", label="go+c (PASSED)")
    expect(page.locator("text=transcripts are identical")).to_have_count(1)


def test_what_is_not_there_is_said(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "compare.html").write_text(compare_html(PROGRAMS, run()), "utf-8")
    with opened(browser, tmp_path / "compare.html") as page:
        go(page, "view=figures")
        expect(page.locator("text=There are no verdicts")).to_have_count(1)
        expect(page.locator("text=does not measure")).to_have_count(1)
        go(page, "view=transcripts")
        expect(page.locator("text=There are no transcripts")).to_have_count(1)


VIEWS = ("", "of=c,go", "view=figures", "view=transcripts")


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_keeps_people_out(dark: bool, browser: Browser, path: Path) -> None:
    keeps_nobody_out(browser, path, VIEWS, dark)


def test_on_a_phone_nothing_is_wider_than_the_window(browser: Browser, path: Path) -> None:
    fits_a_phone(browser, path, VIEWS)
