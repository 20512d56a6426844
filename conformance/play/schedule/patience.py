"""Shortens deadlines where many cases time out in the same way. This module plays nothing.

Without it, a program that does one thing wrong could let hundreds of cases wait for the full
deadline. A *situation* is a step with everything before it in its case: the same programs, and the
same steps, word for word. (After an `either`, situations are never the same in two cases.)

When a program has timed out MOST_TIMEOUTS times in one situation, and has never passed it, the step
gets a shortened deadline in later cases. When a later case passes the situation nevertheless, the
cases that had a shortened deadline are played again with the full one. So a run without failures
never shortens a deadline. One wrong verdict remains possible: if no case passes a situation, a case
that would have passed it after the shortened deadline stays failed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass

from conformance.mistakes import Place
from conformance.model import Case, Outcome, Split, Step
from conformance.play.schedule.deadlines import timed

MOST_TIMEOUTS = 3  # in one situation; then later cases get a shortened deadline


@dataclass(slots=True)
class Patience:
    """What a run has shown so far about each situation."""

    _timeouts: Counter[str] = field(default_factory=Counter)
    _came_true: set[str] = field(default_factory=set)
    _shortened: list[tuple[Case, str]] = field(default_factory=list)  # and the step's situation
    _backlog: list[tuple[Case, Outcome]] = field(default_factory=list)
    _situations: dict[str, list[str]] = field(default_factory=dict)  # by the case's id

    def hint(self, case: Case) -> tuple[int, ...]:
        """The number of the step that gets a shortened deadline, if there is one."""
        if not self._timeouts:
            return ()
        for number, situation in enumerate(self._of(case)):
            if self._timeouts[situation] >= MOST_TIMEOUTS and situation not in self._came_true:
                return (number,)
        return ()

    def note(self, case: Case, outcome: Outcome) -> None:
        """Learn from the outcome of a case. Nothing is computed before the first timeout."""
        if not (self._timeouts or outcome.timed_out):
            self._backlog.append((case, outcome))
            return
        while self._backlog:
            self._take(*self._backlog.pop())
        self._take(case, outcome)

    def to_replay(self) -> list[Case]:
        """The cases whose step had a shortened deadline, but came true in another case."""
        return [case for case, situation in self._shortened if situation in self._came_true]

    def _take(self, case: Case, outcome: Outcome) -> None:
        if outcome.error is not None:
            return
        situations = self._of(case)
        self._came_true.update(situations[: outcome.reached])
        if outcome.timed_out and not timed(case.scenario.steps[outcome.reached]):
            self._timeouts[situations[outcome.reached]] += 1
            if outcome.shortened:
                self._shortened.append((case, situations[outcome.reached]))

    def _of(self, case: Case) -> list[str]:
        """The situation of each step of a case."""
        if case.id not in self._situations:
            self._situations[case.id] = _situations(case)
        return self._situations[case.id]


def _situations(case: Case) -> list[str]:
    programs = [one.label for one in case.implementations]
    digest, found = hashlib.sha256(repr(programs).encode()), []
    for step in case.scenario.steps:
        digest.update(repr(_words(case, step)).encode("utf-8", "backslashreplace"))
        found.append(digest.hexdigest())
        if step.split is Split.EITHER:  # cases may have taken different branches
            digest.update(case.id.encode())
    return found


def _words(case: Case, step: Step) -> object:
    """A step as plain data, which is equal for equal steps."""
    member = case.scenario.cast.get(step.actor)
    words = (step.actor, str(member), step.verb, step.argument, step.options)
    branches = [[_words(case, one) for one in branch] for branch in step.branches]
    return _bare(words), str(step.split), branches


def _bare(value: object) -> object:
    """A value as plain data, without places in files."""
    if isinstance(value, Place):
        return None
    if isinstance(value, tuple | list):
        return [_bare(item) for item in value]
    if isinstance(value, Mapping):
        return sorted((str(key), repr(_bare(item))) for key, item in value.items())
    if is_dataclass(value):
        return [_bare(getattr(value, part.name)) for part in fields(value) if part.repr]
    return value
