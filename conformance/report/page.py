"""index.html: one file that needs no network, from the matrix down to a case's transcript.

The page's own text is page.html. The matrix is put into it as it is; the cases go in as JSON, and
are shown by the page's script only when asked for, so that a page of many cases opens at once.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from conformance.model import Failure, Result
from conformance.report.failure import parts, replay
from conformance.report.grid import (
    Grid,
    Heading,
    Tally,
    at_fault,
    grid,
    legend,
    position,
    total,
    totals,
)
from conformance.report.results import Run, lacking, red, transcript_name
from conformance.text import visible

TEMPLATE = "page.html"
TRANSCRIPT_CHARACTERS = 20_000  # of one case; its file has the rest

_MARK_CLASSES = {"✓": "good", "~": "known", "✗": "bad", "!": "error", "−": "idle", "?": "idle"}


def index_html(run: Run, transcripts: Path | None = None) -> str:
    """The page of a run; `transcripts` is the folder that holds those of its cases."""
    whole = grid(run.results)
    parts_of_page = {
        "TITLE": html.escape(visible(run.suite)),
        "MATRIX": _matrix(whole),
        "LEGEND": _legend(whole),
        "DATA": _script_safe(_data(run, transcripts)),
    }
    template = files("conformance.report").joinpath(TEMPLATE).read_text("utf-8")
    # In one pass, so that a text that looks like a placeholder stays a text.
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda found: parts_of_page[found[1]], template)


def _script_safe(data: dict[str, Any]) -> str:
    """JSON in which no text can end the script element that holds it."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


# The matrix


def _matrix(whole: Grid) -> str:
    columns = whole.columns
    head = "".join(f"<th scope=col{_kind(c)}>{_button('', c[1], c[1])}</th>" for c in columns)
    lines = [f"<thead><tr><th class=corner>server × client</th>{head}</tr></thead><tbody>"]
    for row in whole.rows:
        cells = "".join(_cell(row, column, whole.cells.get((row, column))) for column in columns)
        name = _button(row[1], "", row[1])
        lines.append(f"<tr{_kind(row)}><th scope=row>{name}</th>{cells}</tr>")
    return "\n".join([*lines, "</tbody>"])


def _kind(heading: Heading) -> str:
    return " class=alone" if heading[0] else ""


def _cell(row: Heading, column: Heading, tally: Tally | None) -> str:
    if tally is None:
        return f"<td{_kind(column)}></td>"
    button = _button(row[1], column[1], tally.text, _MARK_CLASSES[tally.mark])
    return f"<td{_kind(column)}>{button}</td>"


def _button(row: str, column: str, text: str, kind: str = "") -> str:
    """What shows the cases of a row, a column or a cell."""
    row, column, text = (html.escape(visible(part)) for part in (row, column, text))
    return f'<button class="{kind}" data-row="{row}" data-column="{column}">{text}</button>'


def _legend(whole: Grid) -> str:
    return "".join(f"<span>{html.escape(entry)}</span>" for entry in legend(whole))


# The cases


def _data(run: Run, transcripts: Path | None) -> dict[str, Any]:
    pool = _Pool()
    rules = {rule.id: f"({rule.level}) {rule.text}" for rule in run.requirements.values()}
    reasons = red(run)
    plain = {
        "green": not reasons,
        "totals": totals(total(run.results)),
        "notes": reasons + lacking(run) + at_fault(run.results),
        "facts": _facts(run),
        "rules": rules,
        "cases": [_case(run, result, transcripts, pool) for result in run.results],
    }
    return {**_mapped(plain, visible), "transcripts": pool.texts}


def _facts(run: Run) -> list[str]:
    """What the results hold for: when, how long, with which versions."""
    when = run.started[:16].replace("T", " ") + " UTC"
    tools = [said if name in said else f"{name} {said}" for name, said in run.toolchains.items()]
    return [when, f"{run.seconds:.1f} s", f"conformance {run.version}", *tools]


class _Pool:
    """Every text once: implementations that behave alike leave the same transcript."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers))

    @property
    def texts(self) -> list[str]:
        return list(self._numbers)


def _case(run: Run, result: Result, transcripts: Path | None, pool: _Pool) -> dict[str, Any]:
    row, column = position(result)
    case = {
        "id": result.id,
        "scenario": result.scenario,
        "pairing": result.id[result.id.rfind("[") + 1 : -1],
        "row": row[1],
        "column": column[1],
        "rules": list(result.requirements),
        "verdict": str(result.verdict),
        "expected": result.expected,
        "seconds": round(result.seconds, 3),
        "reason": result.reason.splitlines(),
        "replay": replay(result.id, run.folders),
        "failure": _failure(result.failure) if result.failure else None,
        "afterwards": _failure(result.afterwards) if result.afterwards else None,
        "transcript": _transcript(result, transcripts, pool),
    }
    return {key: value for key, value in case.items() if value not in (None, [])}


def _failure(failure: Failure) -> dict[str, Any]:
    before, wanted, got, after = parts(visible(failure.expected), visible(failure.seen))
    return {
        "rule": failure.requirement,
        "step": failure.step,
        "reason": failure.reason,
        "expected": [before, wanted, after],
        "seen": [before, got, after],
        "timeline": list(failure.timeline),
        "stderr": list(failure.stderr),
    }


def _transcript(result: Result, transcripts: Path | None, pool: _Pool) -> int | None:
    """The number of its text in the pool; None where there is none."""
    path = transcripts / transcript_name(result.id) if transcripts else None
    if path is None or not path.is_file():
        return None
    text = path.read_text("utf-8", "surrogateescape")
    if len(text) > TRANSCRIPT_CHARACTERS:
        text = text[:TRANSCRIPT_CHARACTERS] + f"\n… the rest stands in {path.name}"
    return pool.number("\n".join(visible(line) for line in text.split("\n")))


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """The same data with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): _mapped(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_mapped(item, change) for item in value]
    return value
