"""Finds out which program of a failed pairing is at fault, by comparison with other pairings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from conformance.model import Delivery, Kind, Result, Role, Verdict

# A server, then its client, or all of its mixed clients.
Pairing: TypeAlias = tuple[str, ...]
_Played: TypeAlias = Mapping[Pairing, bool]  # pairing → whether it passed
_Program: TypeAlias = tuple[Role, str]
# A case (see `players`) → the label of the program at fault.
Culprits: TypeAlias = Mapping[tuple[str, ...], str]


@dataclass(frozen=True, slots=True)
class Fault:
    """Failing pairings of one scenario, and the program that is at fault."""

    scenario: str
    delivery: Delivery  # only cases with the same delivery are compared
    pairings: tuple[Pairing, ...]
    role: Role | None = None  # None: other pairings do not show which program is at fault
    name: str = ""
    everywhere: bool = False  # no pairing of this scenario passes

    @property
    def where(self) -> str:
        """`chat/hello`, or `chat/hello (delivered by bytes)`."""
        whole = self.delivery is Delivery.WHOLE
        return self.scenario if whole else f"{self.scenario} (delivered by {self.delivery})"

    @property
    def is_mixed(self) -> bool:
        """Whether the clients are different programs."""
        return len(self.pairings[0]) > 2


def faults(results: Sequence[Result]) -> list[Fault]:
    """The unexpected failures of all pairings, with the program at fault if it is known."""
    scenarios = _pairings(results)
    found = [fault for key, played in scenarios.items() for fault in _faults_of(*key, played)]
    accused, trusted = _accused(found, results), _trusted(results)
    return [_singled_out(fault, accused, trusted) for fault in found]


def culprits(results: Sequence[Result]) -> Culprits:
    """The program at fault for each case in which other cases show it."""
    return {
        (fault.scenario, fault.delivery, *pair): f"{fault.role}-{fault.name}"
        for fault in faults(results)
        if fault.role
        for pair in fault.pairings
    }


def players(result: Result) -> tuple[str, ...]:
    """What identifies a case in `culprits`."""
    return result.scenario, result.delivery, result.server or "", *result.clients


def _pairings(results: Iterable[Result]) -> dict[tuple[str, Delivery], dict[Pairing, bool]]:
    """The pairings of each scenario and delivery, without known failures, which prove nothing."""
    scenarios: dict[tuple[str, Delivery], dict[Pairing, bool]] = {}
    for result in results:
        if result.kind not in (Kind.PAIRING, Kind.MIXED):
            continue
        passed = result.verdict is Verdict.PASSED
        if passed or (result.verdict is Verdict.FAILED and not result.expected):
            pairing = (result.server or "", *result.clients)
            scenarios.setdefault((result.scenario, result.delivery), {})[pairing] = passed
    return scenarios


def _faults_of(scenario: str, delivery: Delivery, played: _Played) -> Iterator[Fault]:
    failed = {pairing for pairing, passed in played.items() if not passed}
    if not failed:
        return
    if len(failed) == len(played):
        yield Fault(scenario, delivery, tuple(sorted(failed)), everywhere=True)
        return
    blamed: set[Pairing] = set()
    for role in Role:
        for end in sorted({_end(pairing, role) for pairing in failed}):
            mine = {pairing for pairing in played if _end(pairing, role) == end}
            if mine <= failed and _stands_out(mine, _PEER[role], played):
                yield Fault(scenario, delivery, tuple(sorted(mine)), role, "+".join(end))
                blamed |= mine
    for pairing in sorted(failed - blamed):
        yield Fault(scenario, delivery, (pairing,))


_PEER = {Role.SERVER: Role.CLIENT, Role.CLIENT: Role.SERVER}


def _end(pairing: Pairing, role: Role) -> Pairing:
    """The part of a pairing that has the role: its server, or its clients."""
    return pairing[:1] if role is Role.SERVER else pairing[1:]


def _stands_out(mine: set[Pairing], peer: Role, played: _Played) -> bool:
    """Whether a peer in these pairings passes with another program, and so is not at fault."""
    peers = {_end(pairing, peer) for pairing in mine}
    return any(passed and _end(pairing, peer) in peers for pairing, passed in played.items())


# --- Mixed clients: other cases, with one client, show which of the programs is at fault ---


def _accused(found: Iterable[Fault], results: Iterable[Result]) -> set[_Program]:
    """The programs that are at fault in cases without mixed clients."""
    by_pairings = {(one.role, one.name) for one in found if one.role and not one.is_mixed}
    alone = [one for one in results if one.verdict is Verdict.FAILED and not one.expected]
    by_themselves = {
        program
        for result in alone
        if result.kind in (Kind.SERVER, Kind.CLIENT)
        for program in _programs((result.server or "", *result.clients))
    }
    return by_pairings | by_themselves


def _trusted(results: Iterable[Result]) -> set[_Program]:
    """The programs that pass at least one case without mixed clients."""
    return {
        program
        for result in results
        if result.verdict is Verdict.PASSED and result.kind is not Kind.MIXED
        for program in _programs((result.server or "", *result.clients))
    }


def _singled_out(fault: Fault, accused: set[_Program], trusted: set[_Program]) -> Fault:
    """Blame a failure with mixed clients on a program that is at fault elsewhere.

    It must be the only such program that takes part in all failing pairings. In one of these
    pairings, no other program may be at fault elsewhere, and all others must pass elsewhere.
    """
    if fault.role or not fault.is_mixed:
        return fault
    rooms = [_programs(pairing) for pairing in fault.pairings]
    culprits = accused.intersection(*rooms)
    clear = [one for one in rooms if accused & one == culprits and one - culprits <= trusted]
    if len(culprits) == 1 and clear:
        ((role, name),) = culprits
        return replace(fault, role=role, name=name)
    return fault


def _programs(pairing: Pairing) -> set[_Program]:
    server, *clients = pairing
    servers = {(Role.SERVER, server)} if server else set()
    return servers | {(Role.CLIENT, client) for client in clients}


def blame(results: Sequence[Result]) -> list[str]:
    """One line for each program at fault, and for each pairing in which only both together fail."""
    grouped: dict[str, list[str]] = {}
    for fault in faults(results):
        grouped.setdefault(accusation(fault), []).append(fault.where)
    return [f"{words}: {_shortened(keys)}" for words, keys in grouped.items()]


def accusation(fault: Fault) -> str:
    """`server go fails with every client, where another server passes`."""
    first, count = fault.pairings[0], len(fault.pairings)
    if fault.role is not None and fault.is_mixed and fault.everywhere:
        elsewhere = "as it fails elsewhere, where others pass"
        return f"{fault.role} {fault.name} fails with mixed clients, {elsewhere}"
    if fault.role is not None:
        return f"{fault.role} {fault.name} fails {_with(fault)}, where another {fault.role} passes"
    if not fault.everywhere:
        return f"{'+'.join(first)} fail only together"
    if count == 1:
        who = f"{first[0]} with mixed clients" if fault.is_mixed else "+".join(first)
        return f"{who} fail, and no other pairing was played to compare with"
    whose = "servers fail with mixed clients" if fault.is_mixed else "pairings fail"
    return f"all {count} {whose}"


def _with(fault: Fault) -> str:
    """The peers with which the program at fault fails."""
    assert fault.role
    peer, first = _PEER[fault.role], fault.pairings[0]
    if fault.is_mixed:
        return "with mixed clients"
    only = len(fault.pairings) == 1
    return f"with {peer} {_end(first, peer)[0]}" if only else f"with every {peer}"


def _shortened(keys: list[str], most: int = 4) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more
