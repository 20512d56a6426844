"""Ends the programs of a worker that was killed. It knows only process ids.

When a worker is killed, its programs on terminals get SIGHUP and end. Programs on pipes, and those
that ignore SIGHUP, would stay. So each worker has a guard: a small process that knows the running
programs (each leads a session and a process group), and kills them when the worker's end of a pipe
closes. The jobs of a shell have process groups of their own, in the shell's session. This module is
also run as a program: then it is the guard.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress


class Guard:
    """The worker's side: tells the guard which programs run."""

    def __init__(self) -> None:
        reading, self._pipe = os.pipe()
        null = os.open(os.devnull, os.O_RDWR)
        os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", __file__],
            dict(os.environ),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, reading, 0),
                (os.POSIX_SPAWN_DUP2, null, 1),
                (os.POSIX_SPAWN_DUP2, null, 2),
            ],
            setsid=True,  # so that Ctrl+C at the worker's terminal does not end the guard
        )
        os.close(reading)
        os.close(null)

    def add(self, leader: int) -> None:
        """Note that a program runs."""
        self._say(f"+{leader}\n")

    def remove(self, leader: int) -> None:
        """Note that a program has ended: another process may get its id."""
        self._say(f"-{leader}\n")

    def _say(self, line: str) -> None:
        with suppress(BrokenPipeError):
            os.write(self._pipe, line.encode())


def main() -> None:
    """The guard's side: read until the worker has ended, then kill the programs that still run."""
    leaders: set[int] = set()
    for line in sys.stdin:
        (leaders.add if line[0] == "+" else leaders.discard)(int(line[1:]))
    for group in leaders | set(_groups_within(leaders)):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def _groups_within(sessions: set[int]) -> Iterator[int]:
    """The process groups of all processes in these sessions."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(int(name)) in sessions:
                yield os.getpgid(int(name))


if __name__ == "__main__":
    main()
