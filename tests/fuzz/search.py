"""Looks for a session in which not all agree, and makes it small: Hypothesis does both."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.errors import Flaky, HypothesisWarning
from hypothesis.strategies import SearchStrategy

T = TypeVar("T")


class Found(Exception):
    """A session in which something is wrong."""

    def __init__(self, session: Any, wrong: Any) -> None:
        super().__init__(str(wrong))
        self.session = session
        self.wrong = wrong


def search(
    strategy: SearchStrategy[T], play: Callable[[Any], object], number: int, examples: int
) -> Found | None:
    """Play so many sessions, the same ones for the same number; the smallest that shows a fault.

    `play` gives what is wrong, or nothing.
    """
    last: list[Found] = []

    @seed(number)
    @settings(
        max_examples=examples,
        phases=(Phase.generate, Phase.shrink),
        database=None,
        deadline=None,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(strategy)
    def each(session: T) -> None:
        if wrong := play(session):
            last.append(Found(session, wrong))
            raise last[-1]

    try:
        with warnings.catch_warnings():  # what it would show of a long text is shown nowhere
            warnings.simplefilter("ignore", HypothesisWarning)
            each()
    except Found as found:
        return found
    except Flaky:  # it does not happen each time: what was seen last is all there is
        return last[-1]
    return None
