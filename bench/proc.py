"""The processor time and the memory of a running program and of the processes that it started.

It knows process ids only. Three things are read from /proc directly, not through psutil: psutil
finds children by reading every process of the machine, which takes time from the load generator;
its `rss` may be some pages behind; and it has no peak.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

PROC = Path("/proc")


def cpu_seconds(pid: int) -> float:
    """The processor time of a program, of its children, and of its children that have ended."""
    return sum(_cpu_seconds(one) for one in family(pid))


def resident(pid: int) -> int:
    """Bytes of memory that it holds now."""
    return sum(_bytes(one, "smaps_rollup", "Rss") for one in family(pid))


def peak(pid: int) -> int:
    """The most bytes of memory that it has held."""
    return sum(_bytes(one, "status", "VmHWM") for one in family(pid))


def family(pid: int) -> Iterator[int]:
    """A process, its children, their children, and so on."""
    yield pid
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in (PROC / str(pid) / "task").iterdir():
            for child in (task / "children").read_text("ascii").split():
                yield from family(int(child))


def size_of(text: str, name: str) -> int:
    """Bytes from a line such as `VmHWM:  1234 kB`."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    return 0


def _cpu_seconds(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:  # it has just ended
        return 0.0
    return times.user + times.system + times.children_user + times.children_system


def _bytes(pid: int, file: str, name: str) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
        return size_of((PROC / str(pid) / file).read_text("ascii", "replace"), name)
    return 0
