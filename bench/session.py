"""A run from its first measurement to its last: the contenders in turn, with progress.

It knows nothing of how a measurement is made, and of what becomes of the samples.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from bench.contenders import Contender
from bench.measure import Bed, Sample, measure
from bench.rows import FIGURES, Row
from conformance.builds.build import Say

Turn = tuple[int, Row, Contender]


def turns(rows: Sequence[Row], contenders: Sequence[Contender], repeats: int) -> Iterator[Turn]:
    """The order of measurements: a row with every contender, then the next row; then all again.

    Rows that are measured once are measured in the first repeat. Each repeat begins with another
    contender, so that none always follows the same one.
    """
    for repeat in range(repeats):
        first = repeat % len(contenders) if contenders else 0
        for row in rows if repeat == 0 else [row for row in rows if not row.once]:
            for contender in (*contenders[first:], *contenders[:first]):
                yield repeat, row, contender


class Progress:
    """How much of a run is done, and how long the rest will take."""

    def __init__(self, planned: Sequence[Turn]) -> None:
        self._left = [(row.key, contender.name) for _, row, contender in planned]
        self._count = len(planned)
        self._took: dict[tuple[str, str], float] = {}

    def done(self, row: str, contender: str, seconds: float) -> str:
        """One more is measured; the progress so far, as text."""
        self._left.remove((row, contender))
        self._took[row, contender] = seconds
        number = self._count - len(self._left)
        return f"[{number:{len(str(self._count))}}/{self._count}, {self._remaining():>6} left]"

    def _remaining(self) -> str:
        """Each takes as long as the last time, or if it was not measured yet, the mean of all."""
        mean = sum(self._took.values()) / len(self._took)
        seconds = sum(self._took.get(key, mean) for key in self._left)
        return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def play(bed: Bed, planned: Sequence[Turn], say: Say) -> Iterator[Sample]:
    """Measure all, with a line of progress for each."""
    progress = Progress(planned)
    wide = max((len(contender.name) for _, _, contender in planned), default=0)
    for repeat, row, contender in planned:
        start = time.monotonic()
        sample = measure(bed, contender, row)
        sample.repeat = repeat
        where = progress.done(row.key, contender.name, time.monotonic() - start)
        say(f"{where} {contender.name:{wide}}  {row.title}: {outcome(sample)}")
        yield sample


def outcome(sample: Sample) -> str:
    """A sample in one line."""
    if sample.error:
        return f"FAILED: {sample.error}"
    wrong = [f"DEFECT: {count:,} {name}" for name, count in sample.defects.items()]
    figures = [(FIGURES[key], value) for key, value in sample.figures.items()]
    return ", ".join([*wrong, *(one.phrase.format(one.text(value)) for one, value in figures)])
