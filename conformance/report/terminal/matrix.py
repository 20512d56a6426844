"""The text of the matrix: a row for each server, a column for each client."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from conformance.model import Result
from conformance.report.findings.flakes import flaky_cases
from conformance.report.findings.grid import (
    CORNER,
    SCRIPTED,
    Grid,
    Heading,
    Tally,
    at_fault,
    grid,
    legend,
    total,
    totals,
)
from conformance.report.run import Run, lacking
from conformance.text import columns, padded, visible
from conformance.text import plain_signs as plain

GAP = "   "  # between two columns
BAR = " │ "  # before the first column, and before the columns `mixed` and `wire`

_COLORS = {"✓": "32", "~": "33", "✗": "1;31", "!": "35", "−": "2", "?": "2"}


@dataclass(frozen=True, slots=True)
class Look:
    """The capabilities of a terminal."""

    color: bool = False
    width: int = 80
    plain: bool = False  # whether our signs must be replaced by ASCII

    def text(self, tally: Tally) -> str:
        """The text of a cell."""
        return plain(tally.text) if self.plain else tally.text

    def painted(self, text: str, code: str) -> str:
        """The text in a colour, if the terminal has colours."""
        return f"\033[{code}m{text}\033[0m" if self.color else text


def matrix(run: Run, look: Look) -> str:
    """The matrix, its legend, the totals, and the programs at fault."""
    counts = f"{totals(total(run.results))} in {run.seconds:.1f} s"
    told = [counts, *lacking(run), *flaky_cases(run.results), *at_fault(run.results)]
    notes = [visible(line) for line in told]
    text = "\n".join([*_table(run.results, look), *_wrapped(notes, look.width)])
    return plain(text) if look.plain else text


def _table(results: Iterable[Result], look: Look) -> list[str]:
    whole = grid(results)
    if not whole.rows:
        return []
    blocks = [_block(whole, some, look) for some in _fitting(whole, look)]
    signs = [look.painted(line, "2") for line in _packed(legend(whole), look.width)]
    return ["\n\n".join(blocks), "", *signs, ""]


def _wrapped(lines: Iterable[str], width: int) -> list[str]:
    wrapper = textwrap.TextWrapper(
        width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return [part for line in lines for part in wrapper.wrap(line)]


def _packed(entries: Iterable[str], width: int) -> list[str]:
    """Lines that each hold as many entries as fit."""
    lines: list[str] = []
    for entry in entries:
        if lines and columns(f"{lines[-1]}{GAP}{entry}") <= width:
            lines[-1] += f"{GAP}{entry}"
        else:
            lines.append(entry)
    return lines


# --- Blocks: each has as many columns as fit into the width ---


def _fitting(whole: Grid, look: Look) -> list[list[Heading]]:
    """The columns of each block."""
    blocks: list[list[Heading]] = []
    used = look.width
    for heading in whole.columns:
        wide = columns(GAP) + columns(_column(whole, heading, look)[0])
        if used + wide > look.width:
            blocks.append([])
            used = columns(_names(whole)[0]) + 1
        blocks[-1].append(heading)
        used += wide
    return blocks


def _block(whole: Grid, some: Sequence[Heading], look: Look) -> str:
    """One block: the names of the rows, the columns of clients, then the special columns."""
    groups = [_names(whole)]
    for _, headings in groupby(some, key=lambda heading: heading[0] > 0):
        shown = [_column(whole, heading, look) for heading in headings]
        groups.append([GAP.join(cells) for cells in zip(*shown, strict=True)])
    head, *rows = [BAR.join(parts).rstrip() for parts in zip(*groups, strict=True)]
    rule = "─┼─".join("─" * columns(group[0]) for group in groups) + "─"
    if SCRIPTED in whole.rows[1:]:
        rows.insert(-1, rule)  # SCRIPTED is the last row
    return "\n".join([head, rule, *rows])


def _names(whole: Grid) -> list[str]:
    """The cells of the first column, its heading first, padded to equal width."""
    return _aligned([CORNER, *(visible(name) for _, name in whole.rows)])


def _column(whole: Grid, heading: Heading, look: Look) -> list[str]:
    """The cells of a column, its heading first, padded to equal width."""
    tallies = [whole.cells.get((row, heading)) for row in whole.rows]
    texts = [look.text(tally) if tally else "" for tally in tallies]
    name, *cells = _aligned([visible(heading[1]), *texts])
    return [name, *(_cell(*pair, look) for pair in zip(tallies, cells, strict=True))]


def _cell(tally: Tally | None, text: str, look: Look) -> str:
    if tally is None:
        return text
    shown = text.rstrip()
    return look.painted(shown, _COLORS[tally.mark]) + text[len(shown) :]


def _aligned(texts: Sequence[str]) -> list[str]:
    wide = max(columns(text) for text in texts)
    return [padded(text, wide) for text in texts]
