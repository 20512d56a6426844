"""Failure rates of cases that were played several times, with confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from conformance.model import Result
from conformance.text import counted

SHOWN = 10  # flaky cases that are listed
_Z = 1.96  # standard deviations, for 95 %
_RULE_OF_THREE = 3  # with no failure in n plays, the rate is below 3/n with 95 % confidence


def interval(count: int, of: int) -> tuple[float, float]:
    """The 95 % confidence interval of a rate (Wilson score interval)."""
    rate, square = count / of, _Z * _Z / of
    middle = (rate + square / 2) / (1 + square)
    width = _Z / (1 + square) * math.sqrt(rate * (1 - rate) / of + square / (4 * of))
    return max(middle - width, 0.0), min(middle + width, 1.0)


def flaky_cases(results: Sequence[Result]) -> list[str]:
    """A line for each flaky case, then a line about all repeated cases; empty without any."""
    repeated = [one for one in results if one.played > 1]
    some = [one for one in repeated if 0 < one.passed < one.played]
    lines = [_told(one) for one in some[:SHOWN]]
    if more := len(some) - len(lines):
        lines.append(f"and {counted(more, 'more flaky case')}")
    return [*lines, _whole(repeated, len(some))] if repeated else []


def _told(result: Result) -> str:
    low, high = interval(result.played - result.passed, result.played)
    return f"{result.repeated}: {result.id}: fails {low:.0%} to {high:.0%} of the time"


def _whole(repeated: Sequence[Result], differing: int) -> str:
    """`2592 cases × 20: none was flaky; …`, or how many were."""
    least, most = min(one.played for one in repeated), max(one.played for one in repeated)
    times = str(most) if least == most else f"{least} to {most}"
    head = f"{counted(len(repeated), 'case')} × {times}"
    if differing:
        return f"{head}: {differing} flaky"
    plays = sum(one.played for one in repeated)
    rare = f"{plays // _RULE_OF_THREE:,}"
    return f"{head}: none was flaky; with 95 % confidence, fewer than 1 play in {rare} differs"
