"""Play all cells of the table, and print what happened. `python draw.py [TEXT…]` plays only the
cells whose name contains one of the texts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

# As pytest does.
sys.path.insert(1, str(Path(__file__).parents[1] / "support"))

from programs import ROOT, Builds, build_programs, play_cell
from table import LANGUAGES, Cell, Row, cells, read_table

FILE = ROOT / "build" / "faults" / "table.md"
Seen = dict[str, str]  # what happened, by the cell's name; starts with ✓ if it is right


def happened(cell: Cell, builds: Builds) -> str:
    try:
        played = play_cell(builds, cell)
    except Exception as error:
        return f"✗ {error or type(error).__name__}"
    return f"✓ {cell.fate}" if played.strace.failed() else "✗ no call failed"


def table_of(role: str, rows: list[Row], seen: Seen) -> Iterator[str]:
    """A line for each row and error, a column for each program."""
    yield f"\n## {role}\n"
    yield "| fails | calls | error | " + " | ".join(LANGUAGES) + " |"
    yield "|---|---|---|" + "---|" * len(LANGUAGES)
    for row in rows:
        calls = " ".join(sorted({call for names in row.calls.values() for call in names}))
        for error in row.fates:
            line = [entry(Cell(row, role, program, error), seen) for program in LANGUAGES]
            yield f"| {row.what} | {calls} | {error} | " + " | ".join(line) + " |"


def entry(cell: Cell, seen: Seen) -> str:
    """The text of one column."""
    if cell.program not in cell.row.calls:
        return "–"
    if reason := cell.row.never.get(f"{cell.program} {cell.error}"):
        return f"cannot be: {reason}"
    return " ".join(seen.get(str(cell), "not played").split()).replace("|", "\\|")[:200]


def main(texts: list[str]) -> int:
    chosen = [one for one in cells() if not texts or any(text in str(one) for text in texts)]
    with TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        builds = build_programs(Path(folder))
        results = pool.map(lambda cell: happened(cell, builds), chosen)
        seen = {}
        for cell, result in zip(chosen, results, strict=True):
            seen[str(cell)] = result
            if not result.startswith("✓"):
                print(f"{cell}: {result}", flush=True)
    lines = ["# Calls that fail\n", "– : the program has no such call of its own."]
    for role, rows in read_table().items():
        lines += table_of(role, rows, seen)
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text("\n".join(lines) + "\n", "utf-8")
    bad = sum(not result.startswith("✓") for result in seen.values())
    print(f"{len(chosen)} cells, {bad} wrong: {FILE.relative_to(ROOT)}")
    return bool(bad or not chosen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
