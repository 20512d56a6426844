"""index.html: one file that needs no network, from the matrix down to a case's transcript.

How it looks stands in page.html, a template of Jinja2. The cases go in as JSON, and the page's
script shows them when they are asked for, so that a page of many cases opens at once.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from conformance.model import Failure, Result
from conformance.report.failure import parts, replay
from conformance.report.grid import CORNER, at_fault, grid, legend, position, total, totals
from conformance.report.groups import groups
from conformance.report.run import Run, advice, lacking, red, unsteady
from conformance.report.transcripts import transcript_name
from conformance.report.way import bars, entry
from conformance.text import visible

TEMPLATE = "page.html"
TRANSCRIPT_CHARACTERS = 20_000  # of one case; its file has the rest

_MARK_CLASSES = {"✓": "good", "~": "known", "✗": "bad", "!": "error", "−": "idle", "?": "idle"}


def index_html(run: Run, transcripts: Path | None = None) -> str:
    """The page of a run; `transcripts` is the folder that holds those of its cases."""
    whole = grid(run.results)
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.filters["visible"] = visible
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}  # rules stay in order
    template = files("conformance.report").joinpath(TEMPLATE).read_text("utf-8")
    return environment.from_string(template).render(
        suite=run.suite,
        corner=CORNER,
        grid=whole,
        classes=_MARK_CLASSES,
        legend=legend(whole),
        data=_data(run, transcripts),
    )


def _data(run: Run, transcripts: Path | None) -> dict[str, Any]:
    texts: dict[str, int] = {}  # each once: programs that behave alike leave the same transcript
    rules = {rule.id: f"({rule.level}) {rule.text}" for rule in run.requirements.values()}
    reasons = red(run)
    played = total(run.results).played
    plain = {
        "green": not reasons,
        "totals": totals(total(run.results)),
        "notes": [
            *(reasons + lacking(run) + advice(run)),
            *(unsteady(run) + at_fault(run.results)),
        ],
        "facts": _facts(run),
        "mend": [[entry(run, one, played), one.cases[0].id] for one in groups(run.results)],
        "bars": bars(run),
        "rules": rules,
        "cases": [_case(run, result, transcripts, texts) for result in run.results],
    }
    return {**_mapped(plain, visible), "transcripts": list(texts)}


def _facts(run: Run) -> list[str]:
    """What the results hold for: when, how long, with which versions."""
    when = run.started[:16].replace("T", " ") + " UTC"
    tools = [said if name in said else f"{name} {said}" for name, said in run.toolchains.items()]
    return [when, f"{run.seconds:.1f} s", f"conformance {run.version}", *tools]


def _case(
    run: Run, result: Result, transcripts: Path | None, texts: dict[str, int]
) -> dict[str, Any]:
    row, column = position(result)
    said = _transcript(result, transcripts)
    case = {
        "id": result.id,
        "scenario": result.scenario,
        "pairing": result.pairing,
        "row": row[1],
        "column": column[1],
        "rules": list(result.requirements),
        "verdict": str(result.verdict),
        "expected": result.expected,
        "seconds": round(result.seconds, 3),
        "reason": [*filter(None, [result.repeated]), *result.reason.splitlines()],
        "replay": replay(result.id, run.folders),
        "failure": _failure(result.failure) if result.failure else None,
        "afterwards": _failure(result.afterwards) if result.afterwards else None,
        "transcript": None if said is None else texts.setdefault(said, len(texts)),
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


def _transcript(result: Result, transcripts: Path | None) -> str | None:
    """What was said in a case, if its file is there."""
    path = transcripts / transcript_name(result.id) if transcripts else None
    if path is None or not path.is_file():
        return None
    text = path.read_text("utf-8", "surrogateescape")
    if len(text) > TRANSCRIPT_CHARACTERS:
        text = text[:TRANSCRIPT_CHARACTERS] + f"\n… the rest stands in {path.name}"
    return "\n".join(visible(line) for line in text.split("\n"))


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """The same data with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): _mapped(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_mapped(item, change) for item in value]
    return value
