"""One stream of what an actor gets: takes lines from it, and compares them with the expected ones.

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
from conformance.play.case.poll import Source
from conformance.play.terminals.terminal import Heard, LineReader
from conformance.text import decode, encode

BEHIND_SECONDS = 1.0  # for how long a failed step still looks for the expected line
BEHIND_LINES = 1000  # in how many lines it looks at most

BYTES_AT_ONCE = 1 << 15  # compared at once, so that megabytes need not be kept
BYTES_SHOWN = 60  # on each side of the first wrong byte

# So often is a line of `sees_all` compared, if it may belong to its sequences in many ways.
MOST_COMPARED = 1024

_Places = tuple[int, ...]  # how many lines of each sequence have come or were left out
_Captured = tuple[tuple[Pattern, str], ...]

_ENDS = {"eof": "the output ended", "reset": "the connection was reset"}


class Owner(Protocol):
    """What a stream needs from its actor."""

    trying: bool  # a step is only tried: it does not wait, and may be tried again

    def deadline(self, step: Step) -> float:
        """The time (monotonic) until which the step may wait."""

    def silence(self, step: Step) -> str:
        """Why nothing came, in words."""


class InOrder:
    """A sequence of lines, in which optional lines may be missing."""

    def __init__(self, patterns: Iterator[Pattern]) -> None:
        self._rest = patterns
        self._known: list[Pattern] = []  # the beginning of the sequence, as far as it was needed

    def heads(self, place: int) -> Iterator[Pattern]:
        """What may come next behind so many lines: optional ones, then at most one required."""
        for index in itertools.count(place):
            if index == len(self._known):
                self._known += itertools.islice(self._rest, 1)
            if index == len(self._known):
                return
            yield self._known[index]
            if not self._known[index].optional:
                return


class Interleaved:
    """Several sequences of lines that come interleaved.

    A line may fit several sequences, and only a later one may show to which it belongs. So this
    keeps each combination of places up to which the sequences may have come: not all of them where
    they are many, but always one.
    """

    def __init__(self, sequences: Iterable[Iterator[Pattern]]) -> None:
        self._sequences = [InOrder(sequence) for sequence in sequences]
        self._most = max(1, MOST_COMPARED // max(1, len(self._sequences)))
        # With each combination, the lines from which parts were captured on the way to it.
        self._ways: dict[_Places, _Captured] = {(0,) * len(self._sequences): ()}
        self._look()

    @property
    def heads(self) -> list[Pattern]:
        """All that may come next."""
        heads = (head for nexts in self._nexts.values() for _, _, head in nexts)
        return list(dict.fromkeys(heads))

    def takes(self, line: str) -> bool:
        """Whether the line may come next; if so, the sequences advance behind it."""
        ways: dict[_Places, _Captured] = {}
        for places, nexts in self._nexts.items():
            for which, behind, head in nexts:
                if head.meets(line):
                    more = ((head, line),) if head.captures else ()
                    after = (*places[:which], behind, *places[which + 1 :])
                    ways.setdefault(after, self._ways[places] + more)
        self._ways = dict(itertools.islice(ways.items(), self._most))
        self._look()
        return bool(ways)

    def ends(self) -> list[Pattern] | None:
        """The optional lines that may still come; None if a required one must."""
        for places, nexts in self._nexts.items():
            if all(head.optional for _, _, head in nexts):
                for pattern, line in self._ways[places]:
                    pattern.meets(line)  # what was captured on other ways does not count
                return [head for _, _, head in nexts]
        return None

    def _look(self) -> None:
        """Find what may come next in each combination."""
        self._nexts = {places: list(self._next(places)) for places in self._ways}

    def _next(self, places: _Places) -> Iterator[tuple[int, int, Pattern]]:
        """What may come next: in which sequence, the place behind it there, and itself."""
        for which, sequence in enumerate(self._sequences):
            for behind, head in enumerate(sequence.heads(places[which]), places[which] + 1):
                yield which, behind, head


class Stream:
    """The lines of one source; its methods raise Missed if they are not as expected."""

    def __init__(self, source: Source, owner: Owner, line_end: str = "\n") -> None:
        self._reader = LineReader(source, encode(line_end))
        self._owner = owner
        self._line_end = line_end
        self._open: list[Pattern] = []  # optional lines that may come next
        self._kept: list[Pattern] = []  # `_open`, as it was when `keep` was called

    # --- Optional lines ---

    def leave_open(self, patterns: Iterable[Pattern]) -> None:
        """Allow these lines before the next expected one."""
        self._open += patterns

    def _passes(self, line: bytes) -> bool:
        """Whether a line is an optional one; if so, those before it may no longer come."""
        text = decode(line)
        for index, pattern in enumerate(self._open):
            if pattern.meets(text):
                del self._open[: index + 1]
                return True
        self._open.clear()
        return False

    def _line(self, deadline: float) -> Heard:
        """The next line that is not an optional one."""
        heard = self._reader.line(deadline)
        while self._open and not heard.why and self._passes(heard.text):
            heard = self._reader.line(deadline)
        return heard

    # --- Trying ---

    def keep(self) -> None:
        """From now on, keep what is taken, so that it can be put back."""
        self._reader.keep()
        self._kept = list(self._open)

    def put_back(self, all_of_it: bool) -> None:
        """Stop keeping; `all_of_it`: put back what was taken since `keep`."""
        self._reader.put_back(all_of_it)
        if all_of_it:
            self._open = list(self._kept)

    @property
    def came(self) -> float:
        """The time (monotonic) at which the last taken bytes, or the end, had come."""
        return self._reader.came

    # --- What must come ---

    def expect(self, patterns: Iterable[Pattern], step: Step) -> list[str]:
        """Take the next lines, which must meet these patterns; returns them. Raises Missed."""
        seen = []
        for pattern in patterns:
            if pattern.optional:
                self._open.append(pattern)
                continue
            line = self.line(pattern, step)
            seen.append(line)
            if not pattern.meets(line):
                extra = self._comes_later(pattern)
                other = "an unexpected line" if line else "an unexpected empty line"
                reason = f"{other} before the expected one" if extra else "another line"
                expected, shown, why = pattern.compared(line)
                raise Missed(expected, shown, why or reason, extra)
        return seen

    def line(self, wanted: object, step: Step) -> str:
        """Take the next line; raises Missed if none comes. `wanted` describes the expected one."""
        line = None if self._open else self._reader.buffered_line()
        if line is not None:
            return decode(line)
        heard = self._line(self._owner.deadline(step))
        if heard.why:
            late = heard.why == "nothing"
            raise Missed(str(wanted), decode(heard.text), self.why(heard, step), late=late)
        return decode(heard.text)

    def next(self, step: Step) -> Heard:
        """Take the next line; if none comes, the result says why."""
        return self._line(self._owner.deadline(step))

    def until(self, deadline: float) -> Iterator[Heard]:
        """Yield lines until the deadline or the end; the last item says which of them it was.

        What has come by now is looked at even if the deadline is over.
        """
        most: int | None = None  # lines that have come by the deadline
        for count in itertools.count():
            if most is None and time.monotonic() > deadline:
                most = count + self._reader.rest().count(encode(self._line_end))
            late = most is not None and count > most
            heard = Heard(b"", "nothing") if late else self._line(deadline)
            yield heard
            if heard.why:
                return

    def prompt(self, text: str, step: Step) -> None:
        """Take this text, without a line end; raises Missed if other bytes come."""
        wanted, deadline = encode(text), self._owner.deadline(step)
        self._pass_before(wanted, deadline)
        heard = self._reader.text(len(wanted), deadline)
        seen, late = decode(heard.text), heard.why == "nothing"
        if heard.why or seen != text:
            why = self.why(heard, step) or "a prompt was expected"
            raise Missed(text, seen, why, late=late)

    def _pass_before(self, wanted: bytes, deadline: float) -> None:
        """Take the optional lines before this text."""
        while self._open and (line := self._reader.line_before(wanted, deadline)) is not None:
            if self._passes(line):
                self._reader.line(deadline)
        self._open.clear()

    def silence(self, seconds: float) -> None:
        """Wait for these seconds; raises Missed if something comes, or the stream ends."""
        heard, wanted = self._line(time.monotonic() + seconds), f"nothing for {seconds:g} s"
        if heard.why != "nothing":
            reason = _ENDS.get(heard.why, "an unexpected line")
            raise Missed(wanted, decode(heard.text), reason, extra=True)
        if heard.text:
            raise Missed(wanted, decode(heard.text), self._unended("text"), extra=True)

    def data(self, data: bytes, step: Step) -> None:
        """Take these bytes, lines or not; raises Missed at the first byte that differs."""
        done, deadline = 0, self._owner.deadline(step)
        self._pass_before(data[:BYTES_SHOWN], deadline)
        while done < len(data):
            heard = self._reader.some(min(len(data) - done, BYTES_AT_ONCE), deadline)
            wanted = data[done : done + len(heard.text)]
            if heard.why or heard.text != wanted:
                pairs = enumerate(zip(wanted, heard.text, strict=True))
                place = done + next((i for i, (one, other) in pairs if one != other), 0)
                seen = data[:done] + heard.text
                why = self.why(heard, step) or "it differs"
                reason = f"byte {place + 1} of {len(data)}: {why}"
                late = heard.why == "nothing"
                raise Missed(_around(data, place), _around(seen, place), reason, late=late)
            done += len(heard.text)

    def end(self, wanted: str, step: Step) -> str:
        """Wait for the end; returns "eof" or "reset". Raises Missed if anything comes before it."""
        heard = self.next(step)
        if not heard.why:
            raise Missed(wanted, decode(heard.text), "an unexpected line", extra=True)
        if heard.why == "nothing":
            raise Missed(wanted, decode(heard.text), self.why(heard, step), late=True)
        if heard.text:
            raise Missed(wanted, decode(heard.text), self._unended("text"), extra=True)
        return heard.why

    def check_rest(self, wanted: str) -> None:
        """Raise Missed if something has come that no step has named."""
        rest, end = self._reader.rest(), encode(self._line_end)
        while self._open and end in rest and self._passes(rest.partition(end)[0]):
            rest = rest.partition(end)[2]
        if rest:
            line, ended, _ = decode(rest).partition(self._line_end)
            reason = "an unexpected line" if ended else self._unended("text")
            raise Missed(wanted, line, reason, extra=True)

    def why(self, heard: Heard, step: Step) -> str:
        """The reason why no line came, as text; "" if one came."""
        if heard.why == "nothing":
            rest = f", only {self._unended('this')}" if heard.text else ""
            return self._owner.silence(step) + rest
        return heard.why and _ENDS.get(heard.why, f"reading failed: {heard.why}")

    def _unended(self, what: str) -> str:
        """`text without a line end`. Names a line end other than LF: half of it may have come."""
        if self._line_end == "\n":
            return f"{what} without a line end"
        return f"{what} without the line end {json.dumps(self._line_end)}"

    def _comes_later(self, pattern: Pattern) -> bool:
        """Whether the expected line still comes, after one that no step names."""
        if self._owner.trying:
            return False
        heard = self.until(time.monotonic() + BEHIND_SECONDS)
        lines = (one.text for one in itertools.islice(heard, BEHIND_LINES) if not one.why)
        return any(pattern.meets(decode(line)) for line in lines)


def _around(data: bytes, place: int) -> str:
    """The bytes around one place, as text."""
    start, end = max(place - BYTES_SHOWN, 0), place + BYTES_SHOWN
    before, behind = "…" if start else "", "…" if end < len(data) else ""
    return before + decode(data[start:end]) + behind
