"""A run as a page of Markdown: what is wrong, then an overview, then row by row.

It knows nothing of how things are measured, and writes no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bench.contenders import Standing
from bench.results import Entry, Run, Spread
from bench.rows import FIGURES, Row, Scale, significant

NOTHING = "–"  # in place of a figure that was not measured
WRONG = "⚠"  # before a figure of a contender with defects


def markdown(run: Run) -> str:
    """The whole page."""
    parts = [
        _head(run),
        *_left_out(run),
        *_defects(run),
        *_failures(run),
        *_glance(run),
        *(_row(run, row) for row in run.rows),
    ]
    return "\n\n".join(parts) + "\n"


def grid(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is aligned to the left, the others to the right."""
    wide = [max(len(line[i]) for line in (heads, *lines)) for i in range(len(heads))]
    rule = [f":{'-' * (wide[0] - 1)}", *(f"{'-' * (size - 1)}:" for size in wide[1:])]
    text = [
        [
            line[0].ljust(wide[0]),
            *(cell.rjust(size) for cell, size in zip(line[1:], wide[1:], strict=True)),
        ]
        for line in (heads, *lines)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in (text[0], rule, *text[1:]))


# --- The head, and what is wrong -----------------------------------------------------------------


def _head(run: Run) -> str:
    machine, scale = run.machine, run.scale
    cores = machine["cores"]
    is_small = scale.seconds < Scale().seconds or scale.joins < Scale().joins
    small = " **Smaller numbers than usual: for trying out, not for telling.**" if is_small else ""
    lines = [
        "# The bench",
        "",
        f"{run.time}, {machine['processor']}, {machine['kernel']}; the server on core "
        f"{cores['server']}, the load on core {cores['load']}; load average before: "
        f"{machine['load_average']:.2f}. Medians of {run.repeats} (lowest–highest), "
        f"{scale.seconds:g} s each, 64-byte messages; idle users once.{small}",
        "",
        *(f"- `{one.name}`: {one.title}{_in_brackets(one.version)}" for one in run.entries),
    ]
    return "\n".join(lines)


def _in_brackets(version: str) -> str:
    return f" ({version})" if version else ""


def _left_out(run: Run) -> Iterator[str]:
    if run.left_out:
        lines = [f"- `{name}`: {reason.splitlines()[0]}" for name, reason in run.left_out.items()]
        yield "\n".join(["**Left out:**", "", *lines])


def _defects(run: Run) -> Iterator[str]:
    """Conspicuous if there are any: the speed of a server that loses messages means nothing."""
    lines = [
        f"- **{WRONG} `{entry.name}`, {row.title}: {_counts(found)}**"
        for row in run.rows
        for entry in run.entries
        if (found := run.defects(row, entry.name))
    ]
    if lines:
        yield "\n".join([f"## {WRONG} DEFECTS", "", *lines])
    else:
        yield "With all of them, each message came to everyone it was for: once, whole, in order."


def _counts(found: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in found.items())


def _failures(run: Run) -> Iterator[str]:
    lines = [
        f"- `{entry.name}`, {row.title}: {' '.join(error.split())}"
        for row in run.rows
        for entry in run.entries
        for error in run.errors(row, entry.name)
    ]
    if lines:
        yield "\n".join(["## Could not be measured", "", *lines])


# --- The overview --------------------------------------------------------------------------------


def _glance(run: Run) -> Iterator[str]:
    rows = [row for row in run.rows if row.is_throughput]
    if not rows:
        return
    heads = [row.title for row in rows]
    rates = [[entry.name, *(_rate(run, row, entry) for row in rows)] for entry in run.entries]
    title = "## Deliveries a second (server CPU a delivery, µs)"
    yield f"{title}\n\n{grid(['', *heads], rates)}"
    mine = run.entries_of(Standing.OURS)
    if mine and run.entries_of(Standing.PEER):
        lines = [[one.name, *(_beside_best(run, row, one.name) for row in rows)] for one in mine]
        yield f"## Deliveries a second, over the best peer's\n\n{grid(['', *heads], lines)}"
    others = [one for one in run.entries if one.standing is not Standing.YARDSTICK]
    if len(others) < len(run.entries):
        lines = [
            [one.name, *(_times(run.ratio(row, "cpu", one.name, "yardstick")) for row in rows)]
            for one in others
        ]
        yield f"## CPU a delivery, over the yardstick's\n\n{grid(['', *heads], lines)}"


def _rate(run: Run, row: Row, entry: Entry) -> str:
    cpu = run.spread(row, entry.name, "cpu")
    rate = _median(run, row, entry.name, "rate")
    return f"{rate} ({significant(cpu.median, 2)})" if cpu else rate


def _beside_best(run: Run, row: Row, name: str) -> str:
    best = run.best_peer(row, row.leading.key)
    return f"{_times(run.ratio(row, row.leading.key, name, best))} {best}" if best else NOTHING


# --- Row by row ----------------------------------------------------------------------------------


def _row(run: Run, row: Row) -> str:
    """All figures of a row, and the ratios of the first one."""
    better = "more" if row.leading.more_is_better else "less"
    peers = [entry.name for entry in run.entries_of(Standing.PEER)]
    others = [entry.name for entry in run.entries_of(Standing.FIRST)] + peers
    heads = ["", *(FIGURES[key].title for key in row.figures), *(f"÷ {name}" for name in others)]
    if peers:
        heads.append("÷ best peer")
    lines = [
        [
            entry.name,
            *(_cell(run, row, entry.name, key) for key in row.figures),
            *_ratios(run, row, entry.name, others),
        ]
        for entry in run.entries
    ]
    note = f"Ratios are of {row.leading.title}; {better} is better."
    return f"## {_capital(row.title)}\n\n{note}\n\n{grid(heads, lines)}"


def _ratios(run: Run, row: Row, name: str, others: Sequence[str]) -> list[str]:
    key = row.leading.key
    cells = [_times(run.ratio(row, key, name, other)) for other in others]
    best = run.best_peer(row, key)
    if run.entries_of(Standing.PEER):
        cells.append(_times(run.ratio(row, key, name, best)) if best else NOTHING)
    return cells


def _cell(run: Run, row: Row, name: str, key: str) -> str:
    spread = run.spread(row, name, key)
    median = _median(run, row, name, key)
    return f"{median} {_ends(key, spread)}".rstrip() if spread else median


def _median(run: Run, row: Row, name: str, key: str) -> str:
    """The median as text, marked if the contender had defects in this row."""
    spread = run.spread(row, name, key)
    mark = f"{WRONG} " if run.defects(row, name) else ""
    return f"{mark}{FIGURES[key].text(spread.median)}" if spread else f"{mark}{NOTHING}"


def _ends(key: str, spread: Spread) -> str:
    text = FIGURES[key].text
    return f"({text(spread.low)}–{text(spread.high)})" if spread.low != spread.high else ""


def _times(ratio: float | None) -> str:
    return f"{significant(ratio)}×" if ratio is not None else NOTHING


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# --- The same for other pages --------------------------------------------------------------------


def attachable(run: Run) -> dict[str, Any]:
    """The medians as `conformance --attach` takes a table: a column for each contender.

    Our servers are called there as the harness calls them, so that it knows them again.
    """
    ours = {entry.name for entry in run.entries_of(Standing.OURS)}
    return {
        "title": "Bench of the servers",
        "when": run.time,
        "columns": [
            "",
            *(f"server-{one.name}" if one.name in ours else one.name for one in run.entries),
        ],
        "rows": [
            [f"{row.title}: {FIGURES[key].with_unit}", *_medians(run, row, key)]
            for row in run.rows
            for key in row.figures
        ],
        "notes": [f"{run.machine['processor']}; medians of {run.repeats}."],
    }


def _medians(run: Run, row: Row, key: str) -> Iterator[float | None]:
    """Of each contender; of one with defects, a figure says nothing."""
    for entry in run.entries:
        spread = run.spread(row, entry.name, key)
        yield spread.median if spread and not run.defects(row, entry.name) else None
