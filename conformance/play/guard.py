"""Ends the programs of a worker that was killed. It knows process groups alone.

When a worker is killed, its programs on terminals get a hang-up and end. Programs on pipes, and
those that ignore the hang-up, would stay. So each worker has a guard: a small process that knows
which process groups run, and kills them when the worker's end of the pipe closes. This module is
also run as a program: the guard itself.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress


class Guard:
    """The worker's side: it says to the guard what runs."""

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

    def add(self, group: int) -> None:
        """A process group is running."""
        self._say(f"+{group}\n")

    def remove(self, group: int) -> None:
        """It has ended, and its number may be used again."""
        self._say(f"-{group}\n")

    def _say(self, line: str) -> None:
        with suppress(BrokenPipeError):
            os.write(self._pipe, line.encode())


def main() -> None:
    """The guard's side: read until the worker has ended, then kill what still runs."""
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
