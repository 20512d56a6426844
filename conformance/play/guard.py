"""Ends the programs of a worker that was killed.

Programs on terminals die of the hang-up when their worker goes; those on pipes, or that ignore
the hang-up, would stay. So each worker has a guard: a small process that knows the process groups
that are running, and kills them when the worker's end of the pipe closes. Also run as a program.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress


class Guard:
    """The worker's side: tells the guard what runs."""

    def __init__(self) -> None:
        reading, self._pipe = os.pipe()
        null = os.open(os.devnull, os.O_RDWR)
        self._pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", __file__],
            dict(os.environ),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, reading, 0),
                (os.POSIX_SPAWN_DUP2, null, 1),
                (os.POSIX_SPAWN_DUP2, null, 2),
            ],
            setsid=True,  # Ctrl+C at the worker's terminal is not for the guard
        )
        os.close(reading)
        os.close(null)

    @property
    def pid(self) -> int:
        """The guard's own process, which is no left-over of any case."""
        return self._pid

    def add(self, group: int) -> None:
        """A process group is running."""
        self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        """It has ended, and its number may be used again."""
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        with suppress(BrokenPipeError):
            os.write(self._pipe, line.encode())


def main() -> None:
    """The guard's side: read until the worker is gone, then kill what is left."""
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
