"""Each rule of the protocol is tested, and similar programs have the same transcripts."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

import pytest
from ours import SCENARIOS, SUITE

from conformance.builds.build import Build, build_all
from conformance.model import Implementation, Requirement, Role, Scenario, single
from conformance.plan import cases_of
from conformance.play.case.runner import play
from conformance.play.schedule.deadlines import Deadlines
from conformance.read.manifest import find

PROJECT = Path(__file__).parents[2]
IMPLEMENTATIONS = find(SUITE.implementation_folders)
LISTED = {feature for one in IMPLEMENTATIONS for feature in one.features}
PROVED = {rule for scenario in SCENARIOS for rule in scenario.proves}

PATIENT = 60.0  # seconds
MACHINE_SECONDS = 3.0  # that a scenario allows beyond the time of a rule


def binding(rule: Requirement) -> bool:
    """Whether the rule binds any implementation."""
    return rule.level == "MUST" and (rule.feature is None or rule.feature in LISTED)


@pytest.mark.parametrize("rule", [id for id, one in SUITE.requirements.items() if binding(one)])
def test_every_rule_has_a_scenario(rule: str) -> None:
    assert rule in PROVED


def test_rules_stand_in_the_order_of_building_that_the_text_names() -> None:
    text = (PROJECT / "PROTOCOL.md").read_text("utf-8")
    (said,) = re.findall(r"^Build it in this order: (.*)\.$", text, re.MULTILINE)
    named = [word.rpartition(" ")[2] for word in said.split(", ")]
    sections = [one if one in named else one.rpartition("-")[0] for one in SUITE.requirements]
    first = [name for name, _ in groupby(sections)][: len(named)]
    assert first == named
    assert set(SUITE.requirements) == set(re.findall(r"^- ([A-Z]+-[0-9]+) \(", text, re.MULTILINE))


def test_every_scenario_proves_something_that_binds_those_who_play_it() -> None:
    """A rule of a feature is proved only by programs that list the feature."""
    for scenario in SCENARIOS:
        needed = frozenset().union(*scenario.needs.values())
        features = {SUITE.requirements[rule].feature for rule in scenario.proves} - {None}
        assert scenario.proves, scenario.key
        assert features <= needed, f"{scenario.key} proves rules of {features}, needs {needed}"


def test_every_step_with_a_time_allows_three_seconds_more_than_the_rule() -> None:
    """The head of PROTOCOL.md promises it. `not_before` is the rule's time, or a little less."""
    for step in (step for one in SCENARIOS for step in single(one.steps)):
        if "within" in step.options:
            due = float(str(step.options.get("not_before", 0)))
            assert float(str(step.options["within"])) >= due + MACHINE_SECONDS, step.place


def test_every_known_failure_is_of_a_scenario() -> None:
    keys = {scenario.key for scenario in SCENARIOS}
    keys |= {key.partition(":")[0] for key in keys}
    for one in IMPLEMENTATIONS:
        assert set(one.known_failures) <= keys, one.label


def test_every_listed_feature_is_one_of_the_protocols() -> None:
    assert {rule.feature for rule in SUITE.requirements.values()} >= LISTED


# --- Transcripts -----------------------------------------------------------------------------

RICH = [one for one in SCENARIOS if one.key.startswith("conversation/")]
ROLES = {role: [one for one in IMPLEMENTATIONS if one.role is role] for role in Role}


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Build]:
    made = build_all(IMPLEMENTATIONS, tmp_path_factory.mktemp("builds"))
    assert [build for build in made.values() if build.unavailable or build.error] == []
    return made


def transcript(
    scenario: Scenario, server: Implementation, client: Implementation, builds: dict[str, Build]
) -> str:
    (case,) = cases_of(scenario, [server], [client])
    outcome = play(case, SUITE, builds, Deadlines(PATIENT))
    assert (outcome.failure, outcome.error) == (None, None)
    return outcome.transcript


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("scenario", RICH, ids=lambda scenario: str(scenario.id))
def test_the_transcripts_of_all_are_the_same(
    role: Role, scenario: Scenario, builds: dict[str, Build]
) -> None:
    """A transcript does not depend on the programs, byte for byte."""
    others = Role.CLIENT if role is Role.SERVER else Role.SERVER
    (other,) = (one for one in ROLES[others] if one.name == "python")
    found = set()
    for one in ROLES[role]:
        server, client = (one, other) if role is Role.SERVER else (other, one)
        found.add(transcript(scenario, server, client, builds))
    assert len(found) == 1
    assert found.pop().count("\n") > 20
