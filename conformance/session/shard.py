"""Divides a plan into parts for several machines: each case is in exactly one part.

Each machine plans all cases, and takes its own part. This module plays nothing.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from conformance.model import Case


@dataclass(frozen=True, slots=True)
class Shard:
    """One part of a plan."""

    number: int  # from 1
    of: int  # the number of parts
    seconds: Mapping[str, float] = field(default_factory=dict)  # in an earlier run, by case key

    def places(self, cases: Sequence[Case]) -> list[int]:
        """The indexes of this part's cases in the plan, sorted.

        The longest cases are assigned first, each to the part with the least load so far. A case
        without a measured time counts as the median.
        """
        usual = median(self.seconds.values()) if self.seconds else 1.0
        lasts = [self.seconds.get(case.key, usual) for case in cases]
        loads = [(0.0, part) for part in range(1, min(self.of, len(cases)) + 1)]
        mine = []
        for place in sorted(range(len(cases)), key=lambda place: (-lasts[place], place)):
            load, part = loads[0]
            heapq.heapreplace(loads, (load + lasts[place], part))
            if part == self.number:
                mine.append(place)
        return sorted(mine)


def fingerprint(cases: Sequence[Case], *options: object) -> str:
    """A checksum of a plan, in twelve characters: only parts of the same plan can be joined.

    `options` are those that can change a verdict.
    """
    text = "\n".join([*(case.key for case in cases), repr(options)])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]
