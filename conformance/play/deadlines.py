"""How long the steps of a case may take. It knows no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from conformance.arguments import Bytes, Pattern
from conformance.model import Case, Implementation, Step, Trait

HURRY: Final = 10  # a step that was waited for in vain gets this part of its time


def timed(step: Step) -> bool:
    """Whether a step is slow for a good reason."""
    own = not step.options.keys().isdisjoint(("within", "not_before"))
    return own or Trait.LASTS in step.traits


@dataclass(frozen=True, slots=True)
class Deadlines:
    """What keeps a run from hanging, in seconds; a rule's own time stands in `within`."""

    step: float = 10.0  # for what must come
    start: float = 30.0  # for a program to get ready, or to write its first byte
    hurried: Step | None = None  # what other cases waited for in vain, several times: see patience

    def allow(self, step: Step) -> float:
        """How long a step may take, unless a program is still starting."""
        return self.whole(step) / (HURRY if step is self.hurried else 1)

    def starting(self, step: Step, implementation: Implementation | None = None) -> float:
        """How long a program may take to start, as its manifest says, while this step waits."""
        usual = self._start_of(implementation) if implementation else self.start
        return usual / (HURRY if step is self.hurried else 1)

    def whole(self, step: Step) -> float:
        """How long a step may take where nothing was waited for in vain.

        A step without `within` gets as many seconds again for each thousand lines, and for each
        megabyte, that it names.
        """
        within = step.options.get("within")
        if isinstance(within, int | float):
            return within
        if Trait.LASTS in step.traits:
            return self.step + step.takes(float)
        return self.step if step.argument is None else self.step * (1 + _size(step.argument))

    def longest(self, case: Case) -> float:
        """How long all steps of a case may take, and what starts in it."""
        steps = list(case.scenario.single_steps)
        starts = sum(Trait.WAITS_FOR_A_START in step.traits for step in steps)
        return sum(map(self.whole, steps)) + starts * self.longest_start(case)

    def longest_start(self, case: Case) -> float:
        """How long a program of a case may take to start, at the most."""
        return max(map(self._start_of, case.implementations), default=self.start)

    def _start_of(self, implementation: Implementation) -> float:
        return self.start if implementation.start is None else implementation.start


DEADLINES = Deadlines()  # unless a person says otherwise


def _size(argument: object) -> int:
    """Thousands of lines, or megabytes."""
    if isinstance(argument, Bytes):
        return argument.size // 1_000_000
    if isinstance(argument, Pattern):
        return argument.times // 1000
    return sum(map(_size, argument)) if isinstance(argument, tuple) else 0
