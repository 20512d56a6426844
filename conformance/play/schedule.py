"""In which order cases are played, and how many at the same time."""

from __future__ import annotations

import os
import zlib

from conformance.model import Case
from conformance.play.deadlines import timed

JOBS_PER_PROCESSOR = 8  # half of a run's time is waiting, for what rules say of time
LONG_SECONDS = 5.0  # a step that may wait so long is begun early
SHORT_STEPS = 12  # a case of so few is over at once, unless it waits


def default_jobs() -> int:
    """How many cases this machine plays at the same time, unless a person says otherwise."""
    return JOBS_PER_PROCESSOR * len(os.sched_getaffinity(0))


def turn(case: Case) -> tuple[float, bool, int]:
    """When to play a case: the same order in every run.

    Those that may wait longest for a rule's time come first, so that none is left over at the end,
    where the short ones come: they fill what the last of the others leave idle. Within these, all
    are mingled, by checksum: cases that wait stand together in a file, and cost nothing
    beside those that compute.
    """
    steps = case.scenario.steps
    times = [step.options.get("within", 0.0) for step in steps]
    longest = max(time for time in times if isinstance(time, int | float))
    short = len(steps) <= SHORT_STEPS and not any(map(timed, steps))
    return (
        -longest if longest >= LONG_SECONDS else 0.0,
        short,
        zlib.crc32(case.id.encode("utf-8", "surrogateescape")),
    )
