"""How long the steps of a case may take. It knows no clock."""

from __future__ import annotations

from dataclasses import dataclass

from conformance.arguments import Bytes, Pattern
from conformance.model import Case, Step, Trait


def timed(step: Step) -> bool:
    """Whether a step is slow for a good reason."""
    return "within" in step.options or Trait.LASTS in step.traits


@dataclass(frozen=True, slots=True)
class Deadlines:
    """What keeps a run from hanging, in seconds; a rule's own time stands in `within`."""

    step: float = 10.0  # for what must come
    start: float = 30.0  # for a program to get ready, or to write its first byte

    def allow(self, step: Step) -> float:
        """How long a step may take, unless a program is still starting.

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
        return sum(map(self.allow, steps)) + starts * self.start


DEADLINES = Deadlines()  # unless a person says otherwise


def _size(argument: object) -> int:
    """Thousands of lines, or megabytes."""
    if isinstance(argument, Bytes):
        return argument.size // 1_000_000
    if isinstance(argument, Pattern):
        return argument.times // 1000
    return sum(map(_size, argument)) if isinstance(argument, tuple) else 0
