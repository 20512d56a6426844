"""Scenarios × implementations → cases. This module reads no file and starts no process."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from conformance.mistakes import Mistake, NothingChosen, Problems, meant
from conformance.model import (
    ActorKind,
    Case,
    Delivery,
    Implementation,
    Kind,
    Role,
    Scenario,
    Step,
    Trait,
)
from conformance.text import counted, encodable

MIXED_DELIVERY = "mixed"
LIST = "conformance list"  # the command that shows all cases
ONE_IN = 10  # with MIXED_DELIVERY, one case in so many is not delivered WHOLE


@dataclass(frozen=True, slots=True)
class Selection:
    """Which cases a person asked for; by default all of them.

    With `against`, each implementation in `given` plays only with the one of that name.
    """

    servers: frozenset[str] | None = None  # names; None: all servers
    clients: frozenset[str] | None = None  # names; None: all clients
    ids: tuple[str, ...] = ()  # of cases, scenarios or files: `scenarios/chat.yaml::to-all[go+c]`
    keyword: str = ""  # a rule, or part of a case id, ignoring upper and lower case
    rules: tuple[str, ...] = ()  # cases that prove one of these; a section stands for its rules
    against: str = ""  # name of an implementation, for instance of a reference server and client
    given: frozenset[str] = frozenset()  # labels of implementations, such as `server-mine`
    only: frozenset[str] | None = None  # `encodable` keys, as of what failed in the last run


def plan(
    scenarios: Sequence[Scenario], implementations: Sequence[Implementation], selection: Selection
) -> list[Case]:
    """The cases in their order; raises Mistake for an unknown name, or if no case is left."""
    problems = Problems()
    servers = _chosen(implementations, Role.SERVER, selection.servers, problems)
    clients = _chosen(implementations, Role.CLIENT, selection.clients, problems)
    problems.report()
    wanted = [one for one in scenarios if _concerns(one, selection)]
    pairs = _sides(servers, clients, selection) if selection.against else [(servers, clients)]
    cases = [
        case
        for scenario in wanted
        for some, others in pairs
        for case in cases_of(scenario, some, others)
        if not selection.against or _judges(case, selection.given)
    ]
    chosen = [case for case in cases if _selected(case, selection)]
    if unknown := [i for i in selection.ids if not any(_names(i, case) for case in cases)]:
        known = {name for case in cases for name in (case.id, _scenario_id(case))}
        raise Mistake([f"{name}: no such case; {meant(name, known, LIST)}" for name in unknown])
    if not chosen:
        raise NothingChosen([_nothing(selection, len(scenarios), len(servers), len(clients))])
    return chosen


def _sides(
    servers: Sequence[Implementation],
    clients: Sequence[Implementation],
    selection: Selection,
) -> list[tuple[list[Implementation], list[Implementation]]]:
    """For each implementation in `given`: the servers and clients that are paired for it."""
    own = [one for one in (*servers, *clients) if one.label not in selection.given]
    if selection.against not in (names := {one.name for one in own}):
        unknown = f"--against {selection.against}: no such implementation"
        raise Mistake([f"{unknown}; {meant(selection.against, names)}"])
    with_servers = [one for one in own if one.label == f"server-{selection.against}"]
    with_clients = [one for one in own if one.label == f"client-{selection.against}"]
    pairs = [([one], with_clients) for one in servers if one.label in selection.given]
    return pairs + [(with_servers, [one]) for one in clients if one.label in selection.given]


def _judges(case: Case, given: frozenset[str]) -> bool:
    """Whether an implementation in `given` takes part."""
    return any(one.label in given for one in case.implementations)


def delivered(case: Case, how: str) -> Case:
    """The case with this delivery; with `mixed`, one case in ten has another than WHOLE.

    That is chosen by a hash of the key, so it is the same in every run.
    """
    if how != MIXED_DELIVERY:
        return replace(case, delivery=Delivery(how))
    others = [one for one in Delivery if one is not Delivery.WHOLE]
    number = zlib.crc32(case.key.encode("utf-8", "surrogateescape"))
    chance, which = number % ONE_IN, number // ONE_IN % len(others)
    return case if chance else replace(case, delivery=others[which])


def _chosen(
    implementations: Sequence[Implementation],
    role: Role,
    names: frozenset[str] | None,
    problems: Problems,
) -> list[Implementation]:
    mine = [one for one in implementations if one.role is role]
    known = [one.name for one in mine]
    for name in sorted(names or ()):
        if name not in known:
            problems.add(Mistake([f"--{role} {name}: no such {role}; {meant(name, known)}"]))
    return [one for one in mine if names is None or one.name in names]


def cases_of(
    scenario: Scenario, servers: Sequence[Implementation], clients: Sequence[Implementation]
) -> list[Case]:
    """One scenario's cases, by its kind."""
    servers = [one for one in servers if _may_play(scenario, one)]
    clients = [one for one in clients if _may_play(scenario, one)]
    match scenario.kind:
        case Kind.SERVER:
            return [Case(scenario, one, (), _successors(scenario, one, servers)) for one in servers]
        case Kind.CLIENT:
            return [Case(scenario, None, (client,)) for client in clients]
        case Kind.MIXED:
            mixed = tuple(clients[: _parts(scenario)])
            return [Case(scenario, server, mixed) for server in servers if mixed]
    return [Case(scenario, server, (client,)) for server, client in product(servers, clients)]


def _parts(scenario: Scenario) -> int:
    """The number of clients in the cast: no more implementations take part."""
    return sum(member.kind is ActorKind.CLIENT for member in scenario.cast.values())


def _successors(
    scenario: Scenario, server: Implementation, servers: Sequence[Implementation]
) -> tuple[Implementation, ...]:
    """The servers after this one, then those before it: each case begins with another server.

    Those without a feature that the scenario needs are left out, and those without a turn.
    """
    if not scenario.in_turn:
        return ()
    place, needed = servers.index(server), scenario.needs.get(Role.SERVER, frozenset())
    others = (*servers[place + 1 :], *servers[:place])
    able = [one for one in others if needed <= one.features]
    return (server, *able)[1 : sum(map(_starts_a_server, scenario.single_steps))]


def _starts_a_server(step: Step) -> bool:
    return step.actor == "server" and {Trait.WAITS_FOR_A_START, Trait.OF_ITSELF} <= step.traits


def _concerns(scenario: Scenario, selection: Selection) -> bool:
    """With only `--server`, scenarios that judge clients alone are skipped, and vice versa."""
    if selection.clients is None and selection.servers is not None:
        return scenario.kind is not Kind.CLIENT
    if selection.servers is None and selection.clients is not None:
        return scenario.kind is not Kind.SERVER
    return True


def _may_play(scenario: Scenario, one: Implementation) -> bool:
    """A scenario can exclude implementations that have a feature, by `without`."""
    return not (scenario.without.get(one.role, frozenset()) & one.features)


def _selected(case: Case, selection: Selection) -> bool:
    if selection.ids and not any(_names(name, case) for name in selection.ids):
        return False
    if selection.rules and not any(_proves(rule, case) for rule in selection.rules):
        return False
    if selection.only is not None and encodable(case.key) not in selection.only:
        return False
    keyword = selection.keyword
    return keyword.lower() in case.id.lower() or keyword.upper() in case.scenario.claims


def _proves(rule: str, case: Case) -> bool:
    """Whether a case proves a rule, or some rule of a section: `JOIN-4` or `JOIN`."""
    return any(rule in (one, one.rpartition("-")[0]) for one in case.scenario.claims)


def _names(name: str, case: Case) -> bool:
    """Whether an id names this case, its file, its scenario, or its scenario's examples."""
    scenario = _scenario_id(case)
    return name in (case.id, scenario, case.scenario.file) or scenario.startswith(f"{name}:")


def _scenario_id(case: Case) -> str:
    return f"{case.scenario.file}::{case.scenario.id}"


def _nothing(selection: Selection, scenarios: int, servers: int, clients: int) -> str:
    words = f" for `-k {selection.keyword}`" if selection.keyword else ""
    words += f" that proves {' or '.join(selection.rules)}" if selection.rules else ""
    words += " of those that failed in the last run," if selection.only is not None else ""
    counts = ((scenarios, "scenario"), (servers, "server"), (clients, "client"))
    return f"no case is left{words} of {', '.join(counted(*each) for each in counts)}"
