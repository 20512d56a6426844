"""The state of a program under development: what to mend first, and the rules kept by section.

Rules are in the order of building, if the suite has one.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from itertools import groupby

from conformance.model import Verdict
from conformance.report.findings.grid import total
from conformance.report.findings.groups import Group, common_program, groups, in_order_of_building
from conformance.report.run import Run, incomplete
from conformance.report.terminal.failure import WIDTH, group_text, rule_text
from conformance.text import counted, padded, visible

SHOWN_GROUPS = 10  # groups that are shown in full; the page has all of them
BAR_COLUMNS = 20
NAMED = 5  # broken rules of a section that are listed
FULL, EMPTY = "█", "░"


class Standing(Enum):
    """What a run shows about a rule, all programs together."""

    KEPT = "cases that prove it pass, and none fails at it"
    BROKEN = "a case fails at it"
    OPEN = "all cases that prove it fail at other rules"
    UNPLAYED = "no case that proves it was played, or it is only advice"


def standings(run: Run) -> dict[str, Standing]:
    """Rule → standing, in the order of building."""
    results = [one for one in run.results if one.verdict is not Verdict.WARNED]
    failures = [it for one in results for it in (one.failure, one.afterwards) if it]
    broken = {failure.requirement for failure in failures}
    ends: dict[str, set[bool]] = {}
    for one in run.results:
        if one.verdict in (Verdict.PASSED, Verdict.FAILED, Verdict.ERRORED):
            for rule in one.requirements:
                ends.setdefault(rule, set()).add(one.verdict is Verdict.PASSED)
    return {rule: _standing(rule in broken, ends.get(rule, set())) for rule in run.requirements}


def _standing(broken: bool, ends: set[bool]) -> Standing:
    if broken:
        return Standing.BROKEN
    if not ends:
        return Standing.UNPLAYED
    return Standing.KEPT if True in ends else Standing.OPEN


def bars(run: Run) -> list[str]:
    """A bar for each section with rules that were played; no bars if all of them are kept."""
    known = {rule: how for rule, how in standings(run).items() if how is not Standing.UNPLAYED}
    if set(known.values()) <= {Standing.KEPT}:
        return []
    parts = groupby(known.items(), lambda one: section_of(one[0]))
    sections = [(section, dict(some)) for section, some in parts]
    named = [_named(section, rules) for section, rules in sections]
    wide = max(map(len, named))
    shown = zip(named, sections, strict=True)
    return [_bar(padded(name, wide), rules) for name, (_, rules) in shown]


def section_of(rule: str) -> str:
    """`JOIN` of `JOIN-4`."""
    return rule.rpartition("-")[0]


def _named(section: str, rules: Mapping[str, Standing]) -> str:
    """The name of the section, or of its only rule."""
    return section if len(rules) > 1 else next(iter(rules))


def _bar(name: str, rules: Mapping[str, Standing]) -> str:
    kept = sum(how is Standing.KEPT for how in rules.values())
    full = BAR_COLUMNS * kept // len(rules)
    line = f"{name}  {FULL * full}{EMPTY * (BAR_COLUMNS - full)}  {kept} of {len(rules)}"
    broken = [rule for rule, how in rules.items() if how is Standing.BROKEN]
    if broken:
        line += f"  broken: {', '.join(broken[:NAMED])}"
        line += f" and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
    unseen = sum(how is Standing.OPEN for how in rules.values())
    return line + (f"  not reached: {unseen}" if unseen else "")


# --- What to mend first ---


def mend_first(run: Run, found: Sequence[Group]) -> list[str]:
    """One line for each of the largest groups; none for a single case, which is shown in full."""
    if sum(len(group.cases) for group in found) < 2:
        return []
    played = total(run.results).played
    lines = [f"  {entry(run, group, played)}" for group in found[:SHOWN_GROUPS]]
    more = len(found) - SHOWN_GROUPS
    return [*lines, f"  and {more} more"] if more > 0 else lines


def entry(run: Run, group: Group, played: int) -> str:
    """The line of a group: JOIN-4 `Welcome, …`: 197 of 265 stop here."""
    which = common_program(group, run.results)
    stop = "stop here" if group.fails_them else "end like this, although they pass"
    text = f"{group.what}: {len(group.cases)} of {played} {stop}"
    return visible(text + (which and f", all of {which}"))


# --- The next step ---


def next_step(run: Run) -> str:
    """The first rule that is not kept: its text, its first failing case, and commands to try."""
    found = in_order_of_building(groups(run.results, known=True), run.requirements)
    known = [how for how in standings(run).values() if how is not Standing.UNPLAYED]
    kept = sum(how is Standing.KEPT for how in known)
    count = f"{kept} of {counted(len(known), 'rule')} that the last run played"
    if not found and (reasons := incomplete(run)):
        head = f"no rule is broken, but the last run is red ({count} are kept):"
        return "\n".join([head, *(f"  {visible(reason)}" for reason in reasons)])
    if not found:
        return f"nothing is left to mend: {count} are kept"
    return "\n".join([*_told(run, found[0], count), "", *_to_try(run, found[0])])


def is_done(run: Run) -> bool:
    """Whether a run shows no broken rule, and nothing else makes it red."""
    return not groups(run.results, known=True) and not incomplete(run)


def _told(run: Run, group: Group, count: str) -> Iterator[str]:
    yield f"next: {group.title}  ({count} are kept)"
    if text := rule_text(group.rule, run.requirements):
        yield ""
        yield from textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)
    yield ""
    yield group_text(group, run.requirements, run.options, brief=True)


def _to_try(run: Run, group: Group) -> Iterator[str]:
    """Commands for this case, for this case with --hold, and for all cases of the rule."""
    first = group.cases[0].id
    again = ["conformance", "run", *run.options]
    yield f"this case alone:         {_line([*again, first])}"
    yield f"with paused programs:    {_line([*again, '--hold', first])}"
    if group.rule in run.requirements:
        servers = {one.server for one in group.cases if one.server}
        chosen = ["--server", *servers] if len(servers) == 1 else []
        folder = first.partition("::")[0].rpartition("/")[0] or "."
        yield f"all cases of the rule:   {_line([*again, *chosen, folder, group.rule])}"


def _line(words: list[str]) -> str:
    return shlex.join(map(visible, words))
