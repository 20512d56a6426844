"""The machine: which of its cores do what, and its description for readers of the figures.

It knows nothing of servers and measurements.
"""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from conformance.session.machine import processor

_CPUS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True, slots=True)
class Cores:
    """The core of each of the three programs."""

    server: int
    load: int
    runner: int  # this program, which mostly waits; with only two cores it shares the load's


def siblings(core: int) -> set[int]:
    """The logical processors that share one physical core with this one, and this one."""
    try:
        text = (_CPUS / f"cpu{core}/topology/thread_siblings_list").read_text("ascii")
    except OSError:
        return {core}
    return numbers(text)


def numbers(text: str) -> set[int]:
    """The numbers of a list in the form of the kernel: `0,4` or `0-1,8`."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def choose_cores(
    usable: Collection[int], siblings: Callable[[int], Collection[int]] = siblings
) -> Cores:
    """Cores for the server, the load and the runner: three physical ones, if there are three."""
    chosen: list[int] = []
    left = sorted(usable)
    spare = list(left)
    for _ in range(3):
        if not left:
            break
        chosen.append(left[0])
        taken = siblings(left[0])
        left = [core for core in left if core not in taken]
    chosen += [core for core in spare if core not in chosen]
    server, load, runner = (*chosen, *(chosen[-1:] * 2))[:3]
    return Cores(server, load, runner)


def raise_descriptor_limit() -> int:
    """Raise the limit of open files as far as allowed, here and in all children; the new limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def describe(cores: Cores) -> dict[str, object]:
    """The machine as results.json describes it."""
    return {
        "processor": processor(),
        "processors": os.cpu_count(),
        "cores": {"server": cores.server, "load": cores.load, "runner": cores.runner},
        "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "kernel": f"{platform.system()} {platform.release()}",
        "load_average": os.getloadavg()[0],  # before anything is measured: should be near 0
        "python": platform.python_version(),
    }
