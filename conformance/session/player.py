"""Plays the cases: each one once, several times, for some minutes, or with a pause at failures."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from conformance.builds.build import Build
from conformance.model import Case, Failure, FailureKind, Outcome, Suite
from conformance.play.case import runner
from conformance.play.case.hold import Hold
from conformance.play.network import fixed_ports
from conformance.play.schedule.deadlines import Deadlines
from conformance.play.schedule.patience import Patience
from conformance.play.schedule.pool import Hint, contained, no_hint, play_all
from conformance.session.request import Request


@dataclass(frozen=True, slots=True)
class Player:
    """Plays cases as the request says. It judges nothing."""

    request: Request
    suite: Suite
    builds: Mapping[str, Build]

    def longest(self, case: Case) -> float:
        """The seconds that the steps of a case, and the wait for its ports, can take at most."""
        waiting = fixed_ports.TURN_SECONDS + fixed_ports.LINGER_SECONDS
        turn = waiting if fixed_ports.exclusive_ports(case) else 0.0
        return Deadlines(self.request.deadline).longest(case) + turn

    def play(
        self, case: Case, shortened: int | None = None, over: Failure | None = None
    ) -> Outcome:
        """Play a case in this process.

        `shortened` is the number of the step that gets a shortened deadline. `over` is the failure
        of a program that exceeded a limit in an earlier case: then this case is not played.
        """
        if over:
            return Outcome(0.0, failure=over)
        step = None if shortened is None else case.scenario.steps[shortened]
        deadlines = Deadlines(self.request.deadline, shortened=step)
        confined = bool(self.request.against)
        return runner.play(case, self.suite, self.builds, deadlines, self.request.hold, confined)

    def play_all(
        self, cases: Sequence[Case], jobs: int, hint: Hint = no_hint
    ) -> Generator[tuple[Case, Outcome]]:
        """Play cases in worker processes, each one `repeat` times."""
        often = self._often(cases)
        return play_all(often, self.play, jobs=jobs, limit=self.longest, hint=hint)

    def _often(self, cases: Sequence[Case]) -> list[Case]:
        return [case for case in cases for _ in range(self.request.repeat)]

    def played(self, cases: Sequence[Case], jobs: int) -> Iterator[tuple[Case, Outcome]]:
        """Play all cases; yields an outcome each time that a case was played."""
        if self.request.hold:
            yield from self._held(cases, self.request.hold)
        elif self.request.minutes:
            yield from self._for_minutes(cases, jobs)
        elif self.request.repeat > 1:  # full deadlines: a case may be slow only sometimes
            yield from self.play_all(cases, jobs)
        else:
            yield from self._with_patience(cases, jobs)

    def _held(self, cases: Sequence[Case], hold: Hold) -> Iterator[tuple[Case, Outcome]]:
        for case in self._often(cases):
            yield case, contained(self.play, case)
            if hold.ended:
                return

    def _for_minutes(self, cases: Sequence[Case], jobs: int) -> Iterator[tuple[Case, Outcome]]:
        until, is_first = time.monotonic() + 60 * self.request.minutes, True
        while is_first or time.monotonic() < until:
            for pair in self.play_all(cases, jobs):
                yield pair
                if not is_first and time.monotonic() >= until:
                    return
            is_first = False

    def _with_patience(self, cases: Sequence[Case], jobs: int) -> Iterator[tuple[Case, Outcome]]:
        patience, over = Patience(), dict[str, Failure]()

        def hint(case: Case) -> tuple[object, ...]:
            failure = next(
                (over[one.label] for one in case.implementations if one.label in over), None
            )
            return (None, failure) if failure else patience.hint(case)

        for case, outcome in self.play_all(cases, jobs, hint):
            if outcome.failure and outcome.failure.kind is FailureKind.LIMIT:
                over |= self._not_to_be_played(outcome.failure)
            else:
                patience.note(case, outcome)
            yield case, outcome
        yield from self.play_all(patience.to_replay(), jobs)

    def _not_to_be_played(self, excess: Failure) -> dict[str, Failure]:
        """The label of a program that exceeded a limit, with the failure of its other cases.

        Not the program that all others are judged with: one of them may have driven it so far.
        """
        if excess.program.partition("-")[2] == self.request.against:
            return {}
        reason = "the program was killed in another case, so this one was not played"
        return {excess.program: replace(excess, reason=reason)}
