"""The standard streams of a program: a terminal or pipes, and how the child process gets them.

This module starts nothing.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.model import Medium
from conformance.play.terminals.terminal import COLUMNS, ROWS, Terminal, open_terminal


@dataclass(frozen=True, slots=True)
class Launch:
    """All that is needed to start a program."""

    argv: Sequence[str]
    folder: Path  # its working directory
    environment: Mapping[str, str]
    medium: Medium = Medium.TERMINAL
    size: tuple[int, int] = (COLUMNS, ROWS)  # of a screen
    input: str = ""  # of standard input: "closed", or a path; "": terminal or pipe
    closed: tuple[int, ...] = ()  # descriptors (1, 2) that are closed in the program
    blocked: tuple[str, ...] = ()  # signals; all others are unblocked
    confined: bool = False  # with the limits for programs that nobody has reviewed
    ignored: tuple[str, ...] = ()  # signals; all others have their default action

    def __str__(self) -> str:
        return shlex.join(self.argv)


class Streams:
    """Our ends of a program's standard streams, and the actions that give the child its ends."""

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
        # The child opens it after setsid, so it becomes the child's controlling terminal.
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
        """Our ends of all streams."""
        return {self.input_fd, self.output_fd, self.errors_fd} - {-1}

    def close_child_ends(self) -> None:
        """Close our copies of the child's ends, so that we see when the child closes them."""
        for fd in self._theirs:
            os.close(fd)
        if self.terminal:
            self.terminal.close_child_ends()

    def close(self) -> None:
        """Close all ends, if nothing was started."""
        self.close_child_ends()
        for fd in self.fds:
            os.close(fd)


def _terminal(launch: Launch) -> Terminal | None:
    if launch.medium is Medium.PIPES:
        return None
    return open_terminal(launch.size if launch.medium.is_screen else None)
