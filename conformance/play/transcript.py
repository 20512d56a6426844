"""What was said and seen in a case, in two views. It does not know what is right.

The *timeline* holds every chunk as it came, with its time, for a person who asks why a case failed.
The *transcript* holds what the steps said and named, in the order of the steps and without times or
ports: two implementations that behave alike give the same bytes.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from dataclasses import dataclass, field

from conformance.text import decode, visible

TIMELINE_CHUNKS = 4000  # the last ones explain a failure
TIMELINE_BYTES = 2000  # of one chunk
KEPT_BYTES = 64 << 10  # that an actor wrote: so many from the beginning, and as many from the end

_STREAMS = {"seen": "its output", "error": "its standard error"}
_MARKS = {"sent": ">", "seen": "<", "error": "!", "event": "*"}


@dataclass(slots=True)
class Spoken:
    """What one actor wrote on one stream: its beginning and its end."""

    head: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)
    left_out: int = 0  # bytes between these two

    def add(self, data: bytes) -> None:
        """Keep more."""
        room = KEPT_BYTES - len(self.head)
        if room > 0:
            self.head += data[:room]
            data = data[room:]
        self.tail += data
        surplus = len(self.tail) - KEPT_BYTES
        if surplus > KEPT_BYTES:  # not at each chunk: that would copy the rest each time
            del self.tail[:surplus]
            self.left_out += surplus

    def text(self, line_end: str) -> str:
        """All that was kept, made visible; of control characters only line ends are in it."""
        gap = f"{line_end}[... {self.left_out} bytes ...]{line_end}" if self.left_out else ""
        whole = decode(bytes(self.head)) + gap + decode(bytes(self.tail))
        return "\n".join(visible(line) for line in whole.split(line_end))


@dataclass(slots=True)
class Transcript:
    """The record of one case, which all its actors share."""

    started: float = field(default_factory=time.monotonic)
    line_ends: dict[str, str] = field(default_factory=dict)  # by actor, where it is not LF
    _steps: list[str] = field(default_factory=list)
    _chunks: deque[tuple[float, str, str, bytes]] = field(
        default_factory=lambda: deque(maxlen=TIMELINE_CHUNKS)
    )
    _spoken: defaultdict[tuple[str, str], Spoken] = field(
        default_factory=lambda: defaultdict(Spoken)
    )

    def note(self, actor: str, how: str, data: bytes) -> None:
        """A chunk, as it came or went. `how`: sent, seen, error (standard error), event."""
        if how in _STREAMS:
            self._spoken[actor, how].add(data)
        chunk = data if len(data) <= TIMELINE_BYTES else data[:TIMELINE_BYTES] + b" [...]"
        self._chunks.append((time.monotonic() - self.started, actor, how, chunk))

    def step(self, actor: str, mark: str, text: str, port: str = "") -> None:
        """A line of the transcript: what a step said, saw or did."""
        if port:
            text = text.replace(f":{port}", ":{port}")
        self._steps.append(f"{actor} {mark} {visible(text)}")

    @property
    def text(self) -> str:
        """The whole transcript."""
        return "".join(line + "\n" for line in self._steps)

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
        """What an actor wrote, on all of its streams."""
        mine = [one for (name, _), one in self._spoken.items() if name == actor]
        return "\n".join(one.text("\n") for one in mine)

    def errors(self, actor: str, count: int) -> tuple[str, ...]:
        """The first and the last lines of an actor's standard error, `count` of each."""
        spoken = self._spoken.get((actor, "error"))
        lines = spoken.text("\n").rstrip("\n").split("\n") if spoken else []
        between = len(lines) - 2 * count
        if between <= 1:  # saying so would take a line, too
            return tuple(lines)
        return (*lines[:count], f"[... {between} lines ...]", *lines[-count:])

    @property
    def output(self) -> str:
        """All that the actors wrote, by stream; of long streams the beginning and the end."""
        parts = []
        for (actor, how), spoken in self._spoken.items():
            end = self.line_ends.get(actor, "\n")
            if text := spoken.text(end).rstrip("\n"):
                parts.append(f"--- {actor}: {_STREAMS[how]} ---\n{text}\n")
        return "\n".join(parts)


def _last_of_each(rows: list[tuple[str, str]], count: int) -> list[str]:
    kept: list[str] = []
    of: dict[str, int] = {}
    for actor, row in reversed(rows):
        of[actor] = of.get(actor, 0) + 1
        if of[actor] <= count:
            kept.append(row)
    return kept[::-1]
