"""What was said and seen.

Two views of one case. The *timeline* holds every chunk as it came, with its time, for a person who
asks why a case failed. The *transcript* holds what the steps said and named, in the steps' order
and without times or ports, so that two implementations that behave alike leave the same bytes.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from conformance.match import decode

TIMELINE_CHUNKS = 4000  # the last ones are those that explain a failure
TIMELINE_BYTES = 2000  # of one chunk; a flood is not worth more

_MARKS = {"sent": ">", "seen": "<", "error": "!", "event": "*"}


@dataclass(slots=True)
class Transcript:
    """The record of one case; every actor writes into the same one."""

    started: float = field(default_factory=time.monotonic)
    _steps: list[str] = field(default_factory=list)
    _chunks: deque[tuple[float, str, str, bytes]] = field(
        default_factory=lambda: deque(maxlen=TIMELINE_CHUNKS)
    )

    def note(self, actor: str, how: str, data: bytes) -> None:
        """A chunk, as it came or went. `how`: sent, seen, error (standard error), event."""
        chunk = data if len(data) <= TIMELINE_BYTES else data[:TIMELINE_BYTES] + b" [...]\n"
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
        """The last lines of every actor, in the order of their coming."""
        rows: list[tuple[str, str]] = []
        for moment, actor, how, data in self._chunks:
            for line in decode(data).split("\n")[: -1 if data.endswith(b"\n") else None]:
                row = f"{moment * 1000:8.1f} ms  {actor} {_MARKS[how]} {visible(line)}"
                rows.append((actor, row))
        return tuple(_last_of_each(rows, lines_per_actor))

    def last_errors(self, actor: str, count: int) -> tuple[str, ...]:
        """The last lines that an actor wrote on its standard error."""
        data = b"".join(d for _, who, how, d in self._chunks if who == actor and how == "error")
        return tuple(visible(line) for line in decode(data).splitlines()[-count:])


def _last_of_each(rows: list[tuple[str, str]], count: int) -> list[str]:
    kept: list[str] = []
    of: dict[str, int] = {}
    for actor, row in reversed(rows):
        of[actor] = of.get(actor, 0) + 1
        if of[actor] <= count:
            kept.append(row)
    return kept[::-1]


def visible(text: str) -> str:
    """Text with nothing in it that a terminal acts on or a person cannot see."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as `decode` keeps it
        return f"\\x{code - 0xDC00:02x}"
    return {"\n": "⏎", "\t": "\\t", "\r": "\\r"}.get(char) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    )
