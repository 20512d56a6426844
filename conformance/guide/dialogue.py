"""Formats a transcript as a short dialogue.

Successive actors that see the same line share one line. Fences are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from conformance.model import Origin, Step
from conformance.play.case.transcript import Row
from conformance.text import clipped, columns, counted, padded

WIDTH = 100
MOST_LINES = 60  # of a longer dialogue, the beginning and the end are shown
MOST_NAMES = 30  # columns for the names of actors

SAYS, SEES, DOES, COMPLAINS = "→", "←", "·", "!"
_SIGNS = {">": SAYS, "<": SEES, "?": SEES, "*": DOES, "!": COMPLAINS}


def sign(row: Row) -> str:
    """SAYS, SEES, DOES, or COMPLAINS (a line on standard error)."""
    return _SIGNS[row.mark[0]]


def has_origin(row: Row, *origins: Origin) -> bool:
    """Whether a row belongs to a step of one of these origins."""
    return row.step is not None and row.step.origin in origins


def dialogue(rows: Sequence[Row]) -> list[str]:
    """The lines of the dialogue. A name is left out if it is the same as in the line before."""
    shown = [row for row in rows if not has_origin(row, Origin.FENCE)]
    merged = [(", ".join(names), row) for names, row in _merged(shown)]
    wide = min(max((columns(names) for names, _ in merged), default=0), MOST_NAMES)
    before, lines = "", []
    for names, row in merged:
        said = padded(names if names != before else "", wide)
        lines.append(clipped(f"{said} {sign(row)} {row.text}".rstrip(), WIDTH))
        before = names
    left_out = sum(has_origin(row, Origin.FENCE) and sign(row) == SAYS for row in rows)
    proof = f"(nothing else has come: {counted(left_out, 'line')} more, left out here, prove it)"
    return [*_shortened(lines), *([proof] if left_out else [])]


def _merged(rows: Iterable[Row]) -> Iterator[tuple[list[str], Row]]:
    """Rows with the names of their actors.

    Successive equal rows of different actors are merged if they were seen, or are of one step.
    """
    names: list[str] = []
    last: Row | None = None
    for row in rows:
        if last and row.actor not in names and _are_one(last, row):
            names.append(row.actor)
            continue
        if last:
            yield names, last
        names, last = [row.actor], row
    if last:
        yield names, last


def _are_one(one: Row, other: Row) -> bool:
    same = (sign(one), one.text) == (sign(other), other.text)
    return same and (sign(one) == SEES or place_of(one.step) == place_of(other.step))


def _shortened(lines: list[str]) -> list[str]:
    more = len(lines) - MOST_LINES
    if more <= 1:
        return lines
    half = MOST_LINES // 2
    return [*lines[:half], f"… {more} more lines …", *lines[-half:]]


def place_of(step: Step | None) -> tuple[str, int]:
    """The file and the line of a step; `("", 0)` without a step."""
    return (step.place.file, step.place.line) if step else ("", 0)
