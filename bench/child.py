"""Programs that the bench starts: each on one core, and killed when the bench ends.

It knows nothing of servers, contenders and figures.
"""

from __future__ import annotations

import functools
import os
import select
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from bench import CannotMeasure
from conformance.play.processes.guard import Guard

_guard = functools.cache(Guard)  # kills what still runs if this process is killed itself


@contextmanager
def spawned(
    command: Sequence[str], core: int, folder: Path, output: IO[bytes] | int
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program on a core; at the end, kill it and all of its process group.

    Standard output and standard error go to `output`; with PIPE, each has a pipe of its own.
    """
    guard = _guard()
    with _started(command, core, folder, output) as process:
        try:
            guard.add(process.pid)
            yield process
        finally:
            kill(process)
            guard.remove(process.pid)


def _started(
    command: Sequence[str], core: int, folder: Path, output: IO[bytes] | int
) -> subprocess.Popen[bytes]:
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})  # a child inherits the cores of its parent
    try:
        return subprocess.Popen(
            command,
            bufsize=0,  # what it prints is read line by line
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl+C reaches only this process, which then kills it
        )
    except OSError as error:
        raise CannotMeasure(f"{command[0]} cannot be started: {error.strerror}") from None
    finally:
        os.sched_setaffinity(0, usual)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and its process group at once."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def exits_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait until a program ends, but no longer than this; whether it has ended."""
    if process.poll() is None:
        pidfd = os.pidfd_open(process.pid)
        select.select([pidfd], [], [], seconds)
        os.close(pidfd)
    return process.poll() is not None
