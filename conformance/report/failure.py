"""A failure as text: at most fifteen lines, and nothing in them that a terminal acts on."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from conformance.model import Failure, Requirement, Result, Verdict
from conformance.report.groups import Group, ids
from conformance.text import clipped, columns, visible

LINES = 15
WIDTH = 100
STDERR_LINES = 3  # the first one, and the last ones
REQUIREMENT_LINES = 2
NO_RULE = "(No rule names this: a program that has ended leaves nothing that runs.)"
ALSO = 2  # other cases of a group that are named
LABEL = 11  # columns before what a line shows: `  expected `

_ACTOR = re.compile(r"^\s*[\d.]+ ms  (\S+) ")  # how a line of the timeline begins


def failure_text(
    result: Result,
    requirements: Mapping[str, Requirement],
    folders: Sequence[str] = (),
    output: Path | None = None,
) -> str:
    """Why a case is not as expected.

    `folders` are those that --implementation added, `output` is the file of all that was said.
    """
    head = [clipped(f"{result.verdict} {visible(result.id)}", WIDTH)]
    if result.repeated:
        head.append(_labelled("repeated", result.repeated))
    tail = _tail(result.id, folders, output)
    if result.failure is None or result.verdict is Verdict.PASSED:
        return "\n".join(head + _reason(result.reason, LINES - len(head + tail)) + tail)
    head += _what(result.failure, requirements)
    if result.reason:
        head.append(_labelled("note", result.reason))
    return _block(head, result.failure, tail)


def group_text(
    group: Group,
    requirements: Mapping[str, Requirement],
    folders: Sequence[str] = (),
    output: Path | None = None,
    brief: bool = False,
) -> str:
    """What a group needs to have mended, as the first of its cases shows it.

    `brief` leaves out what is told beside it: the rule, and the command that plays it again.
    """
    first = group.cases[0]
    tail = [] if brief else _tail(first.id, folders, output)
    if also := _also(group):
        tail.insert(0, _labelled("also", also))
    title = group.title if group.is_of_a_program else f"{first.verdict} {first.id}"
    head = [clipped(visible(title), WIDTH)]
    if first.repeated:
        head.append(_labelled("repeated", first.repeated))
    if group.failure is None or (first.verdict is Verdict.PASSED and group.fails_them):
        return "\n".join(head + _reason(first.reason, LINES - len(head + tail)) + tail)
    head += _differs(group.failure) if brief else _what(group.failure, requirements)
    if first.reason and group.fails_them:
        head.append(_labelled("note", first.reason))
    return _block(head, group.failure, tail)


def _also(group: Group) -> str:
    """The other cases of a group: some by name."""
    others = [visible(name) for name in ids(group)][1:]
    more = f" and {len(others) - ALSO} more" if len(others) > ALSO else ""
    return ", ".join(others[:ALSO]) + more


def _tail(case_id: str, folders: Sequence[str], output: Path | None) -> list[str]:
    """The file with all that was said, and the command to play the case again; never cut."""
    said = [_labelled("output", str(output), None)] if output else []
    return [*said, _labelled("again", replay(case_id, folders), None)]


def _block(head: Sequence[str], failure: Failure, tail: Sequence[str]) -> str:
    """Head and tail, and between them as much of what was said as there is room for."""
    shown = failure.stderr
    if len(shown) > STDERR_LINES:  # the first line often says why
        shown = (shown[0], *shown[-STDERR_LINES + 1 :])
    errors = [_labelled("stderr", line) for line in shown]
    rows = latest(failure.timeline, LINES - len(head) - len(errors) - len(tail))
    lines = (clipped(f"  {visible(row)}", WIDTH) for row in rows)
    return "\n".join([*head, *lines, *errors, *tail])


def replay(case_id: str, folders: Sequence[str] = ()) -> str:
    """The command that plays a case again."""
    options = folder_options(folders)
    return shlex.join(["conformance", "run", *map(visible, options), visible(case_id)])


def folder_options(folders: Iterable[str]) -> list[str]:
    """The options that let the implementations in these folders take part."""
    return [word for folder in folders for word in ("--implementation", folder)]


def rule_text(rule_id: str, requirements: Mapping[str, Requirement]) -> str:
    """`CHAT-1 (MUST) Its text.`, as far as it is known."""
    rule = requirements.get(rule_id)
    return visible(f"{rule.id} ({rule.level}) {rule.text}" if rule else rule_id)


def _what(failure: Failure, requirements: Mapping[str, Requirement]) -> list[str]:
    """The rule, the step, and what differed there."""
    rule = textwrap.wrap(
        rule_text(failure.requirement, requirements) or NO_RULE,
        WIDTH - 2,
        max_lines=REQUIREMENT_LINES,
        placeholder=" …",
    )
    return [*(f"  {line}" for line in rule), *_differs(failure)]


def _differs(failure: Failure) -> list[str]:
    """The step, and what differed there."""
    lines = [_labelled("step", failure.step)]
    if failure.reason:
        lines.append(_labelled("why", failure.reason))
    expected, seen, mark = difference(failure.expected, failure.seen, WIDTH - LABEL)
    lines += [_labelled("expected", expected), _labelled("seen", seen)]
    return [*lines, " " * LABEL + mark] if mark else lines


def _reason(text: str, room: int) -> list[str]:
    """The first line, which says what happened, and the last ones, which say why.

    The last of all is never cut: that of a build is the path of its log.
    """
    first, *others = text.split("\n")
    if not others:
        return [_labelled("why", first)]
    others = others[-room + 1 :]
    last = _labelled("", others.pop(), None)
    return [_labelled("why", first), *(_labelled("", line) for line in others), last]


def _labelled(label: str, text: str, width: int | None = WIDTH) -> str:
    line = f"  {label}".ljust(LABEL) + visible(text)
    return clipped(line, width) if width else line


def parts(expected: str, seen: str) -> tuple[str, str, str, str]:
    """Two visible texts as: the beginning they share, the middle of each, the end they share."""
    shortest = min(len(expected), len(seen))
    start = next((i for i in range(shortest) if expected[i] != seen[i]), shortest)
    end = 0
    while end < shortest - start and expected[-1 - end] == seen[-1 - end]:
        end += 1
    middle = [text[start : len(text) - end] for text in (expected, seen)]
    return expected[:start], middle[0], middle[1], expected[len(expected) - end :]


def difference(expected: str, seen: str, width: int) -> tuple[str, str, str]:
    """Both texts, visible and cut to the width around where they differ, and carets below that.

    There are no carets if the texts share nothing, because they would point at everything.
    """
    before, wanted, got, after = parts(visible(expected), visible(seen))
    if (not before and not after) or not (wanted or got):
        return clipped(visible(expected), width), clipped(visible(seen), width), ""
    room = width // 2
    if columns(before) > room:
        before = "…" + before[-room + 1 :]
    mark = " " * columns(before) + "^" * max(1, columns(got))
    first, second = (clipped(before + middle + after, width) for middle in (wanted, got))
    return first, second, clipped(mark, width).rstrip("…")


def latest(timeline: Sequence[str], room: int) -> list[str]:
    """The rows that there is room for: the last of each actor, then the last of all."""
    if room <= 0:
        return []
    seen: set[str] = set()
    lasts: list[int] = []
    others: list[int] = []
    for index in range(len(timeline) - 1, -1, -1):
        found = _ACTOR.match(timeline[index])
        actor = found[1] if found else ""
        (others if actor in seen else lasts).append(index)
        seen.add(actor)
    return [timeline[index] for index in sorted((lasts + others)[:room])]
