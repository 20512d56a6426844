"""The harness must catch every wrong program, by the rule it breaks and at the step that shows it.

And it must find nothing wrong with the right ones.
"""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from ours import SCENARIOS, SUITE
from wrong import clients, right_client, right_clients, right_server, right_servers, servers
from wrong.bug import Bug
from wrong.variant import Variants

from conformance.builds.build import Build
from conformance.judge import judge
from conformance.model import MACHINE, Implementation, Result, Role, Scenario, Step, Verdict
from conformance.plan import cases_of
from conformance.play.actors import meters
from conformance.play.case.runner import play
from conformance.play.schedule.deadlines import Deadlines
from conformance.session.machine import present

FOLDER = Path(__file__).parents[1]
BY_KEY = {scenario.key: scenario for scenario in SCENARIOS}
FEATURES = {Role.SERVER: right_server.FEATURES, Role.CLIENT: right_client.FEATURES}

SECONDS = 3.0  # that a step waits for what a wrong program may never send
START = 10.0  # that it waits for a wrong program that never gets ready
PATIENT = Deadlines(30.0)  # where all is to come


@dataclass(frozen=True)
class Short(Deadlines):
    """Deadlines that are patient, except at the step at which a wrong program must be caught."""

    step: float = PATIENT.step
    at: str = ""  # how the step begins

    def whole(self, step: Step) -> float:
        return (Deadlines(SECONDS) if self.is_at(step) else PATIENT).whole(step)

    def starting(self, step: Step, implementation: Implementation | None = None) -> float:
        return START if self.is_at(step) else super().starting(step, implementation)

    def is_at(self, step: Step) -> bool:
        return step.source.startswith(self.at)


def program(role: Role, name: str, *words: str) -> Build:
    """A program of the folder `wrong`, ready to run."""
    run, features = " ".join(words), FEATURES[role]
    one = Implementation(name, role, "Python", FOLDER, run=run, features=features)
    return Build(one, (sys.executable, "-S", "-m", *words))


RIGHT_SERVER = program(Role.SERVER, "right", "wrong.right_server")
RIGHT_CLIENT = program(Role.CLIENT, "right", "wrong.right_client")


def played(scenario: Scenario, server: Build, client: Build, deadlines: Deadlines) -> Result:
    if lacking := scenario.machine - present():
        pytest.skip("; ".join(MACHINE[name] for name in lacking))
    (case,) = cases_of(scenario, [server.implementation], [client.implementation])
    builds = {one.implementation.label: one for one in (server, client)}
    return judge(case, play(case, SUITE, builds, deadlines))


def is_for_the_right_programs(scenario: Scenario) -> bool:
    """Whether it needs no feature that they lack, and is not for programs that lack theirs."""
    return all(
        scenario.needs.get(role, frozenset()) <= features
        and not scenario.without.get(role, frozenset()) & features
        for role, features in FEATURES.items()
    )


PLAYED = [one.key for one in SCENARIOS if is_for_the_right_programs(one)]


def assert_caught(bug: Bug, result: Result) -> None:
    failure = result.failure if bug.rule else result.afterwards
    assert result.verdict is (Verdict.FAILED if bug.rule else Verdict.PASSED)
    assert failure
    assert failure.requirement == bug.rule
    place, _, step = failure.step.partition("  ")
    assert step.startswith(bug.step), place
    crashed = any(' File "' in line for line in failure.stderr)
    assert crashed == (bug.program is clients.ShowsAStackTrace), failure.stderr


@pytest.mark.parametrize("name", servers.BUGS)
def test_a_wrong_server_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bug = servers.BUGS[name]
    if bug.step.startswith("server: {idles_for"):
        monkeypatch.setattr(meters, "_IDLE_SHARE", 0.03)  # right servers stay below, too
    server = program(Role.SERVER, name, "wrong.servers", "--bug", name)
    assert_caught(bug, played(BY_KEY[bug.scenario], server, RIGHT_CLIENT, Short(at=bug.step)))


@pytest.mark.parametrize("name", clients.BUGS)
def test_a_wrong_client_is_caught(name: str) -> None:
    bug = clients.BUGS[name]
    client = program(Role.CLIENT, name, "wrong.clients", "--bug", name)
    assert_caught(bug, played(BY_KEY[bug.scenario], RIGHT_SERVER, client, Short(at=bug.step)))


@pytest.mark.parametrize("key", PLAYED)
def test_the_right_programs_pass(key: str) -> None:
    before = limits()
    result = played(BY_KEY[key], RIGHT_SERVER, RIGHT_CLIENT, PATIENT)
    assert result.verdict is Verdict.PASSED, result.failure
    assert limits() == before  # a step that limits a program must not find the harness itself


def limits() -> dict[str, tuple[int, int]]:
    """The limits of this process, which the programs that it starts inherit."""
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {name: resource.getrlimit(getattr(resource, name)) for name in names}


def cases(variants: Variants) -> list[tuple[str, str]]:
    """Each right program with each scenario that could accuse it."""
    return [(name, key) for name, variant in variants.items() for key in variant.scenarios]


@pytest.mark.parametrize(("name", "key"), cases(right_servers.VARIANTS))
def test_another_right_server_passes(name: str, key: str) -> None:
    server = program(Role.SERVER, name, "wrong.right_servers", "--variant", name)
    result = played(BY_KEY[key], server, RIGHT_CLIENT, PATIENT)
    assert result.verdict is Verdict.PASSED, result.failure


@pytest.mark.parametrize(("name", "key"), cases(right_clients.VARIANTS))
def test_another_right_client_passes(name: str, key: str) -> None:
    client = program(Role.CLIENT, name, "wrong.right_clients", "--variant", name)
    result = played(BY_KEY[key], RIGHT_SERVER, client, PATIENT)
    assert result.verdict is Verdict.PASSED, result.failure


def test_every_rule_is_broken_by_a_wrong_program() -> None:
    """A rule that no wrong program breaks may be one that no scenario holds anybody to."""
    features = {None, *right_server.FEATURES, *right_client.FEATURES}
    mine = [rule for rule in SUITE.requirements.values() if rule.feature in features]
    rules = {rule.id for rule in mine if rule.level == "MUST"}
    broken = {bug.rule for bugs in (servers.BUGS, clients.BUGS) for bug in bugs.values()}
    assert rules - broken == set()
