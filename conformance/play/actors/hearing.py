"""One stream of what an actor gets: lines are taken from it, and compared with the expected ones.

It knows no verb. The actor that owns a stream says how long to wait, and why nothing came.
"""

from __future__ import annotations

import itertools
import json
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

BYTES_AT_ONCE = 1 << 15  # compared, so that megabytes are not kept until the last one has come
BYTES_SHOWN = 60  # on each side of the first one that is wrong

_ENDS = {"eof": "the output ended", "reset": "the connection was reset"}


class Owner(Protocol):
    """What a stream asks of its actor."""

    trying: bool  # a step is only tried: it does not wait, and may be tried again

    def deadline(self, step: Step) -> float:
        """Until when the step may wait (monotonic)."""

    def silence(self, step: Step) -> str:
        """Why nothing came, in words."""


class InOrder:
    """Lines in their order, of which optional ones may be left out."""

    def __init__(self, patterns: Iterator[Pattern]) -> None:
        self._rest = patterns
        self.heads: list[Pattern] = []  # those that may come next; the last one must, or none must
        self._extend()

    @property
    def needs_more(self) -> bool:
        """Whether some line must still come."""
        return bool(self.heads) and not self.heads[-1].optional

    def takes(self, line: str) -> bool:
        """Whether the line is one that may come next; then the sequence goes on behind it."""
        for index, head in enumerate(self.heads):
            if head.meets(line):
                del self.heads[: index + 1]
                self._extend()
                return True
        return False

    def _extend(self) -> None:
        while not self.needs_more and (head := next(self._rest, None)):
            self.heads.append(head)


class Stream:
    """The lines of one source, and what is wrong with them."""

    def __init__(self, source: Source, owner: Owner, line_end: str = "\n") -> None:
        self._ear = Ear(source, encode(line_end))
        self._owner = owner
        self._line_end = line_end
        self._open: list[Pattern] = []  # optional lines that may come next
        self._kept: list[Pattern] = []  # the same, when `keep` was called

    # --- What may come or not ---

    def leave_open(self, patterns: Iterable[Pattern]) -> None:
        """These lines may come before whatever is expected next."""
        self._open += patterns

    def _passes(self, line: bytes) -> bool:
        """Whether a line is one of those that may come; then those before it will not."""
        text = decode(line)
        for index, pattern in enumerate(self._open):
            if pattern.meets(text):
                del self._open[: index + 1]
                return True
        self._open.clear()
        return False

    def _line(self, deadline: float) -> Heard:
        """The next line, behind those that may come."""
        heard = self._ear.line(deadline)
        while self._open and not heard.why and self._passes(heard.text):
            heard = self._ear.line(deadline)
        return heard

    # --- Trying ---

    def keep(self) -> None:
        """Keep what is taken from here on, so that it can be put back."""
        self._ear.keep()
        self._kept = list(self._open)

    def put_back(self, all_of_it: bool) -> None:
        """Put what was taken back, or be content with its having been taken."""
        self._ear.put_back(all_of_it)
        if all_of_it:
            self._open = list(self._kept)

    @property
    def came(self) -> float:
        """When what was last taken had come, or the end (monotonic)."""
        return self._ear.came

    # --- What must come ---

    def expect(self, patterns: Iterable[Pattern], step: Step) -> list[str]:
        """The next lines are these; the lines as they came. Raises Missed."""
        seen = []
        for pattern in patterns:
            if pattern.optional:
                self._open.append(pattern)
                continue
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
        line = None if self._open else self._ear.line_at_hand()
        if line is not None:
            return decode(line)
        heard = self._line(self._owner.deadline(step))
        if heard.why:
            late = heard.why == "nothing"
            raise Missed(str(wanted), decode(heard.text), self.why(heard, step), late=late)
        return decode(heard.text)

    def next(self, step: Step) -> Heard:
        """The next line, or why it did not come."""
        return self._line(self._owner.deadline(step))

    def until(self, deadline: float) -> Iterator[Heard]:
        """The lines that come until the deadline or the end; the last one says which."""
        heard = Heard(b"")
        while not heard.why:
            late = time.monotonic() > deadline
            heard = Heard(b"", "nothing") if late else self._line(deadline)
            yield heard

    def prompt(self, text: str, step: Step) -> None:
        """The next bytes are this text, without a line end; raises Missed."""
        wanted, deadline = encode(text), self._owner.deadline(step)
        self._pass_before(wanted, deadline)
        heard = self._ear.text(len(wanted), deadline)
        seen, late = decode(heard.text), heard.why == "nothing"
        if heard.why or seen != text:
            why = self.why(heard, step) or "a prompt was expected"
            raise Missed(text, seen, why, late=late)

    def _pass_before(self, wanted: bytes, deadline: float) -> None:
        """Take the lines that may come before this text."""
        while self._open and (line := self._ear.line_before(wanted, deadline)) is not None:
            if self._passes(line):
                self._ear.line(deadline)
        self._open.clear()

    def silence(self, seconds: float) -> None:
        """Nothing comes for so long, and it does not end; raises Missed."""
        heard, wanted = self._line(time.monotonic() + seconds), f"nothing for {seconds:g} s"
        if heard.why != "nothing":
            reason = _ENDS.get(heard.why, "an unexpected line")
            raise Missed(wanted, decode(heard.text), reason, extra=True)
        if heard.text:
            raise Missed(wanted, decode(heard.text), self._unended("text"), extra=True)

    def data(self, data: bytes, step: Step) -> None:
        """The next bytes are these, whatever is a line among them; raises Missed at the first
        that is another.
        """
        done, deadline = 0, self._owner.deadline(step)
        self._pass_before(data[:BYTES_SHOWN], deadline)
        while done < len(data):
            heard = self._ear.some(min(len(data) - done, BYTES_AT_ONCE), deadline)
            wanted = data[done : done + len(heard.text)]
            if heard.why or heard.text != wanted:
                pairs = enumerate(zip(wanted, heard.text, strict=True))
                place = done + next((i for i, (one, other) in pairs if one != other), 0)
                seen = data[:done] + heard.text
                why = self.why(heard, step) or "this one is another"
                reason = f"byte {place + 1} of {len(data)}: {why}"
                late = heard.why == "nothing"
                raise Missed(_around(data, place), _around(seen, place), reason, late=late)
            done += len(heard.text)

    def end(self, wanted: str, step: Step) -> str:
        """How it ends, "eof" or "reset"; lines or bytes before the end raise Missed."""
        heard = self.next(step)
        if not heard.why:
            raise Missed(wanted, decode(heard.text), "an unexpected line", extra=True)
        if heard.why == "nothing":
            raise Missed(wanted, decode(heard.text), self.why(heard, step), late=True)
        if heard.text:
            raise Missed(wanted, decode(heard.text), self._unended("text"), extra=True)
        return heard.why

    def check_rest(self, wanted: str) -> None:
        """Raise Missed where something has come that no step has named."""
        rest, end = self._ear.rest(), encode(self._line_end)
        while self._open and end in rest and self._passes(rest.partition(end)[0]):
            rest = rest.partition(end)[2]
        if rest:
            line, ended, _ = decode(rest).partition(self._line_end)
            reason = "an unexpected line" if ended else self._unended("text")
            raise Missed(wanted, line, reason, extra=True)

    def why(self, heard: Heard, step: Step) -> str:
        """Why a line did not come, in words; "" where it came."""
        if heard.why == "nothing":
            rest = f", only {self._unended('this')}" if heard.text else ""
            return self._owner.silence(step) + rest
        return heard.why and _ENDS.get(heard.why, f"reading failed: {heard.why}")

    def _unended(self, what: str) -> str:
        """`text without a line end`; what is not LF is named, since half of it may be there."""
        if self._line_end == "\n":
            return f"{what} without a line end"
        return f"{what} without the line end {json.dumps(self._line_end)}"

    def _comes_later(self, pattern: Pattern) -> bool:
        """Whether the expected line comes after all, behind one that no step names."""
        if self._owner.trying:
            return False
        heard = self.until(time.monotonic() + BEHIND_SECONDS)
        lines = (one.text for one in itertools.islice(heard, BEHIND_LINES) if not one.why)
        return any(pattern.meets(decode(line)) for line in lines)


def _around(data: bytes, place: int) -> str:
    """What stands around one byte, as text."""
    start, end = max(place - BYTES_SHOWN, 0), place + BYTES_SHOWN
    before, behind = "…" if start else "", "…" if end < len(data) else ""
    return before + decode(data[start:end]) + behind
