"""What this machine offers to cases, and how many of them it can play in parallel."""

from __future__ import annotations

import functools
import os
import platform
import resource
import shutil
from collections.abc import Iterable
from pathlib import Path

from conformance.mistakes import Mistake
from conformance.model import MACHINE, ActorKind, Case
from conformance.play.network import own_network
from conformance.play.network.tcp import has_ipv6
from conformance.text import counted

# Estimates of open descriptors, a few more than were counted.
OF_A_RUN = 20
OF_A_WORKER = 3  # its pipe and its pidfd; a worker inherits those of the workers before it
OF_A_CASE = 12
OF_A_PROGRAM = 6  # its streams, its terminal, and its pidfd
OF_A_CONNECTION = 2
SUGGESTED = 1024


@functools.cache
def present() -> frozenset[str]:
    """The names of the optional features (see model.MACHINE) that this machine has."""
    tools = all(map(shutil.which, ("unshare", "ip")))
    has = {
        "ipv6": has_ipv6(),
        "namespaces": tools and own_network.is_available(),
        "processors": len(os.sched_getaffinity(0)) > 1,
    }
    return frozenset(name for name in MACHINE if has[name])


def missing(case: Case) -> list[str]:
    """What a case needs, but this machine lacks: one sentence for each."""
    by_address = any(":" in (one.host or "") for one in case.implementations)
    needed = case.scenario.machine | ({"ipv6"} if by_address else set())
    return [MACHINE[name] for name in sorted(needed - present())]


def fitting_jobs(cases: Iterable[Case], jobs: int) -> tuple[int, str]:
    """The number of jobs that the limit of open files allows, and a note if it is below `jobs`.

    Raises Mistake if the limit does not allow one job.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return jobs, ""
    needed = OF_A_RUN + max(map(_descriptors, cases))
    fitting = (limit - needed) // OF_A_WORKER
    files = counted(limit, "open file")
    if fitting < 1:
        least = needed + OF_A_WORKER
        remedy = f"{least} are needed: ulimit -n {max(SUGGESTED, least)}"
        raise Mistake([f"this shell allows {files} at a time, but {remedy}"])
    if fitting >= jobs:
        return jobs, ""
    return fitting, f"-j {fitting}: the limit of {files} (ulimit -n) is too low for -j {jobs}"


def _descriptors(case: Case) -> int:
    """The most descriptors that a case opens."""
    kinds = [member.kind for member in case.scenario.cast.values()]
    connections = sum(kind is ActorKind.WIRE for kind in kinds)
    return OF_A_CASE + OF_A_CONNECTION * connections + OF_A_PROGRAM * (len(kinds) - connections)


def processor() -> str:
    """The model name of the processor; its architecture if the name is unknown."""
    for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()
