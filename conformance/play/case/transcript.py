"""Records what was sent and seen in a case, in two views. It does not know what is right.

The *timeline* has each chunk of bytes as it came, with its time: it shows why a case failed. The
*transcript* has what the steps sent and saw, in the order of the steps, without times and ports:
two implementations that behave in the same way give the same bytes.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field

from conformance.mistakes import Place
from conformance.model import Origin, Step, Written
from conformance.text import decode, encode, visible

TIMELINE_CHUNKS = 4000  # only the last ones are kept
TIMELINE_BYTES = 2000  # kept of one chunk
KEPT_BYTES = 64 << 10  # of what an actor wrote: the first ones, and as many of the last ones

_STREAMS = {"seen": "its output", "error": "its standard error"}
_MARKS = {"sent": ">", "seen": "<", "error": "!", "event": "*"}


@dataclass(slots=True)
class Spoken:
    """What one actor wrote on one stream; the middle is left out if it is long."""

    head: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)
    left_out: int = 0  # bytes between head and tail

    def add(self, data: bytes) -> None:
        """Append data."""
        room = KEPT_BYTES - len(self.head)
        if room > 0:
            self.head += data[:room]
            data = data[room:]
        self.tail += data
        surplus = len(self.tail) - KEPT_BYTES
        if surplus > KEPT_BYTES:  # at twice the size, so that not every chunk causes a copy
            del self.tail[:surplus]
            self.left_out += surplus

    def text(self, line_end: str) -> str:
        """All that was kept; control characters other than line ends are made visible."""
        gap = f"{line_end}[... {self.left_out} bytes ...]{line_end}" if self.left_out else ""
        whole = decode(bytes(self.head)) + gap + decode(bytes(self.tail))
        return "\n".join(visible(line) for line in whole.split(line_end))


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the transcript: what an actor said, saw or did, and the step that names it."""

    actor: str
    mark: str
    text: str  # without control characters
    step: Step | None
    seconds: float  # since the case began

    @property
    def timed(self) -> str:
        """The line with its time, and with the line number of its step."""
        place = ""
        if self.step:
            origin = self.step.origin
            of = f" ({origin})" if origin in (Origin.FENCE, Origin.ENDING) else ""
            place = f"line {self.step.place.line}{of}"
        return f"{self.seconds * 1000:8.1f} ms  {place}  {self}"

    def __str__(self) -> str:
        return f"{self.actor} {self.mark} {self.text}"


_TIMED = re.compile(r" *([\d.]+) ms  (?:line (\d+)(?: \((\w+)\))?)?  (\S+) (\S+) (.*)")


def row(line: str) -> Row | None:
    """Parse a line that `Row.timed` has made; None if it is no such line."""
    found = _TIMED.fullmatch(line)
    if found is None:
        return None
    milliseconds, place, origin, actor, mark, text = found.groups()
    origin = Origin(origin) if origin else Origin.WRITTEN
    step = Step(Place("", int(place)), actor, "", origin=origin) if place else None
    return Row(actor, mark, text, step, float(milliseconds) / 1000)


@dataclass(slots=True)
class Transcript:
    """The record of one case; all its actors write into it."""

    started: float = field(default_factory=time.monotonic)
    line_ends: dict[str, str] = field(default_factory=dict)  # by actor; others have LF
    rows: list[Row] = field(default_factory=list)
    sent: int = 0  # lines that actors sent
    _playing: dict[str, Step] = field(default_factory=dict)  # by actor, its current step
    _chunks: deque[tuple[float, str, str, bytes]] = field(
        default_factory=lambda: deque(maxlen=TIMELINE_CHUNKS)
    )
    _spoken: defaultdict[tuple[str, str], Spoken] = field(
        default_factory=lambda: defaultdict(Spoken)
    )

    def note(self, actor: str, how: str, data: bytes) -> None:
        """Record a chunk. `how`: "sent", "seen", "error" (standard error) or "event"."""
        if how in _STREAMS:
            self._spoken[actor, how].add(data)
        if how == "sent":
            self.sent += max(1, data.count(encode(self.line_ends.get(actor, "\n"))))
        chunk = data if len(data) <= TIMELINE_BYTES else data[:TIMELINE_BYTES] + b" [...]"
        self._chunks.append((time.monotonic() - self.started, actor, how, chunk))

    def begins(self, step: Step) -> None:
        """Note that the actor of this step now plays it."""
        self._playing[step.actor] = step

    def step(self, actor: str, mark: str, text: str, port: str = "") -> None:
        """Record a line of the transcript: what a step said, saw or did."""
        if port:
            text = text.replace(f":{port}", ":{port}")
        passed = time.monotonic() - self.started
        self.rows.append(Row(actor, mark, visible(text), self._playing.get(actor), passed))

    @property
    def text(self) -> str:
        """The whole transcript."""
        return "".join(f"{row}\n" for row in self.rows)

    @property
    def timed(self) -> str:
        """The whole transcript; each line has its time and the line number of its step."""
        return "".join(f"{row.timed}\n" for row in self.rows)

    def timeline(self, lines_per_actor: int) -> tuple[str, ...]:
        """The last lines of every actor, in the order in which they came."""
        rows: list[tuple[str, str]] = []
        for moment, actor, how, data in self._chunks:
            lines = decode(data).split(self.line_ends.get(actor, "\n"))
            for line in lines if lines[-1] else lines[:-1]:
                row = f"{moment * 1000:8.1f} ms  {actor} {_MARKS[how]} {visible(line)}"
                rows.append((actor, row))
        return tuple(_last_of_each(rows, lines_per_actor))

    def said(self, actor: str) -> str:
        """What an actor wrote, on all its streams."""
        mine = [one for (name, _), one in self._spoken.items() if name == actor]
        return "\n".join(one.text("\n") for one in mine)

    def errors(self, actor: str, count: int) -> tuple[str, ...]:
        """The first and the last lines of an actor's standard error, `count` of each."""
        spoken = self._spoken.get((actor, "error"))
        lines = spoken.text("\n").rstrip("\n").split("\n") if spoken else []
        between = len(lines) - 2 * count
        if between <= 1:  # the note about the gap would take one line, too
            return tuple(lines)
        return (*lines[:count], f"[... {between} lines ...]", *lines[-count:])

    @property
    def output(self) -> tuple[Written, ...]:
        """What the actors wrote, by stream; streams without any text are left out."""
        return tuple(
            Written(actor, _STREAMS[how], text)
            for (actor, how), spoken in self._spoken.items()
            if (text := spoken.text(self.line_ends.get(actor, "\n")).rstrip("\n"))
        )


def _last_of_each(rows: list[tuple[str, str]], count: int) -> list[str]:
    kept: list[str] = []
    of: dict[str, int] = {}
    for actor, row in reversed(rows):
        of[actor] = of.get(actor, 0) + 1
        if of[actor] <= count:
            kept.append(row)
    return kept[::-1]
