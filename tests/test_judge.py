"""The verdict on a case, from its outcome and what was expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from conformance.builds.build import Build
from conformance.judge import Tries, expectation, judge, unneeded, unplayed
from conformance.mistakes import Place
from conformance.model import (
    Case,
    Delivery,
    Failure,
    FailureKind,
    Implementation,
    Kind,
    Outcome,
    Requirement,
    Result,
    Role,
    Scenario,
    Step,
    Verdict,
)
from conformance.report.findings.blame import blame, faults
from conformance.report.findings.grid import total, totals

FAILED = Outcome(0.5, failure=Failure("CHAT-1", "bob", "chat.yaml:3:1  bob: sees", "a", "b"))
PASSED = Outcome(0.5)


def implementation(
    role: Role,
    name: str,
    *features: str,
    known: Mapping[str, str] | None = None,
    may: Mapping[str, str] | None = None,
) -> Implementation:
    return Implementation(
        name=name,
        role=role,
        language=name,
        folder=Path(name),
        run=name,
        features=frozenset(features),
        known_failures=known or {},
        may_fail=may or {},
    )


def case(*players: Implementation, key: str = "chat/hello", feature: str = "") -> Case:
    needs = {Role.SERVER: frozenset({feature})} if feature else {}
    servers = [one for one in players if one.role is Role.SERVER]
    clients = tuple(one for one in players if one.role is Role.CLIENT)
    alone = Kind.SERVER if servers else Kind.CLIENT
    kind = Kind.MIXED if len(clients) > 1 else Kind.PAIRING if servers and clients else alone
    step = Step(Place("chat.yaml", 3), "bob", "sees", proves="CHAT-2")
    scenario = Scenario(
        key=key,
        file="scenarios/chat.yaml",
        title="",
        proves=("CHAT-1",),
        kind=kind,
        cast={},
        steps=(step,),
        needs=needs,
        without={},
        place=Place("chat.yaml", 1),
    )
    return Case(scenario, servers[0] if servers else None, clients)


def builds(*made: Build) -> dict[str, Build]:
    return {build.implementation.label: build for build in made}


GO = implementation(Role.SERVER, "go", "accounts")
C = implementation(Role.CLIENT, "c")


def test_what_can_be_played_has_no_verdict_beforehand() -> None:
    ready = builds(Build(GO), Build(C))
    assert expectation(case(GO, C, feature="accounts"), ready) is None


def test_a_feature_that_is_not_listed_is_unsupported_even_where_nothing_is_installed() -> None:
    told = expectation(case(GO, C, feature="log"), builds(Build(GO, unavailable="no go"), Build(C)))
    assert told == (Verdict.UNSUPPORTED, "server go does not list the feature log")


def test_a_missing_toolchain_and_a_failed_build_are_told_apart() -> None:
    lacking = builds(Build(GO), Build(C, unavailable="gcc is not on PATH"))
    broken = builds(Build(GO), Build(C, error="gcc: syntax error"))
    assert expectation(case(GO, C), lacking) == (Verdict.UNAVAILABLE, "gcc is not on PATH")
    assert expectation(case(GO, C), broken) == (Verdict.ERRORED, "gcc: syntax error")


@pytest.mark.parametrize(
    ("verdict", "required", "expected"),
    [
        (Verdict.UNSUPPORTED, False, True),
        (Verdict.UNSUPPORTED, True, True),
        (Verdict.UNAVAILABLE, False, True),
        (Verdict.UNAVAILABLE, True, False),
        (Verdict.ERRORED, False, False),
    ],
)
def test_what_was_not_played(verdict: Verdict, required: bool, expected: bool) -> None:
    result = unplayed(case(GO, C), verdict, "why", required=required)
    assert (result.verdict, result.expected, result.reason) == (verdict, expected, "why")
    assert result.seconds == 0


@pytest.mark.parametrize(
    ("outcome", "verdict", "expected"),
    [
        (PASSED, Verdict.PASSED, True),
        (FAILED, Verdict.FAILED, False),
        (Outcome(0.5, error="boom"), Verdict.ERRORED, False),
    ],
)
def test_what_was_played(outcome: Outcome, verdict: Verdict, expected: bool) -> None:
    result = judge(case(GO, C), outcome)
    assert (result.verdict, result.expected) == (verdict, expected)
    assert result.failure is outcome.failure


def rules(level: str) -> dict[str, Requirement]:
    return {"CHAT-1": Requirement("CHAT-1", level, "It says hello.", None, Place("P", 1))}


@pytest.mark.parametrize(
    ("level", "strict", "verdict"),
    [
        ("MUST", False, Verdict.FAILED),
        ("SHOULD", False, Verdict.WARNED),
        ("SHOULD", True, Verdict.FAILED),
        ("MAY", False, Verdict.WARNED),
        ("MAY", True, Verdict.WARNED),
    ],
)
def test_what_is_only_advised_is_told_apart(level: str, strict: bool, verdict: Verdict) -> None:
    result = judge(case(GO, C), FAILED, rules(level), strict=strict)
    assert (result.verdict, result.expected) == (verdict, verdict is Verdict.WARNED)
    assert result.failure is FAILED.failure
    assert result.reason == (f"CHAT-1 is a {level}" if verdict is Verdict.WARNED else "")


@pytest.mark.parametrize("listed", ["chat/hello", "chat/*", "CHAT-1"])
@pytest.mark.parametrize("strict", [False, True])
def test_a_known_failure_comes_before_advice(listed: str, strict: bool) -> None:
    known = implementation(Role.SERVER, "go", known={listed: "ticket 1"})
    result = judge(case(known, C), FAILED, rules("SHOULD"), strict=strict)
    assert (result.verdict, result.expected) == (Verdict.FAILED, True)
    assert (result.known, result.reason) == (listed, "known failure of server go: ticket 1")


def test_of_several_tries_a_known_failure_is_worse_than_advice() -> None:
    racing = implementation(Role.SERVER, "go", may={"CHAT-1": "a race"})
    tries = Tries()
    tries.add(judge(case(GO, C), FAILED, rules("SHOULD")), FAILED)
    tries.add(judge(case(racing, C), FAILED, rules("SHOULD")), FAILED)
    tries.add(judge(case(GO, C), PASSED), PASSED)
    assert (tries.result.verdict, tries.result.may_fail) == (Verdict.FAILED, True)
    assert tries.result.repeated == "1 of 3 passed"


def test_no_advice_excuses_a_program_that_does_not_get_ready() -> None:
    assert FAILED.failure
    start = replace(FAILED, failure=replace(FAILED.failure, kind=FailureKind.START))
    assert judge(case(GO, C), start, rules("SHOULD")).verdict is Verdict.FAILED


def test_an_error_outweighs_a_failure_and_a_known_failure() -> None:
    known = implementation(Role.CLIENT, "c", known={"chat/hello": "ticket 1"})
    both = Outcome(0.5, failure=FAILED.failure, error="boom")
    result = judge(case(GO, known), both)
    assert (result.verdict, result.expected, result.reason) == (Verdict.ERRORED, False, "boom")


@pytest.mark.parametrize("listed", ["chat/hello", "chat/hello:empty"])
def test_known_failures_are_strict_both_ways(listed: str) -> None:
    known = implementation(Role.CLIENT, "c", known={listed: "ticket 1"})
    failed = judge(case(GO, known, key="chat/hello:empty"), FAILED)
    passed = judge(case(GO, known, key="chat/hello:empty"), PASSED)
    assert (failed.verdict, failed.expected) == (Verdict.FAILED, True)
    assert (passed.verdict, passed.expected) == (Verdict.PASSED, False)
    assert "client c: ticket 1" in failed.reason
    assert "client c: ticket 1" in passed.reason


def test_a_known_failure_of_one_example_says_nothing_of_another() -> None:
    known = implementation(Role.CLIENT, "c", known={"chat/hello:empty": "ticket 1"})
    assert not judge(case(GO, known, key="chat/hello:long"), FAILED).expected


@pytest.mark.parametrize("key", ["chat/*", "*", "*/hel*o", "CHAT-1"])
def test_known_failures_by_pattern_or_by_the_rule_that_is_broken(key: str) -> None:
    """They may pass: only some of them must fail."""
    known = implementation(Role.CLIENT, "c", known={key: "ticket 1"})
    failed, passed = judge(case(GO, known), FAILED), judge(case(GO, known), PASSED)
    assert (failed.verdict, failed.expected, failed.known) == (Verdict.FAILED, True, key)
    assert failed.reason == "known failure of client c: ticket 1"
    assert (passed.verdict, passed.expected, passed.known) == (Verdict.PASSED, True, "")


@pytest.mark.parametrize("key", ["join/*", "chat/hello?", "CHAT-2", "chat/hell"])
def test_known_failures_of_other_scenarios_or_rules(key: str) -> None:
    known = implementation(Role.CLIENT, "c", known={key: "ticket 1"})
    assert not judge(case(GO, known), FAILED).expected


@pytest.mark.parametrize("key", ["chat/hello", "*", "CHAT-1"])
def test_what_may_fail_may_pass_and_is_told_apart(key: str) -> None:
    racing = implementation(Role.CLIENT, "c", may={key: "a race"})
    failed, passed = judge(case(GO, racing), FAILED), judge(case(GO, racing), PASSED)
    assert (failed.verdict, failed.expected, failed.may_fail) == (Verdict.FAILED, True, True)
    assert failed.reason == "possible failure of client c: a race"
    assert (passed.verdict, passed.expected, passed.may_fail) == (Verdict.PASSED, True, False)
    assert totals(total([failed, passed])) == "1 PASSED · 1 FAILED (1 may fail)"


def test_the_most_exact_entry_counts() -> None:
    both = implementation(Role.CLIENT, "c", known={"*": "old"}, may={"chat/hello": "a race"})
    assert judge(case(GO, both), FAILED).may_fail
    strict = implementation(Role.CLIENT, "c", known={"chat/hello": "1"}, may={"chat/*": "a race"})
    assert not judge(case(GO, strict), FAILED).may_fail
    assert not judge(case(GO, strict), PASSED).expected


def test_a_known_failure_by_rule_covers_the_ending_of_a_case() -> None:
    assert FAILED.failure
    late = Outcome(0.5, afterwards=FAILED.failure)
    known = implementation(Role.SERVER, "go", known={"CHAT-1": "ticket 1"})
    result = judge(case(known, C), late)
    assert (result.verdict, result.expected, result.known) == (Verdict.PASSED, True, "CHAT-1")
    assert result.afterwards is None
    assert judge(case(GO, C), late).afterwards


def test_known_failures_of_which_nothing_fails() -> None:
    listed = {"CHAT-1": "x", "chat/*": "x", "*": "x", "chat/hello": "x"}
    server = implementation(Role.SERVER, "s", known=listed)
    client = implementation(Role.CLIENT, "c", known={"CHAT-1": "x"})
    played = case(server, client)
    both = {("server", "s"): listed, ("client", "c"): ["CHAT-1"]}
    fails = "no case fails for its known failure"
    assert list(unneeded(both, [judge(played, PASSED)], {"CHAT-1"})) == [
        f"server s: {fails} `CHAT-1`; remove it from the manifest",
        f"server s: {fails} `chat/*`; remove it from the manifest",
        f"server s: {fails} `*`; remove it from the manifest",
        f"client c: {fails} `CHAT-1`; remove it from the manifest",
    ]
    only = case(implementation(Role.SERVER, "s", known={"CHAT-1": "x"}))
    one = {("server", "s"): ["CHAT-1"]}
    assert list(unneeded(one, [judge(only, FAILED)], {"CHAT-1"})) == []


def test_of_several_tries_the_worst_is_shown() -> None:
    tries = Tries()
    for outcome in (PASSED, FAILED, PASSED):
        tries.add(judge(case(GO, C), outcome), outcome)
    result = tries.result
    assert (result.verdict, result.expected, result.seconds) == (Verdict.FAILED, False, 1.5)
    assert result.repeated == "2 of 3 passed"
    assert tries.worst
    assert tries.worst[1] is FAILED


def test_one_try_is_as_it_is() -> None:
    tries = Tries()
    tries.add(judge(case(GO, C), PASSED), PASSED)
    assert tries.result == judge(case(GO, C), PASSED)
    assert tries.result.repeated == ""


@pytest.mark.parametrize(("what", "values"), [("port", (80, 81)), ("host", ("::1", "127.0.0.1"))])
def test_programs_that_cannot_meet(what: str, values: tuple[object, object]) -> None:
    server, client = (
        replace(one, **{what: value})  # type: ignore[arg-type]
        for one, value in zip((GO, C), values, strict=True)
    )
    ready = builds(Build(server), Build(client))
    words = f"server-go always has {values[0]}, client-c always has {values[1]}"
    told = f"they cannot use the same {what}: {words}"
    assert expectation(case(server, client), ready) == (Verdict.UNSUPPORTED, told)
    assert expectation(case(server, C), builds(Build(server), Build(C))) is None
    same = replace(client, **{what: values[0]})  # type: ignore[arg-type]
    assert expectation(case(server, same), builds(Build(server), Build(same))) is None


def test_a_result_names_the_case_its_players_and_every_rule() -> None:
    result = judge(case(GO, C), PASSED)
    assert result.id == "scenarios/chat.yaml::hello[go+c]"
    assert (result.scenario, result.server, result.clients) == ("chat/hello", "go", ("c",))
    assert (result.kind, result.pairing) == (Kind.PAIRING, "go+c")
    assert result.requirements == ("CHAT-1", "CHAT-2")


def pairings(failing: str, servers: str = "s t u", clients: str = "a b c") -> list[Result]:
    """A scenario played by every pairing; `failing` names those that fail: "s+a t+b"."""
    return [
        judge(
            case(implementation(Role.SERVER, server), implementation(Role.CLIENT, client)),
            FAILED if f"{server}+{client}" in failing.split() else PASSED,
        )
        for server in servers.split()
        for client in clients.split()
    ]


@pytest.mark.parametrize(
    ("failing", "accusations"),
    [
        ("", []),
        ("s+a s+b s+c", ["server s fails with every client, where another server passes"]),
        ("s+b t+b u+b", ["client b fails with every server, where another client passes"]),
        ("s+a", ["s+a fail only together"]),
        (
            "s+a s+b s+c t+a",
            [
                "server s fails with every client, where another server passes",
                "t+a fail only together",
            ],
        ),
    ],
)
def test_the_row_and_the_column_tell_which_end_is_at_fault(
    failing: str, accusations: list[str]
) -> None:
    assert blame(pairings(failing)) == [f"{line}: chat/hello" for line in accusations]


def test_nobody_is_blamed_where_every_pairing_fails() -> None:
    everywhere = pairings("s+a s+b t+a t+b", servers="s t", clients="a b")
    assert blame(everywhere) == ["all 4 pairings fail: chat/hello"]
    assert all(fault.role is None for fault in faults(everywhere))


def test_one_pairing_alone_tells_nothing() -> None:
    alone = pairings("s+a", servers="s", clients="a")
    assert blame(alone) == ["s+a fail, and no other pairing was played to compare with: chat/hello"]


def test_one_server_with_many_clients_can_still_tell() -> None:
    (line,) = blame(pairings("s+b", servers="s"))
    assert line.startswith("client b fails with server s, where another client passes: ")


def test_known_failures_and_cases_without_a_pairing_are_not_blamed() -> None:
    known = implementation(Role.CLIENT, "c", known={"chat/hello": "ticket 1"})
    mixed = judge(case(GO, C, implementation(Role.CLIENT, "d")), FAILED)
    assert blame([judge(case(GO, known), FAILED), judge(case(GO), FAILED)]) == []
    assert blame([mixed]) == [
        "go with mixed clients fail, and no other pairing was played to compare with: chat/hello"
    ]


def of_mixed_clients(failing: str) -> list[Result]:
    clients = [implementation(Role.CLIENT, name) for name in "ab"]
    servers = [implementation(Role.SERVER, name) for name in "stu"]
    return [
        judge(case(one, *clients), FAILED if one.name in failing else PASSED) for one in servers
    ]


@pytest.mark.parametrize(
    ("failing", "accusations"),
    [
        ("s", ["server s fails with mixed clients, where another server passes"]),
        ("stu", ["all 3 servers fail with mixed clients"]),
        ("", []),
    ],
)
def test_mixed_clients_are_one_column(failing: str, accusations: list[str]) -> None:
    assert blame(of_mixed_clients(failing)) == [f"{line}: chat/hello" for line in accusations]


ELSEWHERE = {
    "with every server": ("s+b t+b u+b", "client b"),
    "by nobody": ("", None),
    "by two": ("s+a t+a u+a s+b t+b u+b", None),
    "by a server": ("s+a s+b s+c", None),  # which is not in each of the rooms
    "and a server, too": ("s+b t+b u+b s+a s+c", "client b"),
}


@pytest.mark.parametrize("where", ELSEWHERE)
def test_of_mixed_clients_the_one_that_fails_elsewhere_is_at_fault(where: str) -> None:
    failing, culprit = ELSEWHERE[where]
    others = [replace(one, scenario="chat/other") for one in pairings(failing)]
    (fault,) = (one for one in faults([*of_mixed_clients("stu"), *others]) if one.is_mixed)
    assert (f"{fault.role} {fault.name}" if fault.role else None) == culprit


def test_one_that_was_judged_alone_is_at_fault_among_mixed_clients() -> None:
    a, b = (implementation(Role.CLIENT, name) for name in "ab")
    alone = [judge(case(a), PASSED), judge(case(b), FAILED)]
    some = [*of_mixed_clients("stu"), *alone]
    assert blame(some) == ["all 3 servers fail with mixed clients: chat/hello"]  # who passes?
    others = [replace(one, scenario="chat/other") for one in pairings("")]
    words = "fails with mixed clients, as it fails elsewhere, where others pass"
    assert blame([*some, *others]) == [f"client b {words}: chat/hello"]


def test_what_was_delivered_in_another_way_is_not_compared() -> None:
    """A server that fails byte by byte may have a right client, though others pass with it."""
    whole = pairings("")
    odd = replace(judge(case(GO, C), FAILED), delivery=Delivery.BYTES)
    assert blame([*whole, odd]) == [
        "go+c fail, and no other pairing was played to compare with: "
        "chat/hello (delivered by bytes)"
    ]
    everywhere = [replace(one, delivery=Delivery.BYTES) for one in pairings("s+a s+b s+c")]
    assert blame([*whole, *everywhere]) == [
        "server s fails with every client, where another server passes: "
        "chat/hello (delivered by bytes)"
    ]


def test_many_scenarios_of_one_culprit_are_one_short_line() -> None:
    server, other = implementation(Role.SERVER, "s"), implementation(Role.SERVER, "t")
    results = []
    for number in range(7):
        results.append(judge(case(server, C, key=f"chat/n{number}"), FAILED))
        results.append(judge(case(other, C, key=f"chat/n{number}"), PASSED))
    (line,) = blame(results)
    assert line.endswith(": chat/n0, chat/n1, chat/n2, chat/n3 and 3 more")
