"""The reports: their content, and that no text breaks them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from xml.etree import ElementTree as Xml

import pytest
import xmlschema

from conformance.mistakes import Mistake, Place
from conformance.model import (
    Delivery,
    Failure,
    FailureKind,
    Kind,
    Requirement,
    Result,
    Role,
    Scenario,
    Step,
    Suite,
    Verdict,
)
from conformance.report.exports.badges import badges
from conformance.report.exports.junit import junit_xml
from conformance.report.exports.markdown import summary_markdown
from conformance.report.folder.results import result_from_json, result_to_json, run_to_json
from conformance.report.page.data import first_data
from conformance.report.run import Run
from conformance.report.terminal.diff import comparison, difference
from conformance.report.terminal.failure import failure_text
from conformance.report.terminal.matrix import Look, matrix
from conformance.report.terminal.rules import requirements_table
from conformance.report.terminal.summary import ending_shown
from conformance.text import columns

# Output of a program under test that must be shown in a harmless form.
HOSTILE = (
    "\x1b[31m\x00\x07\r\"'`|</script><script>alert(1)</script>]]>\u2028\u202e\udcff\ufffe{{DATA}}"
)
HARMFUL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff\ufffe\uffff]"
)

RULES = {
    "CHAT-1": Requirement("CHAT-1", "MUST", "A line goes to every other.", None, Place("P", 1)),
    "FILE-1": Requirement("FILE-1", "MAY", "Names have passwords.", "accounts", Place("P", 2)),
}
FAILURE = Failure(
    requirement="CHAT-1",
    actor="bob",
    step='scenarios/chat.yaml:14:9  bob: {sees: "alice: hello"}',
    expected="alice: hello",
    seen="alice: hallo",
    reason="the next line differs",
    timeline=tuple(
        f"{moment:8.1f} ms  {actor} < line {moment}"
        for moment, actor in enumerate(["server", "carol", *["alice", "bob"] * 10])
    ),
    stderr=("one", "two", "three"),
)


def result(
    name: str,
    server: str | None,
    *clients: str,
    verdict: Verdict = Verdict.PASSED,
    expected: bool = True,
    reason: str = "",
    failure: Failure | None = None,
) -> Result:
    client = "mixed" if len(clients) > 1 else "".join(clients)
    pairing = "+".join(part for part in (server, client) if part)
    if len(clients) > 1:
        kind = Kind.MIXED
    elif server and clients:
        kind = Kind.PAIRING
    else:
        kind = Kind.SERVER if server else Kind.CLIENT
    if verdict is Verdict.FAILED and failure is None:
        failure = FAILURE
    return Result(
        id=f"scenarios/chat.yaml::{name}[{pairing}]",
        scenario=f"chat/{name}",
        kind=kind,
        pairing=pairing,
        server=server,
        clients=clients,
        requirements=("CHAT-1",),
        verdict=verdict,
        expected=expected,
        seconds=0.25,
        reason=reason,
        failure=failure,
    )


def run(*results: Result, planned: int | None = None) -> Run:
    return Run(
        started="2026-01-02T03:04:05+00:00",
        seconds=41.23,
        planned=len(results) if planned is None else planned,
        suite="chat",
        version="0.1.0",
        toolchains={"go": "go1.22", "python": "3.11.2"},
        results=list(results),
        requirements=RULES,
    )


def failed(name: str, server: str | None, *clients: str) -> Result:
    return result(name, server, *clients, verdict=Verdict.FAILED, expected=False)


@pytest.fixture
def hostile() -> Run:
    """A run in which each text from outside is hostile."""
    failure = Failure(
        "CHAT-1",
        "bob",
        f"chat.yaml:1:1 {HOSTILE}",
        f"x{HOSTILE}",
        f"x{HOSTILE[:-3]}",
        HOSTILE,
        (f"     1.0 ms  bob < {HOSTILE}", HOSTILE),
        (HOSTILE,),
    )
    one = result("one", "go", "c", verdict=Verdict.FAILED, expected=False, failure=failure)
    two = result("two", "go", "c", verdict=Verdict.ERRORED, expected=False, reason=HOSTILE)
    three = replace(one, id=f"s.yaml::{HOSTILE}[go+c]", scenario=f"chat/{HOSTILE}", server=HOSTILE)
    late = replace(failure, kind=FailureKind.ENDING, program=HOSTILE)
    four = replace(result("four", "go", "c"), afterwards=late)
    whole = run(one, two, three, four, planned=5)
    return replace(whole, suite=HOSTILE, toolchains={"go": HOSTILE})


# The matrix

SMALL = [
    result("hello", "go", "c"),
    failed("hello", "go", "py"),
    result("bye", "go", "c", verdict=Verdict.FAILED, reason="known failure of client c: ticket"),
    result("hello", "py", "c"),
    result("hello", "py", "py"),
    result("room", "py", "c", "py"),
    result("bytes", "go", verdict=Verdict.UNSUPPORTED),
    result("bytes", "py"),
    result("alone", None, "c", verdict=Verdict.UNAVAILABLE),
]


def test_the_matrix_has_servers_down_clients_across_and_those_alone_at_the_edges() -> None:
    assert matrix(run(*SMALL), Look()) == (
        "server × client │ c       py    │ mixed   wire\n"
        "────────────────┼───────────────┼──────────────\n"
        "go              │ ~ 1/2   ✗ 0/1 │         −1\n"
        "py              │ ✓ 1     ✓ 1   │ ✓ 1     ✓ 1\n"
        "────────────────┼───────────────┼──────────────\n"
        "scripted        │ ?1            │\n"
        "\n"
        "✓ passed   ~ some known failures, or advice not kept   ✗ not as expected\n"
        "− unsupported   ? unavailable   mixed: each client another program\n"
        "wire: raw connections as clients   scripted: steps as the server\n"
        "\n"
        "5 PASSED · 2 FAILED (1 known) · 1 UNSUPPORTED · 1 UNAVAILABLE in 41.2 s\n"
        "go+py fail only together: chat/hello"
    )


def test_advice_that_is_not_kept_is_told_apart_and_is_not_red() -> None:
    """Once for each rule, in each report."""
    advised = replace(FAILURE, requirement="FILE-1")
    warned = [
        result(name, "go", "c", verdict=Verdict.WARNED, reason="FILE-1 is a MAY", failure=advised)
        for name in ("one", "two")
    ]
    whole = run(*warned, result("three", "go", "c"))
    line = "FILE-1 (MAY) is not kept in 2 cases, first: scenarios/chat.yaml::one[go+c]"
    shown, advice, *others = ending_shown(whole, Look())
    assert "go              │ ~ 1/3" in shown
    assert "1 PASSED · 2 WARNED" in shown
    assert (advice, others) == (f"advice: {line}", [])
    assert "(MAY) is not kept in 2 cases" in summary_markdown(whole)
    assert line in first_data(whole)["notes"]
    assert junit_xml(whole).count("<skipped") == 2


@pytest.mark.parametrize("width", [60, 80])
def test_many_clients_are_folded_into_the_width(width: int) -> None:
    cases = [result("hello", "go", f"client-{number}") for number in range(12)]
    text = matrix(run(*cases), Look(width=width))
    assert all(columns(line) <= width for line in text.splitlines())
    assert text.count("server × client") > 1
    assert all(f"client-{number}" in text for number in range(12))


def test_the_matrix_in_plain_characters_has_its_columns_in_line() -> None:
    assert matrix(run(*SMALL), Look(plain=True)).splitlines()[:6] == [
        "server x client | c       py    | mixed   wire",
        "----------------+---------------+--------------",
        "go              | ~ 1/2   x 0/1 |         -1",
        "py              | ok 1    ok 1  | ok 1    ok 1",
        "----------------+---------------+--------------",
        "scripted        | ?1            |",
    ]


def test_what_one_pairing_does_is_not_compared_with_others() -> None:
    text = matrix(run(failed("hello", "go", "c"), result("bye", "go", "c")), Look())
    assert "no other pairing" not in text
    two = run(failed("hello", "go", "c"), result("bye", "go", "py"))
    assert "no other pairing" in matrix(two, Look())


def test_who_is_at_fault_stands_in_the_results() -> None:
    whole = run(failed("hello", "go", "c"), result("hello", "py", "c"))
    (fault,) = run_to_json(whole)["blame"]
    assert (fault["role"], fault["name"], fault["scenario"]) == ("server", "go", "chat/hello")
    assert fault["says"] == "server go fails with client c, where another server passes"
    assert fault["says"] in str(first_data(whole)["notes"])


def test_what_is_missing_on_this_machine_is_said_in_every_report() -> None:
    lacking = {"role": "server", "name": "zig", "unavailable": "zig is not on PATH"}
    whole = replace(run(*SMALL), implementations=[lacking, {"role": "server", "name": "go"}])
    line = "? server zig: zig is not on PATH"
    assert f"\n{line}\n" in matrix(whole, Look())
    assert f"\n- {line}\n" in summary_markdown(whole)
    assert line in first_data(whole)["notes"]


def test_the_matrix_is_coloured_only_when_asked() -> None:
    assert "\033" not in matrix(run(*SMALL), Look())
    colored = matrix(run(*SMALL), Look(color=True))
    assert re.sub(r"\033\[[0-9;]*m", "", colored) == matrix(run(*SMALL), Look())


def test_a_run_of_nothing_has_a_matrix_too() -> None:
    assert matrix(run(), Look()) == "no cases in 41.2 s"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (result("a", "go", "c", verdict=Verdict.PASSED, expected=False), "✗ 1/1"),
        (result("a", "go", "c", verdict=Verdict.ERRORED, expected=False), "! 0/1"),
        (result("a", "go", "c", verdict=Verdict.UNAVAILABLE, expected=False), "! ?1"),
        (result("a", "go", "c", verdict=Verdict.UNSUPPORTED), "−1"),
    ],
)
def test_what_is_not_as_expected_is_never_hidden_in_a_cell(cell: Result, text: str) -> None:
    assert f"│ {text}\n" in matrix(run(cell), Look())


# What a failure shows


def test_a_failure_shows_all_that_is_needed_in_fifteen_lines() -> None:
    text = failure_text(failed("hello", "go", "c"), RULES)
    assert text == (
        "FAILED scenarios/chat.yaml::hello[go+c]\n"
        "  CHAT-1 (MUST) A line goes to every other.\n"
        '  step     scenarios/chat.yaml:14:9  bob: {sees: "alice: hello"}\n'
        "  why      the next line differs\n"
        "  expected alice: hello\n"
        "  seen     alice: hallo\n"
        "                   ^\n"
        "       0.0 ms  server < line 0\n"
        "       1.0 ms  carol < line 1\n"
        "      20.0 ms  alice < line 20\n"
        "      21.0 ms  bob < line 21\n"
        "  stderr   one\n"
        "  stderr   two\n"
        "  stderr   three\n"
        "  again    conformance run 'scenarios/chat.yaml::hello[go+c]'"
    )


def test_the_command_that_plays_it_again_names_the_folders_that_were_given() -> None:
    text = failure_text(failed("hello", "go", "c"), RULES, ["--implementation", "my server"])
    command = "conformance run --implementation 'my server' 'scenarios/chat.yaml::hello[go+c]'"
    assert text.endswith(command)


@pytest.mark.parametrize(
    ("expected", "seen", "mark"),
    [
        ("hello", "hallo", " ^"),
        ("hello", "hello, all", "     ^^^^^"),
        ("hello", "hell", "    ^"),
        ("name: ", "name:", "     ^"),
        ("日本 a", "日本 b", "     ^"),
        ("exit status 0", "exit status 1", "            ^"),
    ],
)
def test_the_difference_is_marked(expected: str, seen: str, mark: str) -> None:
    failure = replace(FAILURE, expected=expected, seen=seen)
    lines = failure_text(replace(SMALL[1], failure=failure), RULES).splitlines()
    assert lines[6] == " " * 11 + mark


def test_the_command_that_plays_it_again_names_the_delivery() -> None:
    odd = replace(failed("hello", "go", "c"), delivery=Delivery.SPLIT)
    text = failure_text(odd, RULES)
    assert "\n  pieces   delivered by split\n" in text
    again = "conformance run --delivery split 'scenarios/chat.yaml::hello[go+c]'"
    assert text.endswith(f"  again    {again}")
    assert result_from_json(json.loads(json.dumps(result_to_json(odd)))) == odd
    assert "delivery" not in result_to_json(failed("hello", "go", "c"))
    assert "delivered by split" in str(first_data(run(odd))["cases"])


def test_texts_that_share_nothing_are_not_marked() -> None:
    failure = replace(FAILURE, expected="a line", seen="(nothing)")
    assert "^" not in failure_text(replace(SMALL[1], failure=failure), RULES)


def test_long_texts_are_cut_to_where_they_differ() -> None:
    failure = replace(FAILURE, expected="x" * 1024 + "yes" + "z" * 500, seen="x" * 1024 + "no")
    lines = failure_text(replace(SMALL[1], failure=failure), RULES).splitlines()
    assert all(columns(line) <= 100 for line in lines[:-1])
    at = lines[6].index("^")
    assert lines[4][at : at + 3] == "yes"
    assert lines[5][at : at + 2] == "no"


def test_a_case_without_a_failure_says_why_it_is_not_as_expected() -> None:
    errored = result(
        "hello",
        "go",
        "c",
        verdict=Verdict.ERRORED,
        expected=False,
        reason="\n".join("abcdefghijklmnopqrst"),
    )
    lines = failure_text(errored, RULES).splitlines()
    assert lines[0] == "ERRORED scenarios/chat.yaml::hello[go+c]"
    assert lines[1:4] == ["  why      a", "           i", "           j"]
    assert lines[13] == "           t"
    assert len(lines) == 15


def test_a_rule_that_is_not_known_is_named_all_the_same() -> None:
    assert "\n  CHAT-1\n" in failure_text(failed("hello", "go", "c"), {})


# Hostile texts


def test_no_text_reaches_the_terminal_unescaped(hostile: Run) -> None:
    texts = [failure_text(one, RULES, [HOSTILE]) for one in hostile.results]
    texts += [matrix(hostile, Look()), difference(replace(run(), suite=HOSTILE), hostile)[0]]
    for text in texts:
        assert not HARMFUL.search(text.replace("\n", ""))
        text.encode()
    assert "\\x1b[31m\\x00" in texts[0]
    assert "\\xff" in texts[0]


def test_no_text_breaks_the_summary(hostile: Run) -> None:
    text = summary_markdown(hostile)
    outside = re.sub(r"(?ms)^(`{3,})text\n.*?^\1$", "", text)
    assert "<script" not in outside
    assert not HARMFUL.search(text)


def test_no_text_breaks_the_xml(hostile: Run) -> None:
    text = junit_xml(hostile)
    assert not HARMFUL.search(text)
    root = Xml.fromstring(text.encode())
    assert "\\x1b[31m\\x00" in root.findall(".//failure")[0].get("message", "")


def test_no_text_breaks_the_badges(hostile: Run) -> None:
    text = json.dumps(list(badges(hostile).values()), ensure_ascii=False)
    assert not HARMFUL.search(text)


# The summary, junit.xml, badges


def test_the_summary_shows_the_matrix_and_each_surprise() -> None:
    text = summary_markdown(run(*SMALL))
    assert text.startswith("## ✗ chat: 5 PASSED · 2 FAILED (1 known)")
    assert "| **go** | ~ 1/2 | ✗ 0/1 |  | −1 |" in text
    assert text.count("<details>") == 1
    assert "again    conformance run" in text


def test_a_green_summary_is_short() -> None:
    text = summary_markdown(run(SMALL[0]))
    assert text.startswith("## ✓ chat: 1 PASSED\n")
    assert len(text.splitlines()) < 8


def test_a_summary_of_many_groups_lists_most_of_them_in_a_line() -> None:
    cases = [
        replace(failed(f"n{i}", "go", "c"), failure=replace(FAILURE, requirement=f"R-{i}"))
        for i in range(30)
    ]
    text = summary_markdown(run(*cases))
    assert text.count("<details>") == 20
    assert "and 10 more:" in text
    assert "- R-29 " in text


def test_junit_is_valid_by_its_schema(hostile: Run) -> None:
    schema = xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd"))
    for one in (run(*SMALL), run(SMALL[0], planned=2), hostile):
        schema.validate(junit_xml(one))
    assert not schema.is_valid(junit_xml(hostile).replace("testcase", "case"))


def test_junit_fails_only_what_is_not_as_expected() -> None:
    surprises = [
        result("p", "go", "c", verdict=Verdict.PASSED, expected=False, reason="passed, but"),
        result("e", "go", "c", verdict=Verdict.ERRORED, expected=False, reason="boom"),
        result("u", "go", "c", verdict=Verdict.UNAVAILABLE, expected=False, reason="no gcc"),
    ]
    suite = Xml.fromstring(junit_xml(run(*SMALL, *surprises)).encode())[0]
    endings = {case.get("name"): [child.tag for child in case] for case in suite.iter("testcase")}
    assert endings["hello[go+c]"] == []
    assert endings["hello[go+py]"] == ["failure"]
    assert endings["bye[go+c]"] == ["skipped"]
    assert endings["bytes[go]"] == ["skipped"]
    assert endings["p[go+c]"] == ["failure"]
    assert endings["e[go+c]"] == ["error"]
    assert endings["u[go+c]"] == ["error"]
    counts = [suite.get(key) for key in ("tests", "failures", "errors", "skipped")]
    assert counts == ["12", "2", "2", "3"]


def test_junit_is_red_where_results_are_missing() -> None:
    root = Xml.fromstring(junit_xml(run(SMALL[0], planned=2)).encode())
    (error,) = root.findall(".//error")
    assert error.get("message") == "1 of 2 planned cases has no result"


def test_a_badge_counts_what_was_played() -> None:
    found = badges(run(*SMALL))
    assert set(found) == {"client-c", "client-py", "server-go", "server-py"}
    assert found["server-py"] == {
        "schemaVersion": 1,
        "label": "py server",
        "message": "4/4",
        "color": "brightgreen",
    }
    assert found["server-go"]["color"] == "red"
    assert found["client-c"]["color"] == "yellow"


def test_a_badge_is_not_spoilt_by_the_faults_of_a_peer() -> None:
    cases = [failed("x", "go", "c"), failed("x", "go", "py")]
    cases += [result("x", "py", "c"), result("x", "py", "py")]
    found = badges(run(*cases))
    assert found["client-c"]["message"] == "1/1"
    assert found["server-go"]["message"] == "0/2"


def test_a_badge_does_not_hide_what_is_unsupported() -> None:
    cases = [result("a", "go"), result("b", "go", verdict=Verdict.UNSUPPORTED)]
    badge = badges(run(*cases))["server-go"]
    assert (badge["message"], badge["color"]) == ("1/1, 1 unsupported", "brightgreen")


def test_what_could_not_be_played_is_no_success() -> None:
    badge = badges(run(SMALL[-1]))["client-c"]
    assert (badge["message"], badge["color"]) == ("not played", "lightgrey")


# Rules, and what changed


def test_every_rule_is_shown_with_what_proves_it() -> None:
    step = Step(Place("a.yaml", 2), "bob", "sees", proves="CHAT-1")
    scenarios = [
        Scenario(
            f"chat/names:{example}", "", "", (), Kind.SERVER, {}, (step,), {}, {}, Place("", 1)
        )
        for example in ("a", "b")
    ]
    suite = cast(Suite, SimpleNamespace(requirements=RULES))
    assert requirements_table(suite, scenarios) == (
        "CHAT-1  MUST    chat/names\n"
        "FILE-1  MAY     no scenario (accounts)\n"
        "\n"
        "1 of 2 rules is proven by a scenario; not: FILE-1"
    )


def test_the_difference_of_two_runs_names_what_changed() -> None:
    old = run(
        result("a", "go", "c"),
        failed("b", "go", "c"),
        result("c", "go", "c"),
        result("d", "go", "c"),
        result("same", "go", "c"),
    )
    new = run(
        failed("a", "go", "c"),
        result("b", "go", "c"),
        result("c", "go", "c", verdict=Verdict.UNAVAILABLE),
        result("same", "go", "c"),
        result("e", "go", "c"),
    )
    assert difference(old, new) == (
        "broke (1):\n  chat/a[go+c]: PASSED → FAILED\n\n"
        "mended (1):\n  chat/b[go+c]: FAILED → PASSED\n\n"
        "changed (1):\n  chat/c[go+c]: PASSED → UNAVAILABLE\n\n"
        "new (1):\n  chat/e[go+c]: PASSED\n\n"
        "gone (1):\n  chat/d[go+c]: was PASSED",
        True,
    )


def test_what_goes_wrong_after_the_steps_broke_too() -> None:
    late = replace(FAILURE, kind=FailureKind.ENDING, requirement="STOP-3")
    old, new = run(result("a", "go")), run(replace(result("a", "go"), afterwards=late))
    told = "broke (1):\n  chat/a[go]: PASSED → PASSED, but then STOP-3"
    assert difference(old, new) == (told, True)
    assert difference(new, old)[0].startswith("mended (1):")
    assert difference(new, old)[1] is False


@pytest.mark.parametrize(
    ("new", "told"),
    [
        (run(planned=2), "2 of 2 planned cases have no result"),
        (
            run(result("a", "go", verdict=Verdict.UNAVAILABLE)),
            "no case was played: all are unsupported or unavailable",
        ),
        (replace(run(result("a", "go")), unread=["py: no run"]), "not judged: py: no run"),
    ],
)
def test_a_run_that_lacks_verdicts_broke(new: Run, told: str) -> None:
    text, broke = difference(run(result("a", "go")), new)
    assert f"broke (1):\n  {told}" in text
    assert broke
    assert not difference(new, new)[1]


def test_a_difference_under_one_delivery_is_named() -> None:
    odd = replace(failed("a", "go", "c"), delivery=Delivery.BYTES)
    told = "broke (1):\n  chat/a[go+c]: PASSED → FAILED, delivered by bytes"
    assert difference(run(result("a", "go", "c")), run(odd)) == (told, True)


def test_runs_of_two_suites_are_not_compared() -> None:
    with pytest.raises(Mistake, match="different suites: chat and redis"):
        difference(run(SMALL[0]), replace(run(SMALL[0]), suite="redis"))


def test_what_may_fail_does_not_break_between_two_runs() -> None:
    racing = replace(failed("a", "go", "c"), expected=True, may_fail=True)
    old, new = run(result("a", "go", "c")), run(racing)
    assert difference(old, new) == ("may fail (1):\n  chat/a[go+c]: PASSED → FAILED", False)
    assert difference(new, old) == ("may fail (1):\n  chat/a[go+c]: FAILED → PASSED", False)


def test_runs_are_compared_wherever_they_were_started() -> None:
    old = run(replace(SMALL[0], id="/else/where/chat.yaml::hello[go+c]"))
    assert difference(old, run(SMALL[0])) == ("no case of 1 changed its verdict", False)


def test_two_implementations_of_one_run_are_compared() -> None:
    whole = run(
        result("a", "go", "c"),
        failed("a", "py", "c"),
        failed("b", "go", "c"),
        result("b", "py", "c"),
        result("bytes", "go", verdict=Verdict.UNSUPPORTED),
        failed("bytes", "py"),
        result("room", "go", "c", "py"),
        result("room", "py", "c", "py"),
        result("own", "py"),
        result("alone", None, "c"),
    )
    assert comparison(whole, Role.SERVER, "go", "py") == (
        "passed by go alone (1):\n  chat/a[*+c]: go PASSED, py FAILED\n\n"
        "passed by py alone (1):\n  chat/b[*+c]: go FAILED, py PASSED\n\n"
        "other differences (1):\n  chat/bytes[*]: go UNSUPPORTED, py FAILED\n\n"
        "without go (1):\n  chat/own[*]: PASSED"
    )


def test_a_program_that_ends_wrongly_differs_from_one_that_does_not() -> None:
    late = replace(FAILURE, kind=FailureKind.ENDING, requirement="STOP-3")
    whole = run(result("a", "go"), replace(result("a", "py"), afterwards=late))
    assert comparison(whole, Role.SERVER, "go", "py") == (
        "passed by go alone (1):\n  chat/a[*]: go PASSED, py PASSED, but then STOP-3"
    )


def test_two_clients_of_one_run_are_compared() -> None:
    whole = run(
        result("a", "go", "c"),
        result("a", "go", "py"),
        result("alone", None, "c"),
        failed("alone", None, "py"),
        result("room", "go", "c", "py"),
    )
    assert comparison(whole, Role.CLIENT, "py", "c") == (
        "passed by c alone (1):\n  chat/alone[*]: py FAILED, c PASSED"
    )
    assert comparison(run(*whole.results[:2]), Role.CLIENT, "py", "c") == (
        "no difference between py and c in 1 case"
    )
