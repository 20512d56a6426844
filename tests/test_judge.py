"""What an outcome means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from conformance.build import Build
from conformance.judge import expectation, judge, unplayed
from conformance.mistakes import Place
from conformance.model import (
    Case,
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
from conformance.report.blame import blame, faults

FAILED = Outcome(0.5, failure=Failure("CHAT-1", "bob", "chat.yaml:3:1  bob: sees", "a", "b"))
PASSED = Outcome(0.5)


def implementation(
    role: Role, name: str, *features: str, known: Mapping[str, str] | None = None
) -> Implementation:
    return Implementation(
        name=name,
        role=role,
        language=name,
        folder=Path(name),
        run=name,
        features=frozenset(features),
        known_failures=known or {},
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
    assert line.startswith("client b fails")


def test_known_failures_and_cases_without_a_pairing_are_not_blamed() -> None:
    known = implementation(Role.CLIENT, "c", known={"chat/hello": "ticket 1"})
    mixed = judge(case(GO, C, implementation(Role.CLIENT, "d")), FAILED)
    assert blame([judge(case(GO, known), FAILED), judge(case(GO), FAILED), mixed]) == []


def test_many_scenarios_of_one_culprit_are_one_short_line() -> None:
    server, other = implementation(Role.SERVER, "s"), implementation(Role.SERVER, "t")
    results = []
    for number in range(7):
        results.append(judge(case(server, C, key=f"chat/n{number}"), FAILED))
        results.append(judge(case(other, C, key=f"chat/n{number}"), PASSED))
    (line,) = blame(results)
    assert line.endswith(": chat/n0, chat/n1, chat/n2, chat/n3 and 3 more")
