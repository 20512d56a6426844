"""One stream of what an actor gets: lines are taken from it, and compared with the expected ones.

It knows no verb. The actor that owns a stream says how long to wait, and why nothing came.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from typing import Protocol

from conformance.arguments import Pattern
from conformance.model import Step
from conformance.play.actors.missed import Missed
from conformance.play.poll import Source
from conformance.play.terminal import Ear, Heard
from conformance.text import decode, encode

BEHIND_SECONDS = 1.0  # how long a failed step still looks for the line that it expected
BEHIND_LINES = 1000  # and in how many lines

_ENDS = {"eof": "the output ended", "reset": "the connection was reset"}


class Owner(Protocol):
    """What a stream asks of its actor."""

    def deadline(self, step: Step) -> float:
        """Until when the step may wait (monotonic)."""

    def silence(self, step: Step) -> str:
        """Why nothing came, in words."""


class Stream:
    """The lines of one source, and what is wrong with them."""

    def __init__(self, source: Source, owner: Owner) -> None:
        self._ear = Ear(source)
        self._owner = owner

    def expect(self, patterns: Iterable[Pattern], step: Step) -> list[str]:
        """The next lines are these; the lines as they came. Raises Missed."""
        seen = []
        for pattern in patterns:
            line = self.line(pattern, step)
            seen.append(line)
            if not pattern.meets(line):
                extra = self._comes_later(pattern)
                reason = "an unexpected line before the expected one" if extra else "another line"
                expected, shown, why = pattern.compared(line)
                raise Missed(expected, shown, why or reason, extra)
        return seen

    def line(self, wanted: object, step: Step) -> str:
        """The next line; raises Missed, with the words for what was wanted."""
        line = self._ear.line_at_hand()
        if line is not None:
            return decode(line)
        heard = self._ear.line(self._owner.deadline(step))
        if heard.why:
            raise Missed(str(wanted), decode(heard.text), self.why(heard, step))
        return decode(heard.text)

    def next(self, step: Step) -> Heard:
        """The next line, or why it did not come."""
        return self._ear.line(self._owner.deadline(step))

    def until(self, deadline: float) -> Iterator[Heard]:
        """The lines that come until the deadline or the end; the last one says which."""
        heard = Heard(b"")
        while not heard.why:
            late = time.monotonic() > deadline
            heard = Heard(b"", "nothing") if late else self._ear.line(deadline)
            yield heard

    def prompt(self, text: str, step: Step) -> None:
        """The next bytes are this text, without a line end; raises Missed."""
        heard = self._ear.text(len(encode(text)), self._owner.deadline(step))
        seen = decode(heard.text)
        if heard.why or seen != text:
            raise Missed(text, seen, self.why(heard, step) or "a prompt was expected")

    def end(self, wanted: str, step: Step) -> str:
        """How it ends, "eof" or "reset"; lines or bytes before the end raise Missed."""
        heard = self.next(step)
        if not heard.why:
            raise Missed(wanted, decode(heard.text), "an unexpected line", extra=True)
        if heard.why == "nothing":
            raise Missed(wanted, decode(heard.text), self.why(heard, step))
        if heard.text:
            raise Missed(wanted, decode(heard.text), "text without a line end", extra=True)
        return heard.why

    def check_rest(self, wanted: str) -> None:
        """Raise Missed where something has come that no step has named."""
        if rest := self._ear.rest():
            line, end, _ = decode(rest).partition("\n")
            reason = "an unexpected line" if end else "text without a line end"
            raise Missed(wanted, line, reason, extra=True)

    def why(self, heard: Heard, step: Step) -> str:
        """Why a line did not come, in words; "" where it came."""
        if heard.why == "nothing":
            rest = ", only this without a line end" if heard.text else ""
            return self._owner.silence(step) + rest
        return heard.why and _ENDS.get(heard.why, f"reading failed: {heard.why}")

    def _comes_later(self, pattern: Pattern) -> bool:
        """Whether the expected line comes after all, behind one that no step names."""
        heard = self.until(time.monotonic() + BEHIND_SECONDS)
        lines = (one.text for one in itertools.islice(heard, BEHIND_LINES) if not one.why)
        return any(pattern.meets(decode(line)) for line in lines)
