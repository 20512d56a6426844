"""`conformance explain`: shows a rule or a scenario, with a dialogue as an example."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from conformance.cli.common import GREEN, RED, Arguments
from conformance.cli.streams import show
from conformance.guide.dialogue import dialogue
from conformance.guide.last_run import Recorded
from conformance.guide.stage import Stage, add_options
from conformance.model import Requirement, Scenario
from conformance.play.case.transcript import Row
from conformance.text import visible

WIDTH = 100
MOST_SCENARIOS = 12  # scenarios that are listed for a rule


def add_command(commands: Any) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "explain",
        help="show a rule or a scenario, with a dialogue as an example",
        epilog="examples: conformance explain STOP-1, conformance explain stop/interrupted",
    )
    parser.set_defaults(command=explain)
    parser.add_argument(
        "rule_or_scenario",
        metavar="NAME",
        help="a rule, such as `STOP-1`, or a scenario, such as `stop/interrupted`",
    )
    parser.add_argument(
        "--play",
        action="store_true",
        help="play the scenario now, instead of showing its transcript of the last run",
    )
    add_options(parser)


def explain(arguments: Arguments) -> int:
    """Show a rule or a scenario, then a dialogue: from the last run, or else played now."""
    stage, name = Stage(arguments), arguments.rule_or_scenario
    rules = stage.suite.requirements
    if rule := rules.get(name.upper()):
        some = [one for one in stage.scenarios if rule.id in one.claims]
        show("\n".join(_of_rule(rule, some)))
        some.sort(key=lambda one: _distance(rule.id, one))
    else:
        some = stage.named(name)
        if not some:
            raise stage.unknown(name, tuple(rules))
        show("\n".join(_of_scenario(some[0], [rules[one] for one in some[0].claims])))
    if not some:
        return GREEN
    if not arguments.play and (recorded := stage.recorded(some, name)):
        show("\n".join(_of_last_run(recorded, arguments.output)))
        return GREEN
    return _play(stage, some[:1], name)


def _play(stage: Stage, some: Sequence[Scenario], name: str) -> int:
    played = stage.play(some, name)
    show("\n".join(_told(f"{played.case.key}, played now:", played.rows)))
    if problem := stage.problem(played):
        show(problem)
        return RED
    return GREEN


def _distance(rule: str, one: Scenario) -> tuple[int, int, int]:
    """A sort key: scenarios that show this rule and little else come first."""
    return one.claims.index(rule), len(one.claims), len(list(one.single_steps))


def _of_rule(rule: Requirement, proving: Sequence[Scenario]) -> Iterator[str]:
    feature = f" (feature: {rule.feature})" if rule.feature else ""
    yield from _wrapped(f"{rule.id} ({rule.level}){feature} {rule.text}")
    yield ""
    if not proving:
        yield "no scenario proves it"
        return
    named = {one.names[-1]: one for one in reversed(proving)}
    some = list(reversed(named.values()))
    yield "proven by:"
    wide = max(len(_at(one)) for one in some[:MOST_SCENARIOS])
    for one in some[:MOST_SCENARIOS]:
        yield visible(f"  {_at(one):{wide}}  {one.names[-1]}: {one.title}")
    if len(some) > MOST_SCENARIOS:
        yield f"  and {len(some) - MOST_SCENARIOS} more: conformance list --requirements"


def _of_scenario(one: Scenario, rules: Sequence[Requirement]) -> Iterator[str]:
    yield visible(f"{one.key}: {one.title}")
    yield visible(f"{_at(one)}, with {', '.join(f'{n}: {m}' for n, m in one.cast.items())}")
    for rule in rules:
        yield ""
        yield from _wrapped(f"{rule.id} ({rule.level}) {rule.text}")


def _at(one: Scenario) -> str:
    return f"{one.file}:{one.place.line}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(visible(text), WIDTH, break_long_words=False, break_on_hyphens=False)


def _of_last_run(recorded: Recorded, output: str) -> Iterator[str]:
    """The dialogue, and where it comes from."""
    programs = ", ".join(f"{one.role} {one.name}" for one in recorded.case.implementations)
    yield from _told(f"{recorded.case.key}, as it passed {recorded.age}:", recorded.rows)
    yield visible(f"from the last run, in {output}, with {programs}; --play plays it now")


def _told(title: str, rows: Sequence[Row]) -> Iterator[str]:
    """The dialogue, under its title."""
    yield ""
    yield visible(title)
    yield ""
    yield from (f"  {line}" for line in dialogue(rows))
    yield ""
