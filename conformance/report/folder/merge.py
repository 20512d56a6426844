"""Joins the parts of one run, which several machines played, into the whole run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from conformance.mistakes import Mistake
from conformance.report.run import Part, Run
from conformance.text import counted

SHOWN = 10  # parts that are listed

_Named = tuple[str, Run, Part]  # a part, with the name of its file


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


def _check(parts: Sequence[_Named]) -> None:
    """Check that these are all parts of one plan, each exactly once. Raises Mistake."""
    for problems_of in (_strange, _wrong_numbers, _wrong_cases):
        if problems := list(problems_of(parts)):
            raise Mistake(problems)


def _strange(parts: Sequence[_Named]) -> Iterator[str]:
    """The parts of another run than the first part."""
    first, run, part = parts[0]
    alike = (run.suite, run.version, part.of, part.plan)
    for name, other, its in parts[1:]:
        if (other.suite, other.version, its.of, its.plan) != alike:
            remedy = "play all parts with the same files and options"
            yield f"{name}: not a part of the same run as {first}; {remedy}"


def _wrong_numbers(parts: Sequence[_Named]) -> Iterator[str]:
    """The parts that are named twice, and those that are missing."""
    of = parts[0][2].of
    known: dict[int, str] = {}
    for name, _, its in parts:
        if its.number in known:
            yield f"{name}: part {its.number} is already in {known[its.number]}"
        known.setdefault(its.number, name)
    if missing := of - len(known):
        numbers = (number for number in range(1, of + 1) if number not in known)
        some = ", ".join(f"{number}/{of}" for number in islice(numbers, SHOWN))
        more = f" and {missing - SHOWN} more" if missing > SHOWN else ""
        yield f"{counted(missing, 'part')} missing: --shard {some}{more}"


def _wrong_cases(parts: Sequence[_Named]) -> Iterator[str]:
    """The problem of parts that have some case of the plan twice, or not at all."""
    places = [place for _, _, its in parts for place in its.places.values()]
    if not len(set(places)) == len(places) == parts[0][2].planned:
        names = ", ".join(name for name, _, _ in parts[:SHOWN])
        remedy = "play all with the same --measured, and without --last-failed"
        yield f"{names}: these parts do not have each case exactly once; {remedy}"


def _listed(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The implementations of all parts, without duplicates."""
    found = {(one.get("role"), one.get("name")): one for run in runs for one in run.implementations}
    return list(found.values())
