"""Programs that we start: each on its core, ended with us, and never left behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from bench import CannotMeasure

# Is told a process group, and kills it when we are no more: even SIGKILL leaves nothing behind.
_GUARD = ("sh", "-c", "read group || exit; read end; kill -s KILL -- -$group 2>/dev/null")


@contextmanager
def spawned(
    command: Sequence[str],
    core: int,
    folder: Path,
    output: IO[bytes] | int,
    errors: IO[bytes] | int,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program on a core; at the end, it and all of its process group are killed."""
    guard = subprocess.Popen(_GUARD, stdin=subprocess.PIPE, bufsize=0, start_new_session=True)
    with guard, _started(command, core, folder, output, errors) as process:
        try:
            assert guard.stdin
            guard.stdin.write(b"%d\n" % process.pid)
            yield process
        finally:
            kill(process)
            guard.kill()


def _started(
    command: Sequence[str],
    core: int,
    folder: Path,
    output: IO[bytes] | int,
    errors: IO[bytes] | int,
) -> subprocess.Popen[bytes]:
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})  # a child begins where its parent is
    try:
        return subprocess.Popen(
            command,
            bufsize=0,  # what it prints is read line by line
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,  # Ctrl+C is for us, who then kill it
        )
    except OSError as error:
        raise CannotMeasure(f"{command[0]} cannot be started: {error.strerror}") from None
    finally:
        os.sched_setaffinity(0, usual)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End it and its group at once; there is nothing in it that is worth keeping."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def exits_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for its end, but no longer than this; whether it has ended."""
    if process.poll() is None:
        pidfd = os.pidfd_open(process.pid)
        select.select([pidfd], [], [], seconds)
        os.close(pidfd)
    return process.poll() is not None


def ending(process: subprocess.Popen[bytes]) -> str:
    """How it ended."""
    status = process.returncode
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"
