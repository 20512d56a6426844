"""Processes that programs leave behind: found, and killed where they do not end.

Orphans become children of the playing process (it is a subreaper), whatever session they are in.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress

from conformance.play import system
from conformance.play.process import LOOK_SECONDS, guard


def children() -> set[int]:
    """This process's children, orphans of programs among them, without its guard."""
    return system.children() - {guard().pid}


def bury(kept: set[int], seconds: float) -> int:
    """See all children end, except those to be kept.

    Those that have not ended after `seconds` are killed; returns how many. When one is killed, its
    children become children of this process in turn.
    """
    deadline, count = time.monotonic() + seconds, 0
    while left := {pid for pid in children() - kept if not _has_ended(pid)}:
        if time.monotonic() < deadline:
            select.select([], [], [], LOOK_SECONDS)  # no event says that an orphan ends
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
