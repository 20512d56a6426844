"""How many cases this machine allows to be played at the same time. It knows no process."""

from __future__ import annotations

import resource
from collections.abc import Iterable

from conformance.mistakes import Mistake
from conformance.model import ActorKind, Case
from conformance.text import counted

# Descriptors that are open at the same time; a few more than were counted.
OF_A_RUN = 20
OF_A_WORKER = 3  # its pipe and its pidfd; every worker inherits those of the workers before it
OF_A_CASE = 12
OF_A_PROGRAM = 6  # its streams, its terminal, and its pidfd
OF_A_CONNECTION = 2
SUGGESTED = 1024


def fitting_jobs(cases: Iterable[Case], jobs: int) -> tuple[int, str]:
    """As many jobs as the limit of open files allows, and a note if they are fewer than asked.

    Raises Mistake if it does not allow one job.
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
        raise Mistake([f"this shell allows {files} at a time, and {remedy}"])
    if fitting >= jobs:
        return jobs, ""
    return fitting, f"-j {fitting}: {files} allowed here (ulimit -n) are too few for -j {jobs}"


def _descriptors(case: Case) -> int:
    """What a case opens, at most."""
    kinds = [member.kind for member in case.scenario.cast.values()]
    connections = sum(kind is ActorKind.WIRE for kind in kinds)
    return OF_A_CASE + OF_A_CONNECTION * connections + OF_A_PROGRAM * (len(kinds) - connections)
