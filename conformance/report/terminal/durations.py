"""The text of --durations: the slowest cases, and the kinds of steps that took the most time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from conformance.model import Case, Outcome

K = TypeVar("K")


@dataclass(slots=True)
class Durations:
    """The times of cases and of kinds of steps."""

    cases: dict[str, float] = field(default_factory=dict)  # case id → seconds
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)  # actor, verb → seconds
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)  # actor, verb → steps

    def add(self, case: Case, outcome: Outcome) -> None:
        """Add the times of one case."""
        self.cases[case.id] = outcome.seconds
        for doing, (count, seconds) in outcome.spent.items():
            self.counts[doing] += count
            self.seconds[doing] = self.seconds.get(doing, 0.0) + seconds

    def table(self, most: int) -> str:
        """The `most` slowest cases and kinds of steps; 0: all of them."""
        if not self.cases:
            return "no case was played"
        return "\n".join([*self._slowest(most), "", *self._spent(most)])

    def _slowest(self, most: int) -> Iterator[str]:
        yield "the slowest cases:"
        for name, seconds in _largest(self.cases, most):
            yield f"{seconds:8.2f} s  {name}"

    def _spent(self, most: int) -> Iterator[str]:
        whole = sum(self.cases.values())
        yield f"the steps that took most of {whole:.1f} s (the sum of all cases):"
        for (who, what), seconds in _largest(self.seconds, most):
            count = self.counts[who, what]
            each = f"{count} × {seconds / count * 1000:.1f} ms"
            yield f"{seconds:8.2f} s  {_share(seconds, whole)}  {who} {what}  ({each})"


def _largest(values: Mapping[K, float], most: int) -> list[tuple[K, float]]:
    return sorted(values.items(), key=lambda item: -item[1])[: most or None]


def _share(part: float, whole: float) -> str:
    return f"{part / whole if whole else 0:4.0%}"
