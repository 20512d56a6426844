"""Plays one cell of the table: a program, and a system call of it that fails."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from program import Program
from table import Cell
from traced import Injection, Traced

from conformance.builds.build import Build

MOST = 6000  # calls in a play; a program in a busy loop makes many more


class Play(ABC):
    """A fault that begins, lasts and ends. The subclass for a role defines what happens then."""

    program: Program

    def __init__(self, build: Build, cell: Cell, folder: Path) -> None:
        self.build, self.cell, self.folder = build, cell, folder
        self.fate = cell.fate if cell.error else ""
        self.scenes: dict[str, Callable[[], None]] = {}  # by the value of `while` in the table

    # Each role defines these.

    @abstractmethod
    def settle(self) -> None:
        """Start the program, and let all users join."""

    @abstractmethod
    def afterwards(self) -> None:
        """After the fault: everything works as before, and the program ends in order."""

    @abstractmethod
    def begins(self) -> bool:
        """Start the program under strace; returns whether it started. If so, play on to its end."""

    @abstractmethod
    def place(self) -> str:
        """The file of the call that fails, as strace names it; empty for any file."""

    @abstractmethod
    def message(self) -> str:
        """A pattern for the error message of a program that cannot start."""

    def close(self) -> None:
        """End all that still runs."""
        self.program.close()

    # The same for both roles.

    def traced(self) -> Traced:
        place = self.place() if self.cell.row.file else ""
        calls, error = self.cell.calls, self.cell.error
        injection = Injection(calls, place, error, is_first=self.fate == "lost")
        return Traced(injection, self.folder)

    def play(self) -> list[str]:
        """Play the cell; returns the calls that failed, or nothing if the program made none."""
        if self.cell.starts:
            self.strace = self.traced()
            self.judge_start(self.begins())
            self.strace.heard.all()
        else:
            self.settle()
            self.strace = self.traced()
            self.strace.attach(self.program.process.pid)
            try:
                self.scenes[self.cell.row.does]()
                self.strace.has_failed()
                self.strace.passes()
                self.afterwards()
            finally:
                self.strace.detach()
        assert self.strace.count() < MOST, f"it spins: {self.strace.count()} calls"
        return self.strace.failed()

    def judge_start(self, started: bool) -> None:
        if started:
            assert self.fate != "ends", "it starts all the same"
            return
        assert self.fate in ("ends", "either"), f"it ends: {self.program.err.all()!r}"
        self.program.ends_with(1)
        said = self.program.err.text
        assert re.fullmatch(f"(?:{self.message()})\n", said), f"it says {said[-500:]!r}"
