"""Limits for programs that nobody has reviewed: memory, processes, bytes written.

The system enforces the limits of single processes (prlimit), and the number of processes if this
process may make a control group. The harness checks the sums over a program and its descendants at
intervals. This module knows no case and no rule.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from conformance.play.processes import system

MEMORY = 1 << 30  # bytes that a program and its descendants may hold together
WRITTEN = 256 << 20  # bytes that they may write together
FILE = 64 << 20  # bytes in one file
PROCESSES = 256  # threads included
ROOM = 1024  # tasks that other cases may add while a program runs

TOOL = "prlimit"

_GROUPS = Path("/sys/fs/cgroup")


def prefix() -> list[str]:
    """The first words of a command line: they set the limits, then execute the program."""
    limits = [f"--data={2 * MEMORY}", f"--fsize={FILE}", "--core=0"]
    if os.getuid():  # the system does not apply this limit to root
        # It counts all tasks of the user, so the cases that start meanwhile need room, too.
        limits.append(f"--nproc={system.tasks_of(os.getuid()) + ROOM + PROCESSES}")
    command = [TOOL, *limits, "--"]
    if group := _group():
        entering = 'echo 0 >"$0" && exec "$@"'
        return ["sh", "-c", entering, str(group / "cgroup.procs"), *command]
    return command


def excess(pid: int) -> str:
    """The limit that a program, with its descendants, exceeds; "" if none."""
    memory, written, processes = system.usage(pid)
    # The first sum counts shared pages several times; the second one is right, but takes longer.
    if memory > MEMORY and system.proportional(pid) > MEMORY:
        return f"more than {MEMORY >> 20} MiB of memory"
    if written > WRITTEN:
        return f"more than {WRITTEN >> 20} MiB written"
    if processes >= PROCESSES:
        return f"{PROCESSES} processes and threads, or more"
    return ""


def end(seconds: float) -> None:
    """Kill all confined processes of this process, even if they fork without end."""
    group = _group()
    if group is None:
        return
    deadline = time.monotonic() + seconds
    with suppress(OSError):
        (group / "pids.max").write_text("0")  # no fork succeeds any more
        while (left := _members(group)) and time.monotonic() < deadline:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            system.look_again(system.LOOK_SECONDS)  # no event signals their end
        group.rmdir()


def _members(group: Path) -> list[int]:
    return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]


def _group() -> Path | None:
    """The control group of this process, which limits its processes; None: not permitted."""
    for home in (_GROUPS / "pids", _GROUPS):  # cgroup version 1, then version 2
        group = home / f"conformance-{os.getpid()}"
        try:
            group.mkdir(exist_ok=True)
            (group / "pids.max").write_text(str(PROCESSES))
        except OSError:
            with suppress(OSError):
                group.rmdir()
        else:
            return group
    return None
