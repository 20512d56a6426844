"""A run's results as one file, out and in: results.json, from which every report is drawn."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from conformance.model import Failure, FailureKind, Mistake, Place, Requirement, Result, Verdict
from conformance.transcript import visible

SCHEMA = 1  # to be raised when a reader of an older file would misread a newer one
RESULTS_FILE = "results.json"

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# What is plain data in a Run already.
_PLAIN = ("suite", "version", "started", "seconds", "planned")
_PLAIN_LISTS = ("toolchains", "implementations", "left_over", "folders")
_OPTIONAL = ("reason", "failure", "afterwards")  # left out of a case that has none


@dataclass(frozen=True, slots=True)
class Run:
    """All that is known of one run."""

    started: str  # UTC, ISO 8601
    seconds: float
    planned: int  # cases; fewer results than this make the run red
    suite: str
    version: str  # of the harness
    toolchains: dict[str, str] = field(default_factory=dict)  # "go" → "go1.22.1"
    implementations: list[dict[str, Any]] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)  # processes that outlived their case
    requirements: Mapping[str, Requirement] = field(default_factory=dict)  # in the text's order
    folders: list[str] = field(default_factory=list)  # given by --implementation


def red(run: Run) -> list[str]:
    """Why a run is red, one line for each reason; none: it is green."""
    surprises = Counter(result.verdict for result in run.results if not result.expected)
    ordered = [verdict for verdict in Verdict if verdict in surprises]
    return incomplete(run) + [_surprise(verdict, surprises[verdict]) for verdict in ordered]


def incomplete(run: Run) -> list[str]:
    """What is wrong with a run that no case's verdict shows."""
    reasons = []
    if not run.planned:
        reasons.append("no case was planned")
    elif missing := run.planned - len({result.id for result in run.results}):
        reasons.append(f"{missing} of {run.planned} planned cases have no result")
    unplayed = (Verdict.UNSUPPORTED, Verdict.UNAVAILABLE)
    if run.results and all(result.verdict in unplayed for result in run.results):
        reasons.append("no case was played: all are unsupported or unavailable")
    return reasons + [f"left over: {process}" for process in run.left_over]


def _surprise(verdict: Verdict, count: int) -> str:
    why = {
        Verdict.PASSED: ", but listed as known failures",
        Verdict.UNAVAILABLE: ", but required",
        Verdict.UNSUPPORTED: ", but not expected",
    }
    return f"{count} {verdict}{why.get(verdict, '')}"


def transcript_name(case_id: str) -> str:
    """The file of a case's transcript; it keeps to what archives of CI artifacts allow."""
    return re.sub(r"[^A-Za-z0-9.+_\[\]-]+", "_", case_id) + ".txt"


def write(run: Run, folder: Path) -> None:
    """results.json, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    half = folder / f".{RESULTS_FILE}.{os.getpid()}"
    half.write_text(json.dumps(run_to_json(run), indent=1) + "\n", "utf-8")
    half.replace(folder / RESULTS_FILE)


def read(path: Path) -> Run:
    """The run in a results.json, or in the folder that holds one; raises Mistake."""
    file = path / RESULTS_FILE if path.is_dir() else path
    try:
        return run_from_json(json.loads(file.read_text("utf-8")))
    except OSError as error:
        raise Mistake([f"{file}: cannot be read: {error.strerror}"]) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Mistake([f"{file}: not the results of a run: {error!r}"]) from None


def run_to_json(run: Run) -> dict[str, Any]:
    """The run as results.json holds it."""
    head = {key: getattr(run, key) for key in (*_PLAIN, *_PLAIN_LISTS)}
    rules = {rule.id: _without(asdict(rule), "id") for rule in run.requirements.values()}
    cases = [result_to_json(result) for result in run.results]
    whole = {"schema": SCHEMA, **head, "requirements": rules, "cases": cases}
    checked: dict[str, Any] = _encodable(whole)
    return checked


def run_from_json(data: dict[str, Any]) -> Run:
    """The reverse of `run_to_json`."""
    if data["schema"] != SCHEMA:
        raise ValueError(f"its schema is {data['schema']}, this reads {SCHEMA}")
    return Run(
        **{key: data[key] for key in (*_PLAIN, *_PLAIN_LISTS)},
        requirements={id: _requirement(id, rule) for id, rule in data["requirements"].items()},
        results=[result_from_json(case) for case in data["cases"]],
    )


def result_to_json(result: Result) -> dict[str, Any]:
    """One case; `reason` and `failure` only where there is one."""
    data = asdict(result)
    checked: dict[str, Any] = _encodable(_without(data, *(k for k in _OPTIONAL if not data[k])))
    return checked


def result_from_json(data: dict[str, Any]) -> Result:
    """The reverse of `result_to_json`."""
    tuples = {key: tuple(data[key]) for key in ("clients", "requirements")}
    failures = {
        key: _failure(data[key]) if data.get(key) else None for key in ("failure", "afterwards")
    }
    return Result(**(data | tuples | {"verdict": Verdict(data["verdict"])} | failures))


def _failure(data: dict[str, Any]) -> Failure:
    tuples = {key: tuple(data[key]) for key in ("timeline", "stderr")}
    return Failure(**(data | tuples | {"kind": FailureKind(data.get("kind", FailureKind.STEP))}))


def _requirement(id: str, data: dict[str, Any]) -> Requirement:
    return Requirement(**(data | {"id": id, "place": Place(**data["place"])}))


def _without(data: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in keys}


def _encodable(value: Any) -> Any:
    """The same with lone surrogates made visible: many readers of JSON refuse them."""
    if isinstance(value, str):
        return _LONE_SURROGATE.sub(lambda found: visible(found[0]), value)
    if isinstance(value, Mapping):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value
