"""Reads and writes results.json, which has all data of a run. Every report is made from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from conformance.mistakes import Mistake
from conformance.model import Delivery, Kind, Result, is_name
from conformance.report.findings.blame import Fault, accusation, faults
from conformance.report.folder.typed import typed
from conformance.report.run import Described, Run
from conformance.text import encodable, visible

SCHEMA = 1  # increase it if older versions would misread a new file
RESULTS_FILE = "results.json"
MOST_BYTES = 256 << 20  # more than any run writes
MOST_WORDS = 200  # characters of an error message

# Fields of a Run.
_PLAIN = ("suite", "version", "started", "seconds", "planned", "against")
_PLAIN_LISTS = ("toolchains", "implementations", "folders", "unneeded", "unread", "sources")
_OF_RUN = ("part", "scenarios", "tables", "mutants")  # dataclasses, or lists or mappings of them
# Fields of a Result.
_USUAL_DELIVERY = "delivery"  # left out if bytes were delivered whole
_OPTIONAL = ("reason", "failure", "afterwards", "known", "may_fail")  # left out if empty
_OF_REPEATED = ("played", "passed")  # left out if the case was played once

# Whether cases of a kind have a server, and whether they have clients.
_PLAYERS = {
    Kind.SERVER: (True, False),
    Kind.CLIENT: (False, True),
    Kind.PAIRING: (True, True),
    Kind.MIXED: (True, True),
}


def write(run: Run, folder: Path) -> None:
    """Write results.json into a folder. No other process may write into it."""
    (folder / RESULTS_FILE).write_text(json.dumps(run_to_json(run), indent=1) + "\n", "utf-8")


def read(path: Path) -> Run:
    """The run in a results.json, given by its path or its folder. Raises Mistake."""
    file = path / RESULTS_FILE if path.is_dir() else path
    try:
        with open(file, "rb") as stream:
            data = stream.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES >> 20} MiB")
        return run_from_json(json.loads(data.decode("utf-8"), parse_constant=_no_number))
    except FileNotFoundError:
        raise Mistake([f"{file}: no such file or folder; `conformance run` writes it"]) from None
    except OSError as error:
        raise Mistake([f"{file}: cannot be read: {error.strerror}"]) from None
    except (ValueError, RecursionError, OverflowError, MemoryError) as error:
        reason = visible(str(error) or type(error).__name__)[:MOST_WORDS]
        raise Mistake([f"{file}: not the results of a run: {reason}"]) from None


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not a number")


def run_to_json(run: Run) -> dict[str, Any]:
    """The contents of results.json."""
    head = {key: getattr(run, key) for key in (*_PLAIN, *_PLAIN_LISTS)}
    rules = {rule.id: _without(asdict(rule), "id") for rule in run.requirements.values()}
    cases = [result_to_json(result) for result in run.results]
    blamed = [_blamed(fault) for fault in faults(run.results)]
    own = {key: _plain(value) for key in _OF_RUN if (value := getattr(run, key))}
    lists = {"requirements": rules, "blame": blamed, **own, "cases": cases}
    whole = {"schema": SCHEMA, **head, **lists}
    checked: dict[str, Any] = _encodable(whole)
    return checked


def _blamed(fault: Fault) -> dict[str, Any]:
    """An entry of `blame`. It is for other readers: `read` ignores it."""
    return asdict(fault) | {"says": accusation(fault)}


def run_from_json(data: Any) -> Run:
    """The reverse of `run_to_json`. Raises ValueError."""
    if not isinstance(data, dict) or "schema" not in data:
        raise ValueError("it has no `schema`")
    if data["schema"] != SCHEMA:
        raise ValueError(f"its schema is {data['schema']!r}; this version reads only {SCHEMA}")
    rules = typed(dict[str, dict[str, Any]], data.get("requirements"), "requirements")
    named = {id: rule | {"id": id} for id, rule in rules.items()}
    cases = [_completed(case) for case in typed(list[dict[str, Any]], data.get("cases"), "results")]
    some = typed(list[dict[str, Any]], data.get("implementations", []), "implementations")
    own = {"requirements": named, "results": cases, "implementations": [*map(_described, some)]}
    run: Run = typed(Run, data | own, "the run")
    _check_names(run)
    _check_players(run)
    return run


def _described(one: dict[str, Any]) -> dict[str, Any]:
    """An entry of `implementations` with all its keys. Raises ValueError."""
    plain = _encodable(one)
    return {**plain, **asdict(typed(Described, plain, "an implementation"))}


def _check_names(run: Run) -> None:
    """Raise ValueError for a name that no program can have: files are named after programs."""
    names = {one["name"] for one in run.implementations}
    names |= {name for one in run.results for name in (one.server, *one.clients) if name}
    for name in sorted(names):
        if not is_name(name):
            raise ValueError(f"`{name}` is not the name of a program")


def _check_players(run: Run) -> None:
    """Raise ValueError for a case without a program of its kind: reports are arranged by them."""
    for one in run.results:
        if (bool(one.server), bool(one.clients)) != _PLAYERS[one.kind]:
            raise ValueError(f"the case {one.id} has not the programs of its kind, `{one.kind}`")


def result_to_json(result: Result) -> dict[str, Any]:
    """An entry of `cases`."""
    data = asdict(result)
    left_out = [key for key in _OPTIONAL if not data[key]]
    left_out += _OF_REPEATED if result.played == 1 else ()
    left_out += (_USUAL_DELIVERY,) if result.delivery is Delivery.WHOLE else ()
    checked: dict[str, Any] = _encodable(_without(data, *left_out))
    return checked


def result_from_json(data: Any) -> Result:
    """The reverse of `result_to_json`. Raises ValueError."""
    result: Result = typed(Result, data, "a case")
    return result


def _completed(case: dict[str, Any]) -> dict[str, Any]:
    """A case with its pairing and kind. An older version wrote them only as part of the id."""
    if "pairing" in case or not isinstance(case.get("id"), str):
        return case
    pairing = case["id"].rpartition("[")[2].removesuffix("]")
    if pairing.endswith("+mixed"):
        kind = Kind.MIXED
    elif case.get("server") and case.get("clients"):
        kind = Kind.PAIRING
    else:
        kind = Kind.SERVER if case.get("server") else Kind.CLIENT
    return {"pairing": pairing, "kind": kind, **case}


def _plain(value: Any) -> Any:
    """A dataclass, or a list or mapping of dataclasses, as plain data."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else asdict(value)


def _without(data: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in keys}


def _encodable(value: Any) -> Any:
    """The data with lone surrogates made visible, because many JSON parsers reject them."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, Mapping):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value
