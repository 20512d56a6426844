"""Joins the parts of one run, which several machines played, into the whole run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from conformance.mistakes import Mistake
from conformance.report.run import Part, Run
from conformance.text import counted

SHOWN = 10  # missing parts that are listed


def merged(named: Sequence[tuple[str, Run]]) -> Run:
    """The run that has these parts, each given with its file name.

    Raises Mistake if they are not exactly the parts of one run.
    """
    parts = [(name, run, _part(name, run)) for name, run in named]
    _check(parts)
    runs = [run for _, run, _ in parts]
    places = {id: place for _, _, part in parts for id, place in part.places.items()}
    results = [one for run in runs for one in run.results]
    return replace(
        runs[0],
        started=min(run.started for run in runs),
        seconds=max(run.seconds for run in runs),
        planned=parts[0][2].planned,
        toolchains={key: text for run in runs for key, text in run.toolchains.items()},
        implementations=_listed(runs),
        scenarios={key: one for run in runs for key, one in run.scenarios.items()},
        sources={file: text for run in runs for file, text in run.sources.items()},
        results=sorted(results, key=lambda one: places[one.id]),
        part=None,
    )


def _part(name: str, run: Run) -> Part:
    if run.part is None:
        raise Mistake([f"{name}: a whole run, not a part; parts are played with --shard I/N"])
    if any(result.id not in run.part.places for result in run.results):
        raise Mistake([f"{name}: it has cases that do not belong to its part; play the part again"])
    return run.part


def _check(parts: Sequence[tuple[str, Run, Part]]) -> None:
    """Check that these are all parts of one plan, each exactly once. Raises Mistake."""
    first, run, part = parts[0]
    alike = (run.suite, run.version, part.of, part.plan)
    problems = [
        f"{name}: not a part of the same run as {first}; play all parts with the same files"
        for name, other, its in parts[1:]
        if (other.suite, other.version, its.of, its.plan) != alike
    ]
    if problems:
        raise Mistake(problems)
    known: dict[int, str] = {}
    for name, _, its in parts:
        if its.number in known:
            problems.append(f"{name}: part {its.number} is already in {known[its.number]}")
        known.setdefault(its.number, name)
    if missing := part.of - len(known):
        numbers = (number for number in range(1, part.of + 1) if number not in known)
        some = ", ".join(f"{number}/{part.of}" for number in islice(numbers, SHOWN))
        more = f" and {missing - SHOWN} more" if missing > SHOWN else ""
        problems.append(f"{counted(missing, 'part')} missing: --shard {some}{more}")
    if problems:
        raise Mistake(problems)


def _listed(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The implementations of all parts, without duplicates."""
    found = {(one.get("role"), one.get("name")): one for run in runs for one in run.implementations}
    return list(found.values())
