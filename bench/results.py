"""A run as data: its samples, their medians and ratios; results.json, written and read.

It knows nothing of how things are measured and shown.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import CannotMeasure
from bench.contenders import Contender, Standing
from bench.measure import Sample
from bench.rows import FIGURES, ROWS, Row, Scale


@dataclass(frozen=True, slots=True)
class Entry:
    """A contender as a run lists it."""

    name: str
    title: str
    standing: Standing
    version: str

    @classmethod
    def of(cls, contender: Contender) -> Entry:
        """What a reader of the results has to know of a contender."""
        return cls(contender.name, contender.title, contender.standing, contender.version)


@dataclass(frozen=True, slots=True)
class Spread:
    """The median and the range of several measurements of one figure."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value or more."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(slots=True)
class Run:
    """All that was measured, and on which machine."""

    time: str
    machine: dict[str, Any]
    scale: Scale
    repeats: int
    entries: list[Entry]
    left_out: dict[str, str]
    samples: list[Sample] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        """The rows that were measured, in the order of ROWS."""
        keys = {sample.row for sample in self.samples}
        return [row for row in ROWS if row.key in keys]

    def entries_of(self, *standings: Standing) -> list[Entry]:
        """The contenders of some standings."""
        return [entry for entry in self.entries if entry.standing in standings]

    def samples_of(self, row: Row, contender: str) -> list[Sample]:
        """The samples of one row and contender."""
        return [one for one in self.samples if (one.row, one.contender) == (row.key, contender)]

    def spread(self, row: Row, contender: str, figure: str) -> Spread | None:
        """Median and range of one figure; None if it was not measured."""
        samples = self.samples_of(row, contender)
        values = [one.figures[figure] for one in samples if figure in one.figures]
        return Spread.of(values) if values else None

    def ratio(self, row: Row, figure: str, contender: str, other: str) -> float | None:
        """The median of one contender divided by that of another."""
        own, base = self.spread(row, contender, figure), self.spread(row, other, figure)
        return own.median / base.median if own and base and base.median else None

    def best_peer(self, row: Row, figure: str) -> str | None:
        """The peer with the best median; None if no peer was measured."""
        medians = {
            entry.name: spread.median
            for entry in self.entries_of(Standing.PEER)
            if (spread := self.spread(row, entry.name, figure))
        }
        best = max if FIGURES[figure].more_is_better else min
        return best(medians, key=lambda name: medians[name]) if medians else None

    def defects(self, row: Row, contender: str) -> dict[str, int]:
        """How often each defect was seen, summed over the samples of a row and contender."""
        found: Counter[str] = Counter()
        for sample in self.samples_of(row, contender):
            found.update(sample.defects)
        return dict(found)

    def errors(self, row: Row, contender: str) -> list[str]:
        """Why measurements of one row and contender failed, each reason once."""
        return list(
            dict.fromkeys(one.error for one in self.samples_of(row, contender) if one.error)
        )


# --- results.json --------------------------------------------------------------------------------


def to_json(run: Run) -> dict[str, Any]:
    """A run as plain data; the summary is for people, and `from_json` does not read it."""
    return {
        "time": run.time,
        "machine": run.machine,
        "scale": asdict(run.scale),
        "repeats": run.repeats,
        "contenders": [asdict(entry) for entry in run.entries],
        "left_out": run.left_out,
        "rows": {row.key: row.title for row in run.rows},
        "summary": _summary(run),
        "samples": [asdict(sample) for sample in run.samples],
    }


def from_json(data: Mapping[str, Any]) -> Run:
    """The reverse of `to_json`."""
    entries = [
        Entry(**{**entry, "standing": Standing(entry["standing"])}) for entry in data["contenders"]
    ]
    return Run(
        time=data["time"],
        machine=data["machine"],
        scale=Scale(**data["scale"]),
        repeats=data["repeats"],
        entries=entries,
        left_out=data["left_out"],
        samples=[Sample(**sample) for sample in data["samples"]],
    )


def save(run: Run, path: Path) -> None:
    """Write results.json."""
    path.write_text(json.dumps(to_json(run), indent=1, ensure_ascii=False) + "\n", "utf-8")


def load(path: Path) -> Run:
    """Read results.json."""
    text = path.read_text("utf-8")
    try:
        return from_json(json.loads(text))
    except (ValueError, KeyError, TypeError) as error:
        remedy = "run the bench again without --redraw"
        raise CannotMeasure(f"{path} is not a result of this bench ({error}): {remedy}") from None


def _summary(run: Run) -> dict[str, Any]:
    """By row, contender and figure: median, range, and ratios to all that are not ours."""
    return {
        row.key: {entry.name: _figures(run, row, entry.name) for entry in run.entries}
        for row in run.rows
    }


def _figures(run: Run, row: Row, name: str) -> dict[str, Any]:
    others = [entry.name for entry in run.entries if entry.standing is not Standing.OURS]
    return {
        key: {
            **asdict(spread),
            "ratios": {
                other: ratio
                for other in others
                if other != name and (ratio := run.ratio(row, key, name, other)) is not None
            },
        }
        for key in row.figures
        if (spread := run.spread(row, name, key))
    }
