"""The order in which cases are played, and how many are played in parallel. It plays nothing."""

from __future__ import annotations

import os
import zlib

from conformance.model import Case
from conformance.play.schedule.deadlines import timed

JOBS_PER_PROCESSOR = 8  # cases spend half of their time waiting for the times that rules name
LONG_SECONDS = 5.0  # a case with a step that may wait this long starts early
SHORT_STEPS = 12  # a case with at most so many steps is short, unless a step waits


def default_jobs() -> int:
    """How many cases are played in parallel on this machine, unless an option says it."""
    return JOBS_PER_PROCESSOR * len(os.sched_getaffinity(0))


def sort_key(case: Case) -> tuple[float, bool, int]:
    """The key by which cases are sorted: the same order in every run.

    The cases with the longest waits come first, so that the run does not end with one long case
    alone. Short cases come last, and fill the time until the long ones end. All others are sorted
    by a checksum, which mixes the cases of all files: cases that wait are often in the same file,
    and should be played beside cases that compute.
    """
    steps = list(case.scenario.single_steps)
    times = [step.options.get("within", 0.0) for step in steps]
    longest = max(time for time in times if isinstance(time, int | float))
    short = len(steps) <= SHORT_STEPS and not any(map(timed, steps))
    return (
        -longest if longest >= LONG_SECONDS else 0.0,
        short,
        zlib.crc32(case.id.encode("utf-8", "surrogateescape")),
    )
