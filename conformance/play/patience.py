"""Where waiting is in vain: cases are not all to wait out the same deadline. It plays nothing.

A *situation* is a step with all that went before it in its case: the same programs, and the same
steps, word for word. Behind several dialogues, of which one came true, each case has situations of
its own. A program that has let the deadline pass in one situation several times, and has never done
in it what the step waits for, gets less time for this step in further cases. That is taken back as
soon as one case shows that the wait can end well: then the cases that had less time are played
again with all of it. So a run without failures never waits less. What is left: where no case at all
gets beyond a situation, one that would have got beyond it after the shorter time stays failed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass

from conformance.mistakes import Place
from conformance.model import Case, Outcome, Split, Step
from conformance.play.deadlines import timed

IN_VAIN = 3  # time-outs in one situation before further cases wait less


@dataclass(slots=True)
class Patience:
    """What a run has shown so far of each situation."""

    _in_vain: Counter[str] = field(default_factory=Counter)
    _came_true: set[str] = field(default_factory=set)
    _hurried: list[tuple[Case, str]] = field(default_factory=list)  # and the step's situation
    _backlog: list[tuple[Case, Outcome]] = field(default_factory=list)
    _situations: dict[str, list[str]] = field(default_factory=dict)  # by the case's id

    def hint(self, case: Case) -> tuple[int, ...]:
        """The number of the step that gets less time, if there is one."""
        if not self._in_vain:
            return ()
        for number, situation in enumerate(self._of(case)):
            if self._in_vain[situation] >= IN_VAIN and situation not in self._came_true:
                return (number,)
        return ()

    def note(self, case: Case, outcome: Outcome) -> None:
        """Take what a case has shown. Nothing is computed before the first time-out."""
        if not (self._in_vain or outcome.stalled):
            self._backlog.append((case, outcome))
            return
        while self._backlog:
            self._take(*self._backlog.pop())
        self._take(case, outcome)

    def contradicted(self) -> list[Case]:
        """The cases that had less time for what came true in another case."""
        return [case for case, situation in self._hurried if situation in self._came_true]

    def _take(self, case: Case, outcome: Outcome) -> None:
        if outcome.error is not None:
            return
        situations = self._of(case)
        self._came_true.update(situations[: outcome.reached])
        if outcome.stalled and not timed(case.scenario.steps[outcome.reached]):
            self._in_vain[situations[outcome.reached]] += 1
            if outcome.hurried:
                self._hurried.append((case, situations[outcome.reached]))

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
        if step.split is Split.EITHER:  # behind it, like words do not mean like situations
            digest.update(case.id.encode())
    return found


def _words(case: Case, step: Step) -> object:
    """What a step is, in words that are equal for equal steps."""
    member = case.scenario.cast.get(step.actor)
    words = (step.actor, str(member), step.verb, step.argument, step.options)
    branches = [[_words(case, one) for one in branch] for branch in step.branches]
    return _bare(words), str(step.split), branches


def _bare(value: object) -> object:
    """The same as plain data, without the places in files."""
    if isinstance(value, Place):
        return None
    if isinstance(value, tuple | list):
        return [_bare(item) for item in value]
    if isinstance(value, Mapping):
        return sorted((str(key), repr(_bare(item))) for key, item in value.items())
    if is_dataclass(value):
        return [_bare(getattr(value, part.name)) for part in fields(value) if part.repr]
    return value
