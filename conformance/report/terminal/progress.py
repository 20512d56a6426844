"""Shows the progress of a run: a live line on a terminal, elsewhere a line for each tenth."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from conformance.model import Result
from conformance.text import counted, visible

NAMED = 10  # surprises that are shown during the run; its end shows all of them
CLEAR = "\r\033[K"  # go to the beginning of the line, and erase it


class Progress:
    """Counts the results of a run, and shows the count.

    `live`: `write` writes to a terminal.
    """

    def __init__(self, planned: int, write: Callable[[str], object], live: bool) -> None:
        self._planned = planned
        self._write = write
        self._live = live
        self._played = 0
        self._seen: set[str] = set()
        self._surprising: set[str] = set()

    @property
    def surprises(self) -> int:
        """The number of cases that were not as expected."""
        return len(self._surprising)

    def note(self, text: str) -> None:
        """Write a line that stays."""
        self._write(f"{CLEAR}{text}\n" if self._live else f"{text}\n")

    def played(self, result: Result) -> None:
        """Count one more result."""
        if not result.expected and result.id not in self._surprising:
            self._surprising.add(result.id)
            if self.surprises <= NAMED:
                self.note(f"{result.verdict} {visible(result.id)}")
        if result.id in self._seen:  # played again, by --repeat or --minutes
            return
        self._seen.add(result.id)
        self._played += 1
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self._write(CLEAR + f"{self._counts()}  {visible(result.id)}"[:width])
        elif self._tenths(self._played) > self._tenths(self._played - 1):
            self._write(self._counts() + "\n")

    def close(self) -> None:
        """Erase the live line."""
        if self._live:
            self._write(CLEAR)

    def _tenths(self, played: int) -> int:
        return 10 * played // self._planned

    def _counts(self) -> str:
        surprises = f", {self.surprises} not as expected" if self.surprises else ""
        return f"{self._played} of {counted(self._planned, 'case')}{surprises}"
