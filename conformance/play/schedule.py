"""In which order cases are played, and how many at the same time. It plays nothing."""

from __future__ import annotations

import os
import zlib

from conformance.model import Case
from conformance.play.deadlines import timed

JOBS_PER_PROCESSOR = 8  # half of a run's time is waiting, for what rules say of time
LONG_SECONDS = 5.0  # a case with a step that may wait so long is started early
SHORT_STEPS = 12  # a case of so few steps ends at once, unless it waits


def default_jobs() -> int:
    """How many cases are played at the same time on this machine, unless a person says it."""
    return JOBS_PER_PROCESSOR * len(os.sched_getaffinity(0))


def turn(case: Case) -> tuple[float, bool, int]:
    """The key by which cases are sorted: the same order in every run.

    Cases that may wait longest for a rule's time come first, so that none of them is still playing
    when all others are done. Short cases come last: they fill the time until the last long ones
    end. Otherwise the order is that of a checksum. It mixes the cases of all files, because cases
    that wait often stand in one file, and should be played beside cases that compute.
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
