"""The order of the cases against a mutant: those that are likely to fail come first."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from conformance.model import Case
from conformance.play.schedule.deadlines import timed

# Parts of a scenario that do not change what is played, or that have no fixed order.
_LOOSE = re.compile(r"Place\([^()]*\)|frozenset\(\{[^{}]*\}\)")


def fingerprint(case: Case) -> str:
    """A hash of what is played: it changes with the steps and their options."""
    steps = repr((case.key, dict(case.scenario.cast), case.scenario.steps))
    return hashlib.sha256(_LOOSE.sub("", steps).encode()).hexdigest()[:12]


def ordered(cases: Iterable[Case], rule: str, first: Iterable[str] = ()) -> list[Case]:
    """The order of the cases against a mutant that breaks a rule.

    First come the cases named in `first`, which caught this mutant before; then those that prove
    the rule, those of its section, and all others. Within these, short cases come first, and cases
    that wait come last.
    """
    names = [*first]
    section = rule.rpartition("-")[0]

    def key(case: Case) -> tuple[bool, int, bool, int]:
        claims = case.scenario.claims
        steps = list(case.scenario.single_steps)
        near = 0 if rule in claims else 1 if _is_in(section, claims) else 2
        return case.key not in names, near, any(map(timed, steps)), len(steps)

    return sorted(cases, key=key)


def _is_in(section: str, rules: Iterable[str]) -> bool:
    return any(rule.rpartition("-")[0] == section for rule in rules)
