"""What the kernel tells of a running program and of those that it started, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """The processor time of a program: all its threads, what it started, and what of that ended."""
    return sum(seconds_of_stat(text) for text in _texts(pid, "stat"))


def resident(pid: int) -> int:
    """Bytes of memory that it holds now; exact, where `status` may lag behind by some pages."""
    return sum(size_of(text, "Rss") for text in _texts(pid, "smaps_rollup"))


def peak(pid: int) -> int:
    """Bytes of memory that it held at most."""
    return sum(size_of(text, "VmHWM") for text in _texts(pid, "status"))


def seconds_of_stat(text: str) -> float:
    """User and system time of a process, and of its children that have ended, from its `stat`."""
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return sum(int(ticks) for ticks in fields[11:15]) / _TICKS


def size_of(text: str, name: str) -> int:
    """Bytes from a line such as `VmHWM:  1234 kB`."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    return 0


def family(pid: int) -> Iterator[int]:
    """A process, its children, and theirs."""
    yield pid
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in (PROC / str(pid) / "task").iterdir():
            for child in (task / "children").read_text("ascii").split():
                yield from family(int(child))


def _texts(pid: int, name: str) -> Iterator[str]:
    for one in family(pid):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            yield (PROC / str(one) / name).read_text("ascii", "replace")
