"""Turns a request into cases: reads all files, and reports the mistakes in them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from conformance.kit import find
from conformance.mistakes import Mistake, NothingChosen, meant
from conformance.model import Case, Implementation, Scenario, Suite
from conformance.plan import delivered, plan
from conformance.play.processes import confine
from conformance.read import manifest, scenario
from conformance.report.run import Part
from conformance.session.request import Request, implementations_of, named_folders
from conformance.session.shard import Shard, fingerprint
from conformance.text import counted, encodable


@dataclass(frozen=True, slots=True)
class Chosen:
    """The cases to play, and what they were chosen from."""

    suite: Suite
    scenarios: list[Scenario]
    cases: list[Case]
    part: Part | None  # which part of the plan this is; None: all of it
    given: frozenset[str]  # labels of the implementations that the person named, not the suite
    unread: list[str]  # with --against: why some implementations cannot be read


def choose(request: Request) -> Chosen:
    """Read all files that the request names; raises Mistake."""
    suite, scenarios = scenario.load(request.paths)
    _check_rules(request.selection.rules, suite)
    found, unread = _found(request, suite)
    manifest.check_against(found, suite, scenarios)
    homes = {folder.resolve() for folder in suite.implementation_folders}
    given = frozenset(one.label for one in found if one.folder.resolve() not in homes)
    # All machines divide the same plan; then `_mine` leaves out what did not fail.
    selection = replace(request.selection, only=None) if request.shard else request.selection
    if request.against:
        selection = replace(selection, against=request.against, given=given)
    once = _once(plan(scenarios, found, selection))
    planned = [delivered(one, request.delivery) for one in once]
    cases, part = _mine(planned, request)
    return Chosen(suite, scenarios, cases, part, given, unread)


def _once(cases: Iterable[Case]) -> list[Case]:
    """The cases, each once: a person may name a file twice, by different paths."""
    return list({(file_of(one), one.scenario.id, one.pairing): one for one in cases}.values())


def file_of(case: Case) -> Path:
    """The absolute path of the file of a case."""
    return Path(os.path.abspath(find(Path(case.scenario.file))))


def _check_rules(names: Iterable[str], suite: Suite) -> None:
    """Raise Mistake if a person named a rule or a section that the protocol does not have."""
    known = {name for rule in suite.requirements for name in (rule, rule.rpartition("-")[0])}
    strange = [name for name in names if name not in known]
    if strange:
        nothing = "there is no such file and no such rule"
        raise Mistake([f"{name}: {nothing}; {meant(name, known)}" for name in strange])


def _found(request: Request, suite: Suite) -> tuple[list[Implementation], list[str]]:
    """The implementations, and with --against the reasons why some cannot be read."""
    if not request.against:
        return implementations_of(suite, request.folders), []
    if shutil.which(confine.TOOL) is None:
        why = "it limits what the programs of --implementation may use; install util-linux"
        raise Mistake([f"--against: `{confine.TOOL}` is not on PATH: {why}"])
    ours = implementations_of(suite, [])
    given, problems = manifest.find_readable(named_folders(request.folders), ours)
    if not given:
        nothing = f"--against {request.against}: name what to judge by --implementation"
        raise Mistake(problems or [nothing])
    return [*ours, *given], problems


def _mine(planned: Sequence[Case], request: Request) -> tuple[list[Case], Part | None]:
    """The cases to play here, and which part of the plan they are; None: all of it."""
    if request.shard is None:
        return list(planned), None
    number, of = request.shard
    only = request.selection.only
    places = Shard(number, of, request.measured).places(planned)
    if only is not None:
        places = [place for place in places if encodable(planned[place].key) in only]
    if not places:
        which = "none" if only is None else "none that failed in the last run"
        raise NothingChosen(
            [f"--shard {number}/{of}: of {counted(len(planned), 'case')}, this part has {which}"]
        )
    ids = {planned[place].id: place for place in places}
    options = (request.delivery, request.strict, request.probing, request.deadline)
    part = Part(number, of, fingerprint(planned, *options), len(planned), ids, request.is_choice)
    return [planned[place] for place in places], part
