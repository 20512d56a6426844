"""Which of two programs is at fault, as far as other pairings show. It knows results alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from conformance.model import Kind, Result, Role, Verdict


@dataclass(frozen=True, slots=True)
class Fault:
    """Failing pairings of one scenario, and the program that other pairings show to be at fault."""

    scenario: str
    pairings: tuple[tuple[str, str], ...]  # (server, client)
    role: Role | None = None  # None: the other pairings do not show it
    name: str = ""
    everywhere: bool = False  # no pairing of this scenario passes


def faults(results: Iterable[Result]) -> list[Fault]:
    """Every unexpected failure of a pairing, blamed as far as the other pairings allow."""
    scenarios = _pairings(results)
    return [fault for key, played in scenarios.items() for fault in _faults_of(key, played)]


def _pairings(results: Iterable[Result]) -> dict[str, dict[tuple[str, str], bool]]:
    """Scenario → (server, client) → whether it passed. Known failures are left out."""
    scenarios: dict[str, dict[tuple[str, str], bool]] = {}
    for result in results:
        if result.kind is not Kind.PAIRING:
            continue
        passed = result.verdict is Verdict.PASSED
        if passed or (result.verdict is Verdict.FAILED and not result.expected):
            pair = (result.server or "", result.clients[0])
            scenarios.setdefault(result.scenario, {})[pair] = passed
    return scenarios


def _faults_of(scenario: str, played: dict[tuple[str, str], bool]) -> Iterator[Fault]:
    failed = {pair for pair, passed in played.items() if not passed}
    if not failed:
        return
    if len(failed) == len(played):
        yield Fault(scenario, tuple(sorted(failed)), everywhere=True)
        return
    blamed: set[tuple[str, str]] = set()
    for end, role in enumerate((Role.SERVER, Role.CLIENT)):
        for name in sorted({pair[end] for pair in failed}):
            pairs = {pair for pair in played if pair[end] == name}
            if pairs <= failed and _stands_out(pairs, end, played):
                yield Fault(scenario, tuple(sorted(pairs)), role, name)
                blamed |= pairs
    for pair in sorted(failed - blamed):
        yield Fault(scenario, (pair,))


def _stands_out(pairs: set[tuple[str, str]], end: int, played: dict[tuple[str, str], bool]) -> bool:
    """Whether some peer of these pairs passes with another program, so that it is not at fault."""
    peers = {pair[1 - end] for pair in pairs}
    return any(passed and pair[1 - end] in peers for pair, passed in played.items())


def blame(results: Iterable[Result]) -> list[str]:
    """One line for each program at fault, and for each pairing that fails only together."""
    grouped: dict[str, list[str]] = {}
    for fault in faults(results):
        grouped.setdefault(_accusation(fault), []).append(fault.scenario)
    return [f"{accusation}: {_shortened(keys)}" for accusation, keys in grouped.items()]


def _accusation(fault: Fault) -> str:
    if fault.role is not None:
        peer = Role.CLIENT if fault.role is Role.SERVER else Role.SERVER
        who = f"{fault.role} {fault.name}"
        return f"{who} fails with every {peer}, where another {fault.role} passes"
    pairing = "+".join(fault.pairings[0])
    if not fault.everywhere:
        return f"{pairing} fail only together"
    if len(fault.pairings) == 1:
        return f"{pairing} fail, and no other pairing was played to compare with"
    return f"all {len(fault.pairings)} pairings fail"


def _shortened(keys: list[str], most: int = 4) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more
