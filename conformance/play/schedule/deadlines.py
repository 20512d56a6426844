"""How long the steps of a case may take. This module reads no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from conformance.arguments import Bytes, Pattern
from conformance.model import Case, Implementation, Step, Trait

SHORTENED_BY: Final = 10  # a shortened deadline is the usual one divided by this


def timed(step: Step) -> bool:
    """Whether the time of a step comes from a rule, so that a wait is no sign of a fault."""
    own = not step.options.keys().isdisjoint(("within", "not_before"))
    return own or Trait.LASTS in step.traits


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The deadlines that keep a run from hanging, in seconds.

    They are no rules of the protocol: a step names the time of a rule in `within`.
    """

    step: float = 10.0  # for a step to come true
    start: float = 30.0  # for a program to get ready, or to write its first byte
    shortened: Step | None = None  # has timed out in other cases: see patience

    def allow(self, step: Step) -> float:
        """The seconds that a step may take, unless a program is still starting."""
        return self.whole(step) / (SHORTENED_BY if step is self.shortened else 1)

    def starting(self, step: Step, implementation: Implementation | None = None) -> float:
        """The seconds that a program may take to start, while this step waits for it."""
        usual = self._start_of(implementation) if implementation else self.start
        return usual / (SHORTENED_BY if step is self.shortened else 1)

    def whole(self, step: Step) -> float:
        """The seconds that a step may take, if its deadline is not shortened.

        A step without `within` gets `self.step` seconds, and as many again for each thousand lines
        and for each megabyte in its argument.
        """
        within = step.options.get("within")
        if isinstance(within, int | float):
            return within
        if Trait.LASTS in step.traits:
            return self.step + step.takes(float)
        return self.step if step.argument is None else self.step * (1 + _size(step.argument))

    def longest(self, case: Case) -> float:
        """The seconds that all steps of a case, and the starts of its programs, may take."""
        steps = list(case.scenario.single_steps)
        starts = sum(Trait.WAITS_FOR_A_START in step.traits for step in steps)
        return sum(map(self.whole, steps)) + starts * self.longest_start(case)

    def longest_start(self, case: Case) -> float:
        """The seconds that the slowest program of a case may take to start."""
        return max(map(self._start_of, case.implementations), default=self.start)

    def _start_of(self, implementation: Implementation) -> float:
        return self.start if implementation.start is None else implementation.start


DEADLINES = Deadlines()  # the defaults


def _size(argument: object) -> int:
    """The size of an argument, in thousands of lines or in megabytes."""
    if isinstance(argument, Bytes):
        return argument.size // 1_000_000
    if isinstance(argument, Pattern):
        return argument.times // 1000
    return sum(map(_size, argument)) if isinstance(argument, tuple) else 0
