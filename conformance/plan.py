"""Scenarios × implementations: which cases there are. It reads no file and starts no process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from conformance.mistakes import Mistake, Problems, meant
from conformance.model import Case, Implementation, Kind, Role, Scenario
from conformance.text import counted


@dataclass(frozen=True, slots=True)
class Selection:
    """Which cases a person asked for; by default all of them."""

    servers: frozenset[str] | None = None
    clients: frozenset[str] | None = None
    ids: tuple[str, ...] = ()  # case ids, or scenario ids: `scenarios/chat.yaml::to-all[go+c]`
    keyword: str = ""  # part of a case id, case aside, or a rule
    rules: tuple[str, ...] = ()  # cases that prove one of these; a section names all of its rules
    only: frozenset[str] | None = None  # keys of cases, such as those that failed in the last run


def plan(
    scenarios: Sequence[Scenario], implementations: Sequence[Implementation], selection: Selection
) -> list[Case]:
    """The cases in their order; raises Mistake for an unknown name, or if no case is left."""
    problems = Problems()
    servers = _chosen(implementations, Role.SERVER, selection.servers, problems)
    clients = _chosen(implementations, Role.CLIENT, selection.clients, problems)
    problems.report()
    wanted = [one for one in scenarios if _concerns(one, selection)]
    cases = [case for scenario in wanted for case in cases_of(scenario, servers, clients)]
    chosen = [case for case in cases if _selected(case, selection)]
    if unknown := [i for i in selection.ids if not any(_names(i, case) for case in cases)]:
        known = {name for case in cases for name in (case.id, _scenario_id(case))}
        raise Mistake([f"{name}: no such case; {meant(name, known)}" for name in unknown])
    if not chosen:
        raise Mistake([_nothing(selection, len(scenarios), len(servers), len(clients))])
    return chosen


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
            return [Case(scenario, server, tuple(clients)) for server in servers if clients]
    return [Case(scenario, server, (client,)) for server, client in product(servers, clients)]


def _successors(
    scenario: Scenario, server: Implementation, servers: Sequence[Implementation]
) -> tuple[Implementation, ...]:
    """The servers after it, then those before it, so that each one follows each other once."""
    if not scenario.in_turn:
        return ()
    place = servers.index(server)
    return (*servers[place + 1 :], *servers[:place])


def _concerns(scenario: Scenario, selection: Selection) -> bool:
    """With only `--server`, scenarios of clients alone are skipped, and the other way round."""
    if selection.clients is None and selection.servers is not None:
        return scenario.kind is not Kind.CLIENT
    if selection.servers is None and selection.clients is not None:
        return scenario.kind is not Kind.SERVER
    return True


def _may_play(scenario: Scenario, one: Implementation) -> bool:
    """Some scenarios are only for programs that lack a feature."""
    return not (scenario.without.get(one.role, frozenset()) & one.features)


def _selected(case: Case, selection: Selection) -> bool:
    if selection.ids and not any(_names(name, case) for name in selection.ids):
        return False
    if selection.rules and not any(_proves(rule, case) for rule in selection.rules):
        return False
    if selection.only is not None and case.key not in selection.only:
        return False
    keyword = selection.keyword
    return keyword.lower() in case.id.lower() or keyword.upper() in case.scenario.claims


def _proves(rule: str, case: Case) -> bool:
    """Whether a case proves a rule, or one of a section."""
    return any(rule in (one, one.rpartition("-")[0]) for one in case.scenario.claims)


def _names(name: str, case: Case) -> bool:
    """Whether a node id names this case: itself, its scenario, or all examples of it."""
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
