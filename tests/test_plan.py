"""The cases of a run, and those that a selection leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny import implementation, read_scenarios, write_suite

from conformance.mistakes import Mistake
from conformance.model import Kind, Role, Scenario
from conformance.plan import Selection, plan

SCENARIOS = """\
- id: alone
  title: Alone
  proves: [ECHO-1]
  cast: {ann: wire}
  examples: [{id: one, word: a}, {id: two, word: b}]
  steps:
    - server: starts
    - ann: starts
    - ann: {types: "{word}"}
- id: together
  title: Together
  proves: [ECHO-1]
  cast: {ann: client}
  steps:
    - server: starts
    - ann: starts
- id: mixed
  title: Mixed
  proves: [ECHO-1]
  clients: mixed
  cast: {ann: client, bob: client}
  steps:
    - server: starts
    - ann, bob: starts
- id: scripted
  title: Scripted
  proves: [ECHO-1]
  cast: {server: scripted, ann: client}
  steps:
    - server: starts
    - ann: starts
    - ann: {exits: 0}
- id: quiet
  title: Only for those that do not shout
  proves: [ECHO-1]
  without: {server: [loud]}
  cast: {ann: wire}
  steps:
    - server: starts
    - ann: starts
"""

ALL = [
    implementation("c", Role.SERVER),
    implementation("go", Role.SERVER, features=frozenset({"loud"})),
    implementation("c", Role.CLIENT),
    implementation("python", Role.CLIENT),
]


@pytest.fixture
def scenarios(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Scenario]:
    monkeypatch.chdir(tmp_path)
    return read_scenarios(write_suite(Path()), SCENARIOS)


def ids(scenarios: list[Scenario], **chosen: object) -> list[str]:
    cases = plan(scenarios, ALL, Selection(**chosen))  # type: ignore[arg-type]
    return [case.id.removeprefix("file.yaml::") for case in cases]


def test_each_kind_multiplies_in_its_own_way(scenarios: list[Scenario]) -> None:
    assert ids(scenarios) == [
        "alone:one[c]",
        "alone:one[go]",
        "alone:two[c]",
        "alone:two[go]",
        "together[c+c]",
        "together[c+python]",
        "together[go+c]",
        "together[go+python]",
        "mixed[c+mixed]",
        "mixed[go+mixed]",
        "scripted[c]",
        "scripted[python]",
        "quiet[c]",
    ]


def test_the_same_input_gives_the_same_plan(scenarios: list[Scenario]) -> None:
    assert plan(scenarios, ALL, Selection()) == plan(scenarios, ALL, Selection())


def test_each_case_knows_who_takes_part(scenarios: list[Scenario]) -> None:
    taking_part = {
        case.id: [one.label for one in case.implementations]
        for case in plan(scenarios, ALL, Selection())
    }
    assert taking_part["file.yaml::alone:one[go]"] == ["server-go"]
    assert taking_part["file.yaml::together[go+c]"] == ["server-go", "client-c"]
    assert taking_part["file.yaml::mixed[go+mixed]"] == ["server-go", "client-c", "client-python"]
    assert taking_part["file.yaml::scripted[c]"] == ["client-c"]


def test_naming_servers_alone_leaves_out_what_has_none(scenarios: list[Scenario]) -> None:
    servers = plan(scenarios, ALL, Selection(servers=frozenset({"go"})))
    assert all(case.server is not None for case in servers)
    clients = plan(scenarios, ALL, Selection(clients=frozenset({"c"})))
    assert all(case.clients for case in clients)
    assert any(case.server is None for case in clients)


def test_ids_are_unique(scenarios: list[Scenario]) -> None:
    assert len(set(ids(scenarios))) == len(ids(scenarios))


def test_a_server_and_a_client_are_chosen(scenarios: list[Scenario]) -> None:
    chosen = ids(scenarios, servers=frozenset({"c"}), clients=frozenset({"python"}))
    assert chosen == [
        "alone:one[c]",
        "alone:two[c]",
        "together[c+python]",
        "mixed[c+mixed]",
        "scripted[python]",
        "quiet[c]",
    ]


@pytest.mark.parametrize(
    ("keyword", "chosen"),
    [
        ("QUIET", ["quiet[c]"]),
        (":two[g", ["alone:two[go]"]),
        ("file.yaml::s", ["scripted[c]", "scripted[python]"]),
    ],
)
def test_a_keyword_is_part_of_an_id(
    scenarios: list[Scenario], keyword: str, chosen: list[str]
) -> None:
    assert ids(scenarios, keyword=keyword) == chosen


@pytest.mark.parametrize(
    ("named", "chosen"),
    [
        ("together[go+c]", ["together[go+c]"]),
        ("alone:two", ["alone:two[c]", "alone:two[go]"]),
        ("alone", ["alone:one[c]", "alone:one[go]", "alone:two[c]", "alone:two[go]"]),
    ],
)
def test_cases_are_named_one_by_one(
    scenarios: list[Scenario], named: str, chosen: list[str]
) -> None:
    assert ids(scenarios, ids=(f"file.yaml::{named}",)) == chosen


def test_a_file_names_all_of_its_cases(scenarios: list[Scenario]) -> None:
    assert ids(scenarios, ids=("file.yaml",)) == ids(scenarios)


def test_unknown_names_are_told_with_what_was_meant(scenarios: list[Scenario]) -> None:
    with pytest.raises(Mistake) as caught:
        ids(scenarios, servers=frozenset({"gow", "c"}), clients=frozenset({"perl"}))
    assert caught.value.problems == [
        "--server gow: no such server; did you mean `go`?",
        "--client perl: no such client; known: c, python",
    ]


def test_unknown_ids_are_told_each_with_what_was_meant(scenarios: list[Scenario]) -> None:
    wrong = ("file.yaml::quiet[go]", "file.yaml::togther")
    with pytest.raises(Mistake) as caught:
        ids(scenarios, ids=wrong)
    assert caught.value.problems == [
        "file.yaml::quiet[go]: no such case; did you mean `file.yaml::quiet[c]`?",
        "file.yaml::togther: no such case; did you mean `file.yaml::together`?",
    ]


def test_a_selection_that_leaves_nothing_is_a_mistake(scenarios: list[Scenario]) -> None:
    with pytest.raises(Mistake) as caught:
        ids(scenarios, keyword="nonsense")
    assert caught.value.problems == [
        "no case is left for `-k nonsense` of 6 scenarios, 2 servers, 2 clients"
    ]


def test_no_scenario_at_all_is_a_mistake() -> None:
    with pytest.raises(Mistake, match="no case is left of 0 scenarios"):
        plan([], ALL, Selection())


def test_mixed_takes_whatever_clients_there_are(scenarios: list[Scenario]) -> None:
    mixed = [one for one in scenarios if one.kind is Kind.MIXED]
    (case,) = plan(mixed, ALL[1:3], Selection())
    assert [one.name for one in case.clients] == ["c"]


def test_mixed_takes_no_more_clients_than_have_a_part(scenarios: list[Scenario]) -> None:
    """A client that is not played has neither passed nor failed."""
    mixed = [one for one in scenarios if one.kind is Kind.MIXED]
    third = implementation("rust", Role.CLIENT)
    for case in plan(mixed, [*ALL, third], Selection()):
        assert [one.name for one in case.clients] == ["c", "python"]


def test_in_turn_are_those_that_have_a_turn_and_what_is_needed(scenarios: list[Scenario]) -> None:
    """One server without a feature must not make the cases of all others unsupported."""
    (one,) = (one for one in scenarios if one.id == "quiet")
    again = [step for step in one.steps if (step.actor, step.verb) == ("server", "starts")]
    needs = {Role.SERVER: frozenset({"loud"})}
    turns = replace(one, in_turn=True, needs=needs, without={}, steps=(*one.steps, *again))
    loud = [implementation(name, features=frozenset({"loud"})) for name in ("d", "e", "f")]
    cases = plan([turns], [ALL[0], *loud], Selection())
    assert ["".join(one.name for one in case.implementations) for case in cases] == [
        "cd",
        "de",
        "ef",
        "fd",
    ]


def test_features_that_are_needed_do_not_make_fewer_cases(scenarios: list[Scenario]) -> None:
    """What is not supported is counted, not left out."""
    needing = [replace(scenarios[0], needs={Role.SERVER: frozenset({"loud"})})]
    assert len(plan(needing, ALL, Selection())) == 2
