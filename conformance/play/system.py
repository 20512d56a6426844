"""Other processes: what the system says of them. The one module that imports psutil.

It knows process ids alone, and no program. While cases are played, orphans of programs become
children of this process, whatever session they are in (it is a subreaper).
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

LOOK_SECONDS = 0.002  # between two looks at something that changes without an event

# States of connections that a program has closed, and that still keep their port.
_ENDED = {
    psutil.CONN_FIN_WAIT1,
    psutil.CONN_FIN_WAIT2,
    psutil.CONN_TIME_WAIT,
    psutil.CONN_CLOSING,
    psutil.CONN_LAST_ACK,
}


def cpu_seconds(pid: int) -> float:
    """Processor time that a running process has used, and those that it started and that run."""
    process, used = psutil.Process(pid), 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            used += times.user + times.system
    return used


def resident(pid: int) -> int:
    """Bytes of memory that a running process holds."""
    return int(psutil.Process(pid).memory_info().rss)


def listening_ports(pid: int) -> Iterator[int]:
    """The ports at which a process listens, and then those of the processes that it started."""
    with suppress(psutil.Error):  # it has ended
        process = psutil.Process(pid)
        yield from _ports(process)
        for child in process.children(recursive=True):
            yield from _ports(child)


def listener(pid: int, port: int) -> Descendant | None:
    """Which of the processes that a process started, directly or not, listens at a port."""
    with suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            if port in _ports(child):
                return Descendant(child)
    return None


@dataclass(frozen=True, slots=True)
class Descendant:
    """A process that a program has started; another one may get its number once it has ended."""

    _process: psutil.Process

    @property
    def pid(self) -> int:
        """Its number."""
        return int(self._process.pid)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return bool(self._process.is_running()) and _lives(self.pid)

    def signal(self, name: str) -> None:
        """Send it a signal, unless it has ended."""
        with suppress(psutil.NoSuchProcess):
            self._process.send_signal(signal.Signals[name])


def port_use(port: int) -> str:
    """Whether a TCP port is free: "", else who keeps it.

    "ours" are programs of this process, "others" those of other processes, and what "lingers" are
    connections that have ended.
    """
    found = psutil.net_connections("tcp")
    states = {one.status for one in found if one.laddr and one.laddr.port == port}
    if states <= _ENDED:
        return "lingers" if states else ""
    programs = psutil.Process().children(recursive=True)
    return "ours" if any(port in _ports(program) for program in programs) else "others"


def look_again(seconds: float) -> None:
    """Let time pass between two looks at something that changes without an event."""
    select.select([], [], [], seconds)


def _ports(process: psutil.Process) -> list[int]:
    with suppress(psutil.Error):
        sockets = process.net_connections("tcp")
        return sorted(one.laddr.port for one in sockets if one.status == psutil.CONN_LISTEN)
    return []


def group_members(group: int) -> list[int]:
    """The living processes of a process group."""
    return [pid for pid in psutil.pids() if _is_in(group, pid) and _lives(pid)]


def _is_in(group: int, pid: int) -> bool:
    with suppress(ProcessLookupError):
        return os.getpgid(pid) == group
    return False


def _lives(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return False


def children() -> set[int]:
    """This process's children, orphans of programs among them."""
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    try:  # one read, where psutil looks at every process of the machine
        return {int(pid) for pid in path.read_text("ascii").split()}
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return {child.pid for child in psutil.Process().children()}


def bury(kept: set[int], seconds: float) -> int:
    """See all children end, except those to be kept.

    Those that have not ended after `seconds` are killed; returns how many. When one is killed, its
    children become children of this process in turn.
    """
    deadline, count = time.monotonic() + seconds, 0
    while left := {pid for pid in children() - kept if not _has_ended(pid)}:
        if time.monotonic() < deadline:
            look_again(LOOK_SECONDS)  # no event says that an orphan ends
            continue
        for pid in left:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        count += len(left)
    return count


def _has_ended(pid: int) -> bool:
    """Whether a child has ended; if so, it is waited for."""
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG) != (0, 0)
    return True
