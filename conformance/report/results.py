"""A run's results as one file, out and in: results.json, from which every report is drawn."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from conformance.mistakes import Mistake
from conformance.model import Requirement, Result, Verdict
from conformance.report.findings import findings
from conformance.text import counted, visible

SCHEMA = 1  # to be raised when a reader of an older file would misread a newer one
RESULTS_FILE = "results.json"
MOST_BYTES = 256 << 20  # of a results.json: more than any run writes
MOST_NAME = 200  # characters of a file's name; file systems allow 255
MOST_WORDS = 200  # characters of why one cannot be read

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# What is plain data in a Run already.
_PLAIN = ("suite", "version", "started", "seconds", "planned")
_PLAIN_LISTS = ("toolchains", "implementations", "folders")
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
        has = "has" if missing == 1 else "have"
        reasons.append(f"{missing} of {counted(run.planned, 'planned case')} {has} no result")
    unplayed = (Verdict.UNSUPPORTED, Verdict.UNAVAILABLE)
    if run.results and all(result.verdict in unplayed for result in run.results):
        reasons.append("no case was played: all are unsupported or unavailable")
    return reasons + [one.title for one in findings(run.results) if not one.fails_them]


def lacking(run: Run) -> list[str]:
    """What could not be run on this machine, and why, one line for each implementation."""
    return [
        f"? {one.get('role')} {one.get('name')}: {one['unavailable']}"
        for one in run.implementations
        if one.get("unavailable")
    ]


def _surprise(verdict: Verdict, count: int) -> str:
    known = "a known failure" if count == 1 else "known failures"
    why = {
        Verdict.PASSED: f", but listed as {known}",
        Verdict.UNAVAILABLE: ", but required",
        Verdict.UNSUPPORTED: ", but not expected",
    }
    return f"{count} {verdict}{why.get(verdict, '')}"


def transcript_name(case_id: str) -> str:
    """The file of a case's transcript; it keeps to what archives of CI artifacts allow."""
    name = re.sub(r"[^A-Za-z0-9.+_\[\]-]+", "_", case_id)
    if len(name) > MOST_NAME:  # of a suite that was named by a long path
        digest = hashlib.sha256(case_id.encode("utf-8", "backslashreplace")).hexdigest()
        name = f"{digest[:12]}_{name[-MOST_NAME:]}"
    return name + ".txt"


def output_name(case_id: str) -> str:
    """The file of all that the programs of a case said, where something went wrong in it."""
    return transcript_name(case_id).removesuffix(".txt") + ".output.txt"


def write(run: Run, folder: Path) -> None:
    """results.json, into a folder where nobody else writes."""
    (folder / RESULTS_FILE).write_text(json.dumps(run_to_json(run), indent=1) + "\n", "utf-8")


def read(path: Path) -> Run:
    """The run in a results.json, or in the folder that holds one; raises Mistake."""
    file = path / RESULTS_FILE if path.is_dir() else path
    try:
        with open(file, "rb") as stream:
            data = stream.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES >> 20} MiB")
        return run_from_json(json.loads(data.decode("utf-8"), parse_constant=_no_number))
    except OSError as error:
        raise Mistake([f"{file}: cannot be read: {error.strerror}"]) from None
    except (ValueError, RecursionError, OverflowError, MemoryError) as error:
        reason = visible(str(error) or type(error).__name__)[:MOST_WORDS]
        raise Mistake([f"{file}: not the results of a run: {reason}"]) from None


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def run_to_json(run: Run) -> dict[str, Any]:
    """The run as results.json holds it."""
    head = {key: getattr(run, key) for key in (*_PLAIN, *_PLAIN_LISTS)}
    rules = {rule.id: _without(asdict(rule), "id") for rule in run.requirements.values()}
    cases = [result_to_json(result) for result in run.results]
    whole = {"schema": SCHEMA, **head, "requirements": rules, "cases": cases}
    checked: dict[str, Any] = _encodable(whole)
    return checked


def run_from_json(data: Any) -> Run:
    """The reverse of `run_to_json`; raises ValueError."""
    if not isinstance(data, dict) or "schema" not in data:
        raise ValueError("it has no schema")
    if data["schema"] != SCHEMA:
        raise ValueError(f"its schema is {data['schema']!r}, this reads {SCHEMA}")
    rules = _typed(dict[str, dict[str, Any]], data.get("requirements"), "requirements")
    named = {id: rule | {"id": id} for id, rule in rules.items()}
    whole = data | {"requirements": named, "results": data.get("cases")}
    run: Run = _typed(Run, whole, "the run")
    return run


def result_to_json(result: Result) -> dict[str, Any]:
    """One case; `reason` and `failure` only where there is one."""
    data = asdict(result)
    checked: dict[str, Any] = _encodable(_without(data, *(k for k in _OPTIONAL if not data[k])))
    return checked


def result_from_json(data: Any) -> Result:
    """The reverse of `result_to_json`; raises ValueError."""
    result: Result = _typed(Result, data, "a case")
    return result


# Plain data as what the fields of a dataclass say


def _typed(hint: Any, data: Any, name: str) -> Any:
    """The data as a value of the type; raises ValueError where it is none."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind is Any:
        return data
    if kind is UnionType:
        return None if data is None else _typed(inner[0], data, name)
    if is_dataclass(kind):
        return _record(kind, _typed(dict[str, Any], data, name), name)
    if kind is tuple:
        return tuple(_typed(inner[0], item, name) for item in _typed(list, data, name))
    if kind is list and inner:
        return [_typed(inner[0], item, name) for item in _typed(list, data, name)]
    if kind in (dict, Mapping) and inner:
        return {key: _typed(inner[1], item, name) for key, item in _typed(dict, data, name).items()}
    if kind is float and type(data) is int:
        return float(data)
    if issubclass(kind, Enum) and data in list(kind):
        return kind(data)
    if type(data) is not kind or data in (math.inf, -math.inf):
        raise ValueError(f"`{name}` is {json.dumps(data)[:40]}, which is no {kind.__name__}")
    return data


def _record(kind: Any, data: Mapping[str, Any], name: str) -> Any:
    """A dataclass from the keys that it knows; a newer version may have written others."""
    hints = _hints(kind)
    known = {key: _typed(hints[key], data[key], key) for key in hints if key in data}
    try:
        return kind(**known)
    except TypeError:
        lacking = next(key for key in hints if key not in data)
        raise ValueError(f"{name} has no `{lacking}`") from None


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


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
