"""The transcripts of a run for the page. Cases with equal transcripts share one copy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from conformance.report.folder.transcripts import (
    output_name,
    streams,
    timed_name,
    transcript_name,
)
from conformance.text import visible

CHARACTERS = 20_000  # limit for each transcript and each stream; the files are complete

_TIMED = re.compile(r" *(\d+)\.(\d) ms  line (\d+)(?: \((\w+)\))?  (.*)")

_Row: TypeAlias = tuple[int, str, str]  # line in the scenario's file, origin of the step, text


@dataclass(slots=True)
class Said:
    """The transcripts of a run, without duplicates."""

    folder: Path | None
    outputs: bool = True  # whether to include the output of the programs
    _places: dict[tuple[_Row, ...], int] = field(default_factory=dict)

    @property
    def transcripts(self) -> list[list[list[Any]]]:
        """The distinct transcripts; `of` refers to them by index."""
        return [[list(row) for row in rows] for rows in self._places]

    def of(self, case_id: str) -> dict[str, Any]:
        """The index of a case's transcript, the times of its rows, and the output of programs."""
        found: dict[str, Any] = {}
        lines = self._lines(timed_name(case_id)) or self._lines(transcript_name(case_id))
        if lines is not None:
            rows, times = _read(map(visible, _bounded(lines, transcript_name(case_id))))
            found["transcript"] = self._places.setdefault(tuple(rows), len(self._places))
            if any(times):
                found["times"] = times
        name = output_name(case_id)
        if output := self._text(name) if self.outputs else None:
            found["output"] = {"file": name, "streams": list(_streams(output, name))}
        return found

    def _lines(self, name: str) -> list[str] | None:
        """The lines of a file; None if it does not exist."""
        text = self._text(name)
        return None if text is None else text.removesuffix("\n").split("\n")

    def _text(self, name: str) -> str | None:
        path = self.folder / name if self.folder else None
        if path is None or not path.is_file():
            return None
        return path.read_text("utf-8", "surrogateescape")


def _streams(text: str, name: str) -> Iterator[dict[str, Any]]:
    """The lines of each stream of each actor."""
    for one in streams(text):
        lines = list(_bounded(one.text.split("\n"), name))
        yield {"actor": one.actor, "what": one.stream, "lines": lines}


def _bounded(lines: list[str], name: str) -> Iterator[str]:
    """The first CHARACTERS of the lines, then a line that refers to the file for the rest."""
    left = CHARACTERS
    for number, line in enumerate(lines):
        if len(line) > left:
            rest = sum(map(len, lines[number:])) - left
            yield line[:left]
            yield f"… {rest:,} more characters in {name}"
            return
        yield line
        left -= len(line)


def _read(lines: Iterator[str]) -> tuple[list[_Row], list[int]]:
    """The rows, and for each the time since the row before, in tenths of a millisecond."""
    rows: list[_Row] = []
    times: list[int] = []
    before = 0
    for line in lines:
        if found := _TIMED.fullmatch(line):
            whole, tenths, place, origin, text = found.groups()
            now = int(whole) * 10 + int(tenths)
            rows.append((int(place), origin or "", text))
        else:  # an untimed line, or the last line of a truncated transcript
            now = before
            rows.append((0, "", line))
        times.append(now - before)
        before = now
    return rows, times
