"""What is printed, and results.json, which `conformance run --attach` shows in its report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from .mutant import Found, Mutant, Verdict

Rows = Iterable[tuple[Mutant, Found]]

_COUNTED = (Verdict.KILLED, Verdict.SURVIVED, Verdict.EQUIVALENT)


def write(rows: Rows, path: Path) -> None:
    """Write results.json."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    data = {"when": when, "mutants": [found.row(mutant) for mutant, found in rows]}
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8")


def progress(place: int, planned: int, left: float, mutant: Mutant, found: Found) -> str:
    """The line of a mutant that was played."""
    rule = mutant.rule or found.rule or "-"
    how = f" ({found.reason})" if found.reason else ""
    by = f"  by {', '.join(found.killed_by)}{how}" if found.killed_by else ""
    minutes = f"{left / 60:.0f} min left" if left >= 60 else f"{left:.0f} s left"
    head = f"{place:4} of {planned}, {minutes:>10}  {found.verdict:9}"
    return f"{head} {mutant.id}  {rule}  {mutant.what}{by}"


def summary(rows: Rows) -> Iterator[str]:
    """Tables by program, section and scenario, then the surviving mutants with their edits."""
    rows = [(mutant, found) for mutant, found in rows if found.verdict in _COUNTED]
    yield from _table("program", ((mutant.program, found.verdict) for mutant, found in rows))
    yield from _table("section", ((_section(*row), row[1].verdict) for row in rows))
    yield from _table("scenario", _killers(rows))
    for mutant, found in rows:
        if found.verdict is Verdict.SURVIVED:
            yield from ("", f"SURVIVED {mutant.id}  {mutant.path}:{mutant.line}  {mutant.what}")
            yield from (f"  - {line}" for line in mutant.before.splitlines())
            yield from (f"  + {line}" for line in mutant.after.splitlines() or [""])


def thin(rows: Rows, rules: Iterable[str]) -> Iterator[str]:
    """The rules for which fewer than two mutants were killed."""
    killed = Counter[str]()
    for mutant, found in rows:
        if found.verdict is Verdict.KILLED:
            killed.update({mutant.rule, found.rule} - {""})
    few = [f"{rule} ({killed[rule]})" for rule in sorted(rules) if killed[rule] < 2]
    if few:
        yield f"fewer than two killed: {', '.join(few)}"


def _section(mutant: Mutant, found: Found) -> str:
    return (mutant.rule or found.rule or "(none)").rpartition("-")[0] or "(no rule)"


def _killers(rows: Rows) -> Iterator[tuple[str, Verdict]]:
    for _, found in rows:
        yield from ((key.partition("/")[0], found.verdict) for key in found.killed_by)


def _table(title: str, pairs: Iterable[tuple[str, Verdict]]) -> Iterator[str]:
    counts: dict[str, Counter[Verdict]] = {}
    for name, verdict in pairs:
        counts.setdefault(name, Counter())[verdict] += 1
    yield from ("", f"{title:16}" + "".join(f"{verdict:>12}" for verdict in _COUNTED))
    for name in sorted(counts):
        yield f"{name:16}" + "".join(f"{counts[name][verdict] or '-':>12}" for verdict in _COUNTED)
