"""Divides a case that was played into beats, the units in which `conformance play` shows it.

A beat is one act in one line of the scenario, with the output that follows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.guide.dialogue import DOES, SAYS, has_origin, place_of, sign
from conformance.guide.stage import Played
from conformance.kit import find
from conformance.model import Origin, Scenario
from conformance.play.case.transcript import Row
from conformance.text import visible


@dataclass(frozen=True, slots=True)
class Beat:
    """The state of the transcript at one beat."""

    rows: Sequence[Row]  # all rows up to and including this beat
    new: int  # index of the first row of this beat
    line: int  # of the scenario's file; 0: the beat belongs to the suite's ending
    failed: bool = False  # the step in that line failed


def beats(played: Played) -> Iterator[Beat]:
    """The beats of a case, in order, without fences. A failed step is a beat at the end."""
    shown = [row for row in played.rows if not has_origin(row, Origin.FENCE)]
    lines = [_line(row, played.case.scenario) for row in shown]
    starts = [n for n in range(len(shown)) if n == 0 or _begins(shown[n - 1], shown[n], lines, n)]
    for start, end in zip(starts, [*starts[1:], len(shown)], strict=True):
        yield Beat(shown[:end], start, lines[start])
    if played.outcome.failure:
        steps = played.case.scenario.steps
        step = steps[min(played.outcome.reached, len(steps) - 1)]
        yield Beat(shown, len(shown), step.place.line, failed=True)


def _begins(before: Row, row: Row, lines: Sequence[int], place: int) -> bool:
    """Whether a beat begins at `row`: with a new line of the scenario, or a new act in the line."""
    if lines[place] != lines[place - 1]:
        return True
    acts = sign(row) == SAYS or (sign(row) == DOES and lines[place] > 0)
    return acts and row.step is not before.step


def _line(row: Row, scenario: Scenario) -> int:
    file, line = place_of(row.step)
    return 0 if file != scenario.file or has_origin(row, Origin.ENDING) else line


def source(scenario: Scenario) -> list[tuple[int, str]]:
    """The lines of a scenario in its file, with their numbers from 1 on."""
    text = find(Path(scenario.file)).read_text("utf-8").split("\n")
    first = scenario.place.line
    last = max(step.place.line for step in scenario.single_steps if step.origin in _IN_FILE)
    edge = len(text[first - 1]) - len(text[first - 1].lstrip(" -"))
    while last < len(text) and text[last].startswith(" " * (edge + 1)):
        last += 1  # the last step may span several lines
    return [(number, visible(text[number - 1])) for number in range(first, last + 1)]


_IN_FILE = (Origin.WRITTEN, Origin.SHORTHAND)
