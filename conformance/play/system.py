"""What the system says of other processes: the one module that imports psutil.

It knows process ids alone; what they stand for is the caller's business.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil


def cpu_seconds(pid: int) -> float:
    """Processor time that a running process has used."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


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
    """This process's children, and the orphans that came to it."""
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    try:  # one read, where psutil looks at every process of the machine
        return {int(pid) for pid in path.read_text("ascii").split()}
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return {child.pid for child in psutil.Process().children()}
