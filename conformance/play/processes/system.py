"""What the system says about processes. This is the only module that imports psutil.

It knows only process ids. While cases are played, this process is a subreaper: orphans of programs
become its children, in whatever session they are.
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

LOOK_SECONDS = 0.002  # between two checks of something that no event signals

# States of connections that a program has closed, but that still keep their port.
_ENDED = {
    psutil.CONN_FIN_WAIT1,
    psutil.CONN_FIN_WAIT2,
    psutil.CONN_TIME_WAIT,
    psutil.CONN_CLOSING,
    psutil.CONN_LAST_ACK,
}


def looks(deadline: float) -> Iterator[None]:
    """For a loop that looks at something again and again: until the deadline (monotonic).

    It looks once more after it. So what came true while this process could not run counts.
    """
    late = False
    while not late:
        late = time.monotonic() > deadline
        yield


def cpu_seconds(pid: int) -> float:
    """The seconds of processor time that a process and its running descendants have used."""
    process, used = psutil.Process(pid), 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            used += times.user + times.system
    return used


def ready_seconds(pid: int) -> dict[int, float]:
    """The seconds for which each thread of a process and its descendants ran, or waited to run.

    Empty if the system does not count them (CONFIG_SCHED_INFO).
    """
    seconds: dict[int, float] = {}
    for one in _family(pid):
        for path in Path(f"/proc/{one.pid}/task").glob("*/schedstat"):
            with suppress(OSError, ValueError):  # the thread has ended
                ran, waited, _ = path.read_text("ascii").split()
                seconds[int(path.parent.name)] = (int(ran) + int(waited)) / 1e9
    return seconds


def resident(pid: int) -> int:
    """The resident memory of a running process, in bytes."""
    return int(psutil.Process(pid).memory_info().rss)


def usage(pid: int) -> tuple[int, int, int]:
    """Resident bytes, written bytes, and threads: sums over a process and its descendants."""
    memory = written = threads = 0
    for one in _family(pid):
        with suppress(psutil.Error), one.oneshot():
            memory += one.memory_info().rss
            written += one.io_counters().write_chars
            threads += one.num_threads()
    return memory, written, threads


def proportional(pid: int) -> int:
    """Resident bytes of a process and its descendants; what they share counts only once."""
    memory = 0
    for one in _family(pid):
        with suppress(psutil.Error):
            memory += _share(one)
    return memory


def _share(process: psutil.Process) -> int:
    """Its share of the memory that it uses; all of that memory if the system does not tell."""
    with suppress(psutil.AccessDenied):
        return int(process.memory_full_info().pss)
    return int(process.memory_info().rss)


def family(pid: int) -> list[int]:
    """The ids of a process and its running descendants; empty if it has ended."""
    return [one.pid for one in _family(pid)]


def descriptors(pid: int) -> int:
    """The number of open descriptors of a process and its running descendants."""
    count = 0
    for one in _family(pid):
        with suppress(psutil.Error):
            count += one.num_fds()
    return count


def _family(pid: int) -> list[psutil.Process]:
    """A process and its running descendants; empty if it has ended."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def tasks_of(user: int) -> int:
    """The number of threads of a user."""
    count = 0
    for one in psutil.process_iter():
        with suppress(psutil.Error):
            count += one.num_threads() if one.uids().real == user else 0
    return count


def listening_ports(pid: int) -> Iterator[int]:
    """The ports at which a process listens, then those of its descendants."""
    return (port for _, port in listening(pid))


def listening(pid: int) -> Iterator[tuple[str, int]]:
    """The addresses and ports at which a process listens, then those of its descendants."""
    with suppress(psutil.Error):  # it has ended
        process = psutil.Process(pid)
        yield from _listening(process)
        for child in process.children(recursive=True):
            yield from _listening(child)


def listener(pid: int, port: int) -> Descendant | None:
    """The descendant of a process that listens at a port; None if there is none."""
    with suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            if port in _ports(child):
                return Descendant(child)
    return None


@dataclass(frozen=True, slots=True)
class Descendant:
    """A process that a program has started. It is recognized even if its id is used again."""

    _process: psutil.Process

    @property
    def pid(self) -> int:
        """Its process id."""
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
    """Who uses a TCP port; "": nobody.

    "ours": a program of this process. "others": another process. "lingers": only connections that
    are closed (TIME_WAIT, for instance).
    """
    found = psutil.net_connections("tcp")
    states = {one.status for one in found if one.laddr and one.laddr.port == port}
    if states <= _ENDED:
        return "lingers" if states else ""
    programs = psutil.Process().children(recursive=True)
    return "ours" if any(port in _ports(program) for program in programs) else "others"


def look_again(seconds: float) -> None:
    """Let time pass between two checks of something that no event signals."""
    select.select([], [], [], seconds)


def _ports(process: psutil.Process) -> list[int]:
    return [port for _, port in _listening(process)]


def _listening(process: psutil.Process) -> list[tuple[str, int]]:
    with suppress(psutil.Error):
        some = process.net_connections("tcp")
        found = [(one.laddr.port, one.laddr.ip) for one in some if one.status == psutil.CONN_LISTEN]
        return [(ip, port) for port, ip in sorted(found)]
    return []


def is_stopped(pid: int) -> bool:
    """Whether all threads of a process are stopped or traced (T, t), or have ended (Z, X)."""
    states = set()
    for status in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # the thread has ended
            states.add(status.read_bytes().rpartition(b") ")[2][:1])
    return states <= {b"T", b"t", b"Z", b"X"}


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
    """The children of this process, which include orphans of programs."""
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    try:  # one read; psutil would read the data of all processes
        return {int(pid) for pid in path.read_text("ascii").split()}
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return {child.pid for child in psutil.Process().children()}


def reap(kept: set[int], seconds: float) -> list[Path | None]:
    """Wait for the end of all children, except those in `kept`.

    Those that still run after `seconds` are killed; returns the working folder of each of them,
    None where it is unknown. The children of a killed process become children of this process, so
    the loop finds them, too.
    """
    folders: list[Path | None] = []
    for _ in looks(time.monotonic() + seconds):
        if not _left(kept):
            return folders
        look_again(LOOK_SECONDS)  # no event signals the end of an orphan
    while left := _left(kept):
        for pid in left:
            folders.append(_working_folder(pid))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return folders


def _left(kept: set[int]) -> set[int]:
    """Our children that still run; those that have ended are reaped."""
    return {pid for pid in children() - kept if not _has_ended(pid)}


def _working_folder(pid: int) -> Path | None:
    with suppress(OSError):  # it has just ended, or has changed its user
        return Path(f"/proc/{pid}/cwd").readlink()
    return None


def _has_ended(pid: int) -> bool:
    """Whether a child has ended; if so, it is reaped."""
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG) != (0, 0)
    return True
