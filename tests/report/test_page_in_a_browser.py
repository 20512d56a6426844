"""The page as people use it, in Chromium: every view, by mouse and by keyboard, light and dark."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from browsing import browser, fits_a_phone, go, keeps_nobody_out, needs_chromium, opened
from playwright.sync_api import Browser, Page, expect
from test_attached import MUTANTS, TABLE, written
from test_report import FAILURE, HOSTILE, failed, hostile, result, run

from conformance.model import FailureKind, Verdict
from conformance.report.folder.attached import read
from conformance.report.folder.transcripts import output_name, timed_name
from conformance.report.page.draw import index_html
from conformance.report.run import Run, Script, with_attached

__all__ = ["browser", "hostile"]  # fixtures

pytestmark = needs_chromium

SOURCE = """\
- id: hello
  title: A line reaches the other
  steps:
    - server: starts
    - alice, bob: joins
    - alice: {types: "hello"}
    - bob: {sees: "alice: hello"}
- id: other
"""
SAID = """\
     0.5 ms  line 4  server * starts
     1.0 ms  line 5  alice < Welcome
     2.0 ms  line 6  alice > hello
"""
SEEN = """\
     3.5 ms  line 7  bob < alice: hello
     4.0 ms  line 7 (fence)  alice > fence 1
"""
CASES = [
    replace(
        failed("hello", "go", "c"),
        failure=replace(FAILURE, step='chat.yaml:7:7  bob: {sees: "alice: hello"}'),
    ),
    result("hello", "py", "c"),
    result("hello", "go", "py"),
    result("bytes", "go"),
    result("bytes", "py", verdict=Verdict.UNSUPPORTED),
]

PATIENT = 60_000  # milliseconds for what must come, enough on a busy machine


def whole(folder: Path) -> Run:
    """A run with a failed case, its transcripts in a folder, and all kinds of attached data."""
    for one in CASES[:3]:
        (folder / timed_name(one.id)).write_text(SAID + (SEEN if not one.failure else ""))
    (folder / output_name(CASES[0].id)).write_text("--- bob: its output ---\nalice: hallo\n")
    (folder / output_name(CASES[1].id)).write_text("--- alice: its standard error ---\none\ntwo\n")
    script = Script("A line reaches the other", "chat.yaml", 1, {"alice": "client", "bob": "wire"})
    bare = replace(run(*CASES), scenarios={"chat/hello": script}, sources={"chat.yaml": SOURCE})
    some = [written(folder, TABLE), written(folder, MUTANTS, "mutants.json")]
    return with_attached(bare, map(read, some))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    path = folder / "index.html"
    path.write_text(index_html(whole(folder), folder), "utf-8")
    return path


@pytest.fixture
def page(browser: Browser, path: Path) -> Iterator[Page]:
    with opened(browser, path) as page:
        yield page


@pytest.fixture(scope="module")
def bare(browser: Browser) -> Page:
    """An empty page with only the module that finds arrows."""
    page = browser.new_page()
    script = files("conformance.report.page").joinpath("script/arrows.js").read_text("utf-8")
    page.add_script_tag(content=f"{script}\nwindow.links = links;", type="module")
    page.wait_for_function("'links' in window", timeout=PATIENT)  # a module runs a moment later
    return page


def shows(page: Page, heading: str) -> None:
    """Wait for a view: a new address takes effect a moment after the key or click."""
    expect(page.locator("h1")).to_have_text(re.compile(re.escape(heading)), timeout=PATIENT)


def texts(page: Page, selector: str) -> list[str]:
    """The texts of these elements, after the events of a key or click were handled."""
    page.evaluate("() => new Promise((done) => setTimeout(done))")
    return page.locator(selector).all_inner_texts()


def names(page: Page) -> list[str]:
    """The cases in the list."""
    return [text.split()[1] + text.split()[2] for text in texts(page, "a.item")]


def test_a_cell_leads_to_its_cases_and_these_to_their_rules(page: Page) -> None:
    shows(page, "✗ 3 PASSED · 1 FAILED")
    page.click("a.cell:has-text('0/1')")
    assert names(page) == ["chat/hello[go+c]"]
    page.click("a.item")
    shows(page, "A line reaches the other")
    page.click(".failure a:has-text('CHAT-1')")
    shows(page, "CHAT-1 MUST")
    assert page.locator(".list").nth(1).locator(".chip").all_inner_texts() == [
        *("go+c", "py+c", "go+py"),
        *("go", "py"),
    ]
    page.go_back()
    shows(page, "A line reaches the other")


def test_a_failing_case_shows_where_and_what_another_pairing_did(page: Page) -> None:
    go(page, "view=case&id=scenarios/chat.yaml::hello[go%2Bc]")
    assert page.inner_text("mark.wanted") == "e"
    assert page.inner_text("mark.got") == "a"
    assert page.inner_text(".yaml .failing").split(maxsplit=1)[0] == "7"
    assert "other" not in page.inner_text(".yaml .line:last-child")
    lanes = texts(page, ".lane")
    assert [lane.split("\n")[0] for lane in lanes] == ["server", "alice", "bob"]
    rows = texts(page, ".rows button")
    assert len(rows) == 5
    assert rows[3].endswith("expected  alice: hello")
    assert rows[4].endswith("seen  alice: hallo")
    table = page.locator(".beside")
    assert "bob < alice: hello" in table.inner_text()
    assert "✗ bob saw alice: hallo" in table.inner_text()
    assert page.locator("text=the file with the whole output").get_attribute("href") == (
        "transcripts/scenarios_chat.yaml_hello%5Bgo%2Bc%5D.output.txt"
    )
    page.click("summary:has-text('bob, wire: what came to it (1 line)')")
    assert "alice: hallo" in texts(page, "details[open] pre")
    page.select_option(".beside select", label="go+py (PASSED)")
    expect(page.locator(".beside th").nth(1)).to_have_text(re.compile(r"^PASSED go\+py"))


def test_a_case_that_passed_shows_what_its_programs_wrote(page: Page) -> None:
    go(page, "view=case&id=scenarios/chat.yaml::hello[py%2Bc]")
    assert texts(page, "section:has-text('What the programs wrote') summary") == [
        "alice, client c: its standard error (2 lines)"
    ]
    page.click("summary:has-text('its standard error')")
    assert "one\ntwo" in texts(page, "details[open] pre")


def test_each_of_mixed_clients_is_named_and_nothing_seen_is_said(
    browser: Browser, tmp_path: Path
) -> None:
    room = failed("room", "go", "c", "py")
    room = replace(room, failure=replace(FAILURE, actor="carol", seen=""))
    said = "".join(f"     1.0 ms  line 1  {name} > hi\n" for name in ("alice", "bob", "carol"))
    (tmp_path / timed_name(room.id)).write_text(said)
    cast = dict.fromkeys(("alice", "bob", "carol"), "client")
    whole = replace(run(room), scenarios={"chat/room": Script("A room", "chat.yaml", 1, cast)})
    path = tmp_path / "index.html"
    path.write_text(index_html(whole, tmp_path), "utf-8")
    with opened(browser, path) as page:
        go(page, "view=case&id=scenarios/chat.yaml::room[go%2Bmixed]")
        page.wait_for_selector(".lane")
        lanes = texts(page, ".lane")[1:]
        assert lanes == ["alice\nclient c", "bob\nclient py", "carol\nclient c"]
        assert texts(page, ".rows button")[-1].endswith("seen  (nothing)")
        assert texts(page, ".failure dd")[-1] == "(nothing)"


def test_an_arrow_is_followed_from_who_said_to_who_saw(page: Page) -> None:
    go(page, "view=case&id=scenarios/chat.yaml::hello[py%2Bc]")
    expect(page.locator(".arrow:not(.thin)")).to_have_count(1)
    page.click(".rows button:has-text('alice: hello')")
    assert texts(page, ".rows .linked")[0].endswith("hello")
    assert page.inner_text(".yaml .at").split(maxsplit=1)[0] == "7"
    page.keyboard.press("Enter")  # again: to the other end
    assert page.locator(".rows .chosen .where").inner_text() == "6"
    expect(page.locator(".lit")).to_have_count(2)


def test_a_row_of_a_timeline_has_a_link(page: Page) -> None:
    go(page, "view=case&id=scenarios/chat.yaml::hello[py%2Bc]")
    page.click(".rows button:has-text('Welcome')")
    page.reload()
    page.wait_for_selector(".rows .chosen")
    assert page.inner_text(".rows .chosen").endswith("Welcome")
    assert page.inner_text(".yaml .at").split(maxsplit=1)[0] == "5"
    page.check("text=without fences")
    expect(page.locator(".rows button")).to_have_count(4)
    page.go_back()
    page.wait_for_selector(".origin")
    expect(page.locator(".rows button")).to_have_count(5)


# Lines that are sent and received, and the row whose line each one shows.
TALKS = {
    "a message": (["ann > hi", "bob < ann: hi", "eve < ann: hi"], [-1, 0, 0]),
    "by nobody": (["ann > /who", "ann < Online (1): ann"], [-1, -1]),
    "the same twice": (["ann > hi", "ann > hi", "bob < hi", "bob < hi"], [-1, -1, 0, 1]),
    "after a command": (["ann > /msg bob so it is", "bob < (ann) so it is"], [-1, 0]),
    "a first character less": (["ann > //", "bob < ann: /"], [-1, 0]),
    "a name": (["ann > ann", "bob < ann has joined", "bob < ann-2 is here"], [-1, 0, -1]),
    "a name, later": (["ann > ann", "ann > hi", "bob < ann left"], [-1, -1, -1]),
    "longest first": (["ann > ann", "eve > to ann", "bob < eve: to ann"], [-1, -1, 1]),
    "several lines": (["ann >> one⏎two⏎", "bob < one", "bob < two"], [-1, 0, 0]),
    "its own": (["ann > hi", "ann < ann: hi"], [-1, -1]),
    "before it was said": (["bob < ann: hi", "ann > hi"], [-1, -1]),
}


@pytest.mark.parametrize("name", TALKS)
def test_who_saw_what_whom_said(name: str, bare: Page) -> None:
    rows, sources = TALKS[name]
    parts = [dict(zip(("actor", "mark", "text"), row.split(" ", 2), strict=True)) for row in rows]
    assert bare.evaluate("rows => links(rows).comesFrom", parts) == sources


def test_by_keyboard_alone(page: Page) -> None:
    page.keyboard.press("/")
    page.keyboard.type("hallo")
    shows(page, "“hallo”")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(page.locator("[data-item]:focus")).to_have_count(1, timeout=PATIENT)
    page.keyboard.press("Enter")
    shows(page, "A line reaches the other")
    page.keyboard.press("Escape")
    expect(page).to_have_url(re.compile("view=search"), timeout=PATIENT)
    page.keyboard.press("Escape")
    shows(page, "✗ 3 PASSED")
    go(page, "view=cases&verdict=PASSED")
    page.wait_for_selector("a.item")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("view=case&"))  # the browser tells it a moment later
    first = page.url
    page.keyboard.press("n")
    page.wait_for_url(lambda url: url != first)
    page.keyboard.press("p")
    page.wait_for_url(first)
    page.keyboard.press("?")
    expect(page.locator("dialog[open]")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)
    assert page.url == first


def test_filters_stand_in_the_address(page: Page) -> None:
    go(page, "view=cases")
    page.wait_for_selector(".filters")
    for label, value in (("Verdict", "PASSED"), ("Server", "go")):
        page.select_option(f"select[aria-label={label}]", value)
    assert names(page) == ["chat/hello[go+py]", "chat/bytes[go]"]
    page.fill("#search", "WELCOME")  # occurs only in the transcript
    assert names(page) == ["chat/hello[go+py]"]
    assert page.url.endswith("#view=cases&verdict=PASSED&row=go&text=WELCOME")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert names(page) == ["chat/hello[go+py]"]
    page.fill("#search", "BOB: {SEES")  # occurs in its scenario
    assert names(page) == ["chat/hello[go+py]"]
    page.click("text=clear all filters")
    assert len(names(page)) == len(CASES)


def test_rules_stand_beside_implementations(page: Page) -> None:
    go(page, "view=rules")
    head = texts(page, "thead th")
    assert head[2:] == ["server go", "server py", "client c", "client py", "mutants"]
    (row,) = [row for row in texts(page, "tbody tr") if "CHAT-1" in row]
    assert row.split("\t")[2:] == ["✗?", "✓ 1", "✗?", "✓ 1", "1/2"]
    page.fill("#search", "passwords")
    shows(page, "1 rule")


def test_mutants_and_tables_are_shown(page: Page) -> None:
    go(page, "view=mutants")
    shows(page, "1 of 2 mutants killed")
    assert texts(page, "a.item .tag") == ["SURVIVED", "KILLED"]
    page.click("a.item:has-text('server-c/031')")
    assert texts(page, "pre") == ["if (user != sender)", "if (1)"]
    page.click("text=chat/hello[go+c]")
    shows(page, "A line reaches the other")
    page.click("text=Tables")
    assert texts(page, "td") == ["c", "1,100,000", "go", "–"]


def test_the_theme_is_that_of_the_system_or_the_one_chosen(browser: Browser, path: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, path, dark=True) as page:
        dark = page.evaluate(ground)
        page.keyboard.press("t")
        light = page.evaluate(ground)
        page.reload()
        page.wait_for_selector("body[data-ready]")
        assert page.evaluate(ground) == light != dark


VIEWS = (
    "",
    "view=cases",
    "view=case&id=scenarios/chat.yaml::hello[go%2Bc]",
    "view=case&id=scenarios/chat.yaml::hello[py%2Bc]",
    "view=rules",
    "view=rule&id=CHAT-1",
    "view=mutants",
    "view=mutant&id=server-c/031",
    "view=tables",
    "view=search&text=hello",
)


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_keeps_people_out(dark: bool, browser: Browser, path: Path) -> None:
    keeps_nobody_out(browser, path, VIEWS, dark)


def test_on_a_phone_nothing_is_wider_than_the_window(browser: Browser, path: Path) -> None:
    fits_a_phone(browser, path, VIEWS)


def test_hostile_texts_are_texts(hostile: Run, browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    for one in hostile.results:
        text = f"     0.5 ms  line 1  bob < {HOSTILE}\n"
        with suppress(ValueError):  # a name that no file can have
            (tmp_path / timed_name(one.id)).write_text(text, "utf-8", "surrogateescape")
    path.write_text(index_html(hostile, tmp_path), "utf-8")
    with opened(browser, path) as page:
        page.on("dialog", lambda _: pytest.fail("a text is run as a script"))
        go(page, "view=cases")
        for place in range(len(hostile.results)):
            page.locator("a.item").nth(place).click()
            page.wait_for_selector("main .head h1")  # the list has an h1, too
            assert page.locator("main script").count() == 0
            page.go_back()
            page.wait_for_selector("a.item")
        assert "\\x1b[31m" in page.inner_text("main")


def test_what_went_wrong_after_the_last_step_is_shown(browser: Browser, tmp_path: Path) -> None:
    late = replace(FAILURE, kind=FailureKind.ENDING, program="server-go")
    some = run(result("a", "go"), replace(result("b", "go"), afterwards=late))
    path = tmp_path / "index.html"
    path.write_text(index_html(some), "utf-8")
    with opened(browser, path) as page:
        go(page, "view=cases&verdict=not as expected")
        page.wait_for_selector("a.item")
        assert names(page) == ["chat/b[go]"]
        page.click("a.item")
        page.wait_for_selector("text=What went wrong after the last step")


def test_many_cases_are_listed_as_one_comes_to_them(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    path.write_text(index_html(run(*(result(f"n{i}", "go") for i in range(1000)))), "utf-8")
    with opened(browser, path) as page:
        go(page, "view=cases")
        page.wait_for_selector("a.item")
        assert page.locator("a.item").count() < 1000
        while (shown := page.locator("a.item").count()) < 1000:
            page.locator("a.item").last.scroll_into_view_if_needed()
            expect(page.locator("a.item")).not_to_have_count(shown)
        page.fill("#search", "n999")
        assert names(page) == ["chat/n999[go]"]
