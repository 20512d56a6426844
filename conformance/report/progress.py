"""How far a run is: one live line on a terminal, elsewhere a line at each tenth."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from conformance.model import Result
from conformance.text import counted, visible

NAMED = 10  # surprises; the end of the run tells all of them
CLEAR = "\r\033[K"  # to the beginning of the line, and nothing on it


class Progress:
    """Counts the results of a run, and writes how many there are."""

    def __init__(self, planned: int, write: Callable[[str], object], live: bool) -> None:
        self._planned = planned
        self._write = write
        self._live = live
        self._played = 0
        self._seen: set[str] = set()
        self.surprises = 0

    def note(self, text: str) -> None:
        """A line that stays."""
        self._write(f"{CLEAR}{text}\n" if self._live else f"{text}\n")

    def played(self, result: Result) -> None:
        """One more result."""
        if result.id in self._seen:  # it was played once more, and this one counts
            return
        self._seen.add(result.id)
        self._played += 1
        if not result.expected:
            self.surprises += 1
            if self.surprises <= NAMED:
                self.note(f"{result.verdict} {visible(result.id)}")
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self._write(CLEAR + f"{self._counts()}  {visible(result.id)}"[:width])
        elif self._tenths(self._played) > self._tenths(self._played - 1):
            self._write(self._counts() + "\n")

    def close(self) -> None:
        """Nothing more will come."""
        if self._live:
            self._write(CLEAR)

    def _tenths(self, played: int) -> int:
        return 10 * played // self._planned

    def _counts(self) -> str:
        surprises = f", {self.surprises} not as expected" if self.surprises else ""
        return f"{self._played} of {counted(self._planned, 'case')}{surprises}"
