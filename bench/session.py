"""A run from its first measurement to its last: the contenders in turn, with progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from bench.contenders import Contender
from bench.measure import Bed, Sample, measure
from bench.rows import FIGURES, Row

Say = Callable[[str], None]
Turn = tuple[int, Row, Contender]


def turns(rows: Sequence[Row], contenders: Sequence[Contender], repeats: int) -> Iterator[Turn]:
    """Who is measured when: each row with everybody, then the next row, then all of it again.

    What is measured once is measured in the first round.

    Each repeat begins with another contender, so that nobody always comes after the same one.
    """
    for repeat in range(repeats):
        first = repeat % len(contenders) if contenders else 0
        for row in rows if repeat == 0 else [row for row in rows if not row.once]:
            for contender in (*contenders[first:], *contenders[:first]):
                yield repeat, row, contender


class Progress:
    """How far a run is, and how long it will still take."""

    def __init__(self, planned: Sequence[Turn]) -> None:
        self._left = [(row.key, contender.name) for _, row, contender in planned]
        self._count = len(planned)
        self._took: dict[tuple[str, str], float] = {}

    def done(self, row: str, contender: str, seconds: float) -> str:
        """One more is measured; where that leaves us."""
        self._left.remove((row, contender))
        self._took[row, contender] = seconds
        number = self._count - len(self._left)
        return f"[{number:{len(str(self._count))}}/{self._count}, {self._remaining():>6} left]"

    def _remaining(self) -> str:
        """As long as each took the last time; as the mean of all, where it was not yet its turn."""
        mean = sum(self._took.values()) / len(self._took)
        seconds = sum(self._took.get(key, mean) for key in self._left)
        return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def play(bed: Bed, planned: Sequence[Turn], say: Say) -> Iterator[Sample]:
    """Measure all, and tell of each."""
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
    """A measurement in a line."""
    if sample.error:
        return f"FAILED: {sample.error}"
    wrong = [f"DEFECT: {count:,} {name}" for name, count in sample.defects.items()]
    figures = [(FIGURES[key], value) for key, value in sample.figures.items()]
    return ", ".join([*wrong, *(one.phrase.format(one.text(value)) for one, value in figures)])
