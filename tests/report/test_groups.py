"""Failures that many cases share are shown once, and the order in which they are shown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_report import failed
from test_report import result as passed

from conformance.mistakes import Place
from conformance.model import FLOOD, Failure, FailureKind, Kind, Requirement, Result, Verdict
from conformance.report.exports.markdown import summary_markdown
from conformance.report.findings.groups import FLOOD_LINES, Group, common_program, groups
from conformance.report.run import Run, red
from conformance.report.terminal.failure import group_text
from conformance.report.terminal.summary import groups_shown
from conformance.report.terminal.way import bars, is_done, next_step

START = Failure(
    requirement="PROG-3",
    actor="server",
    step="scenarios/chat.yaml:14:9  server: starts",
    expected="Listening on 127.0.0.1:{port}",
    seen="",
    reason="it never got ready: exit status 2",
    stderr=tuple(f"server: line {n}" for n in range(9)),
    kind=FailureKind.START,
    program="server-zig",
)
ENDING = replace(START, kind=FailureKind.ENDING, requirement="STOP-1", seen="it is still running")
RULES = ("PROG-3", "JOIN-1", "JOIN-4", "CHAT-1", "CHAT-2", "STOP-1")


def result(
    name: str,
    failure: Failure | None = None,
    afterwards: Failure | None = None,
    rule: str = "CHAT-1",
    server: str = "zig",
) -> Result:
    return Result(
        id=f"scenarios/chat.yaml::{name}[{server}]",
        scenario=f"chat/{name}",
        kind=Kind.SERVER,
        pairing=server,
        server=server,
        clients=(),
        requirements=(rule,),
        verdict=Verdict.FAILED if failure else Verdict.PASSED,
        expected=failure is None,
        seconds=0.1,
        failure=failure,
        afterwards=afterwards,
    )


def missed(rule: str, expected: str, actor: str = "alice", said: str = "hello") -> Failure:
    """A step that failed because something else came."""
    timeline = (f"     1.0 ms  {actor} > {said}", "     2.0 ms  bob * (connects)")
    step = f"scenarios/chat.yaml:9:5  {actor}: sees"
    return Failure(rule, actor, step, expected, "", "another line", timeline)


def run(*results: Result) -> Run:
    rules = {id: Requirement(id, "MUST", f"Text of {id}.", None, Place("P", 1)) for id in RULES}
    return Run(
        "2026-01-02T03:04:05+00:00",
        1.0,
        len(results),
        "chat",
        "0.1.0",
        results=[*results],
        requirements=rules,
    )


WELCOMES = [
    result(f"w{n}", missed("JOIN-4", f"Welcome, {name} ({n} online).", name, name))
    for n, name in enumerate(("alice", "bob", "Carol-7"))
]


def test_a_program_that_never_starts_is_told_once() -> None:
    step = replace(START, kind=FailureKind.STEP)
    results = [result("a", START), result("b", START), result("c", step)]
    first, second = groups(results)
    assert first.title == "server zig does not get ready (PROG-3), in 2 cases"
    assert [one.id for one in second.cases] == ["scenarios/chat.yaml::c[zig]"]


def test_an_ending_reddens_the_run_and_no_case() -> None:
    results = [result("a", afterwards=ENDING), result("b", afterwards=ENDING), result("c")]
    assert [group.fails_them for group in groups(results)] == [False]
    assert red(run(*results)) == ["server zig does not end as it should (STOP-1), in 2 cases"]


def test_a_group_without_a_known_program_names_none() -> None:
    left = replace(START, kind=FailureKind.LEFT_OVER, requirement="", program="")
    (one,) = groups([result("a", afterwards=left), result("b", afterwards=left)])
    assert one.title == "a program leaves processes behind, in 2 cases"


UNFENCED = replace(START, kind=FailureKind.FENCE, requirement="CHAT-2", program="")


def unfenced(server: str, client: str) -> Result:
    return replace(failed("x", server, client), failure=UNFENCED)


@pytest.mark.parametrize(
    ("results", "program"),
    [
        ([unfenced("go", "c"), passed("x", "go", "py")], "client c"),
        ([unfenced("go", "c"), unfenced("go", "py"), passed("x", "c", "py")], "server go"),
        ([unfenced("go", "c")], "a program"),
    ],
)
def test_other_pairings_tell_which_program_breaks_a_fence(
    results: list[Result], program: str
) -> None:
    (one,) = groups(results)
    assert one.what.startswith(f"{program} does not pass on the line that proves")


def test_a_group_shows_the_first_case_and_first_and_last_words() -> None:
    (one,) = groups([result("a", START)])
    text = group_text(one, {}).splitlines()
    assert text[0] == "server zig does not get ready (PROG-3), in 1 case"
    assert "  why      it never got ready: exit status 2" in text
    errors = [line.split(None, 1)[1] for line in text if line.startswith("  stderr")]
    assert errors == ["server: line 0", "server: line 7", "server: line 8"]
    assert text[-1].endswith("conformance run 'scenarios/chat.yaml::a[zig]'")


@pytest.mark.parametrize(
    ("texts", "what"),
    [
        (["Welcome, alice (1 online)", "Welcome, bob (2 online)"], "`Welcome, … (… online)`"),
        (["alice: hello", "bob: hi"], "`…: …`"),
        (["alice is here", "bob is here, too"], "`… is here…`"),
        (["end of file", "end of file"], "`end of file`"),
        (["", ""], "an empty line"),
    ],
)
def test_what_differs_by_names_and_numbers_is_one_group(texts: list[str], what: str) -> None:
    failures = [missed("R-1", text, "alice", "hello") for text in texts]
    (one,) = groups(result(str(n), failure) for n, failure in enumerate(failures))
    assert one.what == f"R-1 {what}"


def test_what_differs_otherwise_is_several_groups() -> None:
    failures = [
        missed("R-1", "Welcome, alice"),
        missed("R-2", "Welcome, alice"),
        missed("R-1", "! name in use"),
        missed("R-1", "alice is here"),
        missed("R-1", "alice has gone"),
    ]
    found = groups(result(str(n), failure) for n, failure in enumerate(failures))
    assert len(found) == len(failures)


def flooded(rule: str, expected: str, times: int = FLOOD_LINES, said: str = "hello") -> Failure:
    """A step for which another line came, many times."""
    rows = tuple(f"     {n}.0 ms  server < tick {n}" for n in range(times))
    one = missed(rule, expected, said=said)
    return replace(one, seen="tick 7", timeline=one.timeline + rows)


def test_a_flood_is_one_group_whatever_the_rule() -> None:
    fence = replace(flooded("CHAT-2", "hi"), kind=FailureKind.FENCE, program="server-zig")
    results = [
        result("a", flooded("CHAT-1", "bob: hi")),
        result("b", flooded("JOIN-4", "Welcome, bob")),
        result("c", fence),
        result("d", flooded("JOIN-1", "an end", times=1)),  # the other failures identify it
        result("e", replace(flooded("STOP-1", "row 1: x"), seen="row 1: tick 3")),
        result("f", replace(flooded("STOP-1", "what the steps name"), reason=FLOOD, seen="much")),
        result("g", missed("CHAT-1", "bob: hi")),
    ]
    first, other = groups(results)
    assert first.title == "`tick …` without end, in 6 cases"
    assert (first.rule, first.is_of_a_program) == ("", False)
    assert other.title == "CHAT-1 `bob: hi`, in 1 case"
    assert next_step(run(*results)).startswith("next: `tick …` without end, in 6 cases")


@pytest.mark.parametrize(
    "failure",
    [
        flooded("CHAT-3", "tock", times=FLOOD_LINES - 1),
        flooded("CHAT-3", "tock", said="tick 3"),  # what a user said may repeat
        flooded("CHAT-3", "tick 8"),  # one of many is missing
        replace(flooded("CHAT-3", "tock"), seen="a line of its own"),
        replace(flooded("CHAT-3", "tock"), sent=FLOOD_LINES),  # an answer to each line
    ],
)
def test_what_is_no_flood(failure: Failure) -> None:
    (group,) = groups([result("a", failure)])
    assert group.rule == "CHAT-3"


def test_no_two_groups_look_the_same() -> None:
    """Long texts are compared only as far as they are shown."""
    beginning = "as the last line of standard error: a line that contains "
    failures = [missed("R-1", beginning + word) for word in ("--port", "--host", "--bad")]
    (one,) = groups([result(str(n), failure) for n, failure in enumerate(failures)])
    assert len(one.cases) == len(failures)


def test_errors_with_one_reason_are_one_group() -> None:
    broken = [
        replace(result(name), verdict=Verdict.ERRORED, expected=False, reason=f"{why}\nmore {name}")
        for name, why in (("a", "no gcc"), ("b", "no gcc"), ("c", "no go"))
    ]
    assert [one.what for one in groups(broken)] == ["ERRORED no gcc", "ERRORED no go"]


def test_the_case_that_is_there_to_prove_the_rule_is_the_one_that_is_shown() -> None:
    own = result("own", missed("JOIN-4", "Welcome, alice (1 online)."), rule="JOIN-4")
    (one,) = groups([*WELCOMES, own])
    assert one.cases[0] is own


def test_the_first_screen_says_what_to_mend_first() -> None:
    other = result("x", missed("CHAT-1", "alice: hello"), server="go")
    shown = groups_shown(run(other, *WELCOMES, result("y")), None)
    assert shown[0].splitlines() == [
        "Mend first:",
        "  JOIN-4 `Welcome, … (… online).`: 3 of 5 stop here, all of server zig",
        "  CHAT-1 `alice: hello`: 1 of 5 stop here, all of server go",
    ]
    assert len(shown) == 3  # and a block for each group
    assert "JOIN-4 (MUST) Text of JOIN-4." in shown[1]
    assert "  also     chat/w1[zig], chat/w2[zig]" in shown[1].splitlines()


def test_a_client_is_named_that_is_in_all_rooms_of_mixed_clients() -> None:
    """A single room names no client, since it has several."""
    own, room = failed("x", "go", "c"), failed("room", "go", "c", "py")
    every = [own, room, passed("x", "go", "py")]
    (both,) = groups([own, room])
    assert common_program(both, every) == "client c"
    (alone,) = groups([room])
    assert common_program(alone, every) == ""


def test_a_single_failure_is_told_in_full_alone() -> None:
    (text,) = groups_shown(run(WELCOMES[0], result("y")), None)
    assert text.startswith("FAILED scenarios/chat.yaml::w0[zig]\n")


def test_the_summary_begins_with_it_too() -> None:
    text = summary_markdown(run(*WELCOMES, result("y")))
    assert text.index("3 of 4 stop here") < text.index("| **zig** |")
    assert text.count("<details>") == 1


def test_a_bar_for_each_section_in_the_order_of_building() -> None:
    passed = [result("p", rule="JOIN-1"), result("q", rule="PROG-3"), result("r", rule="CHAT-2")]
    assert bars(run(*WELCOMES, *passed)) == [
        "PROG-3  ████████████████████  1 of 1",
        "JOIN    ██████████░░░░░░░░░░  1 of 2  broken: JOIN-4",
        "CHAT    ██████████░░░░░░░░░░  1 of 2  not reached: 1",
    ]
    assert bars(run(*passed)) == []


def test_the_next_step_is_the_first_rule_in_the_order_of_building() -> None:
    ending = [result(f"e{n}", missed("STOP-1", "Server is shutting down")) for n in range(5)]
    whole = run(*ending, *WELCOMES, result("p", rule="JOIN-1"))
    text = next_step(whole)
    assert not is_done(whole)
    head = (
        "next: JOIN-4 `Welcome, … (… online).`, in 3 cases  (1 of 4 rules that the last run played"
    )
    assert text.startswith(head)
    assert "\nJOIN-4 (MUST) Text of JOIN-4.\n" in text
    assert "FAILED scenarios/chat.yaml::w0[zig]" in text
    assert "conformance run --server zig scenarios JOIN-4" in text
    assert "conformance run --hold 'scenarios/chat.yaml::w0[zig]'" in text


def test_what_keeps_cases_from_being_played_comes_before_all_rules() -> None:
    broken = replace(result("b"), verdict=Verdict.ERRORED, expected=False, reason="no gcc")
    assert next_step(run(*WELCOMES, broken)).startswith("next: ERRORED no gcc, in 1 case")


def test_a_known_failure_is_a_step_on_the_way_too() -> None:
    known = replace(WELCOMES[0], expected=True, reason="known failure of server zig: later")
    whole = run(known, result("p"))
    assert red(whole) == []
    assert "known failure of server zig: later" in next_step(whole)


def test_where_nothing_is_left() -> None:
    whole = run(result("p"), result("q", rule="JOIN-1"))
    assert is_done(whole)
    assert next_step(whole) == (
        "nothing is left to mend: 2 of 2 rules that the last run played are kept"
    )


@pytest.mark.parametrize(
    ("red_run", "reason"),
    [
        (replace(run(), planned=6), "6 of 6 planned cases have no result"),
        (
            run(replace(result("p"), verdict=Verdict.UNAVAILABLE)),
            "no case was played: all are unsupported or unavailable",
        ),
        (replace(run(result("p")), unneeded=["remove it"]), "remove it"),
    ],
)
def test_a_run_that_is_red_without_a_failure_is_not_done(red_run: Run, reason: str) -> None:
    assert not is_done(red_run)
    assert next_step(red_run).startswith("no rule is broken, but the last run is red (")
    assert next_step(red_run).endswith(f"\n  {reason}")


def test_a_group_without_a_failure_has_no_rule() -> None:
    assert Group("ERRORED", None, [result("a")]).rule == ""
