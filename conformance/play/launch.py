"""A program's standard streams: a terminal or pipes, and how the child process gets them.

It starts nothing.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.model import Medium
from conformance.play.terminal import COLUMNS, ROWS, Terminal, open_terminal


@dataclass(frozen=True, slots=True)
class Launch:
    """How a program is to be started."""

    argv: Sequence[str]
    folder: Path  # its working directory
    environment: Mapping[str, str]
    medium: Medium = Medium.TERMINAL
    size: tuple[int, int] = (COLUMNS, ROWS)  # of a screen
    input: str = ""  # "closed", or a path that its standard input is; "": terminal or pipe
    closed: tuple[int, ...] = ()  # of 1 and 2: standard output and error that it does not get
    blocked: tuple[str, ...] = ()  # signals; it starts with all others unblocked
    ignored: tuple[str, ...] = ()  # signals; it starts with all others at their defaults

    def __str__(self) -> str:
        return shlex.join(self.argv)


class Streams:
    """The descriptors of a program's standard streams, and how the child is to get them."""

    def __init__(self, launch: Launch) -> None:
        self.terminal = _terminal(launch)
        self.input_fd = self.errors_fd = -1
        self.actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = []
        self._theirs: list[int] = []
        if self.terminal:
            self._on_terminal(self.terminal)
        else:
            self._on_pipes(with_input=not launch.input)
        if launch.medium.is_screen:
            self.actions.append((os.POSIX_SPAWN_DUP2, 0, 2))
        else:
            self.errors_fd = self._pipe_from(2)
        if launch.input == "closed":
            self.actions.append((os.POSIX_SPAWN_CLOSE, 0))
        elif launch.input:
            self.actions.append((os.POSIX_SPAWN_OPEN, 0, launch.input, os.O_RDONLY, 0))
        self.actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in launch.closed]

    def _on_terminal(self, terminal: Terminal) -> None:
        # The child opens it after setsid, so that it becomes its controlling terminal.
        self.actions.append((os.POSIX_SPAWN_OPEN, 0, terminal.path, os.O_RDWR, 0))
        self.actions.append((os.POSIX_SPAWN_DUP2, 0, 1))
        self.input_fd = self.output_fd = terminal.fd

    def _on_pipes(self, with_input: bool) -> None:
        if with_input:
            theirs, self.input_fd = os.pipe()
            os.set_blocking(self.input_fd, False)
            self._theirs.append(theirs)
            self.actions.append((os.POSIX_SPAWN_DUP2, theirs, 0))
        self.output_fd = self._pipe_from(1)

    def _pipe_from(self, child_fd: int) -> int:
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        self._theirs.append(theirs)
        self.actions.append((os.POSIX_SPAWN_DUP2, theirs, child_fd))
        return ours

    @property
    def fds(self) -> set[int]:
        """Our ends of them all."""
        return {self.input_fd, self.output_fd, self.errors_fd} - {-1}

    def handed_over(self) -> None:
        """The child has its ends. Close our copies of them, so that its end shows in ours."""
        for fd in self._theirs:
            os.close(fd)
        if self.terminal:
            self.terminal.handed_over()

    def close(self) -> None:
        """Nothing was started."""
        self.handed_over()
        for fd in self.fds:
            os.close(fd)


def _terminal(launch: Launch) -> Terminal | None:
    if launch.medium is Medium.PIPES:
        return None
    return open_terminal(launch.size if launch.medium.is_screen else None)
