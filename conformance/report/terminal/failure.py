"""The text of a failure: at most fifteen lines, without control characters."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from conformance.model import Failure, FailureKind, Requirement, Result, Verdict
from conformance.report.findings.groups import Group
from conformance.text import clipped, columns, visible

LINES = 15
WIDTH = 100
STDERR_LINES = 3  # the first line and the last ones
REQUIREMENT_LINES = 2
NO_RULE = {
    FailureKind.LEFT_OVER: "(Not a rule: a program must leave no processes behind at its end.)",
    FailureKind.LIMIT: "(Not a rule: programs that are judged with --against have limits.)",
}
ALSO = 2  # other cases of a group that are listed
LABEL = 11  # columns of a label: `  expected `

_ACTOR = re.compile(r"^\s*[\d.]+ ms  (\S+) ")  # how a line of the timeline begins


def failure_text(
    result: Result,
    requirements: Mapping[str, Requirement],
    options: Sequence[str] = (),
    output: Path | None = None,
) -> str:
    """The text about one case.

    `options` are for the command that plays it again; `output` is the file with all output.
    """
    head = [clipped(f"{result.verdict} {visible(result.id)}", WIDTH)]
    head += _how_played(result)
    tail = _tail(result, options, output)
    if result.failure is None or result.verdict is Verdict.PASSED:
        return "\n".join(head + _reason(result.reason, LINES - len(head + tail)) + tail)
    head += _what(result.failure, requirements)
    if result.reason:
        head.append(_labelled("note", result.reason))
    return _block(head, result.failure, tail)


def group_text(
    group: Group,
    requirements: Mapping[str, Requirement],
    options: Sequence[str] = (),
    output: Path | None = None,
    brief: bool = False,
) -> str:
    """The text about a group, with its first case as the example.

    `brief` leaves out the rule and the command that plays the case again.
    """
    first = group.cases[0]
    tail = [] if brief else _tail(first, options, output)
    if also := _also(group):
        tail.insert(0, _labelled("also", also))
    title = group.title if group.is_of_a_program else f"{first.verdict} {first.id}"
    head = [clipped(visible(title), WIDTH)]
    head += _how_played(first)
    if group.failure is None or (first.verdict is Verdict.PASSED and group.fails_them):
        return "\n".join(head + _reason(first.reason, LINES - len(head + tail)) + tail)
    head += _differs(group.failure) if brief else _what(group.failure, requirements)
    if first.reason and group.fails_them:
        head.append(_labelled("note", first.reason))
    return _block(head, group.failure, tail)


def _also(group: Group) -> str:
    """The keys of some other cases of a group, and the number of the rest."""
    others = [visible(one.key) for one in group.cases[1:]]
    more = f" and {len(others) - ALSO} more" if len(others) > ALSO else ""
    return ", ".join(others[:ALSO]) + more


def _how_played(result: Result) -> list[str]:
    """How often the case was played, and its delivery, unless they are as usual."""
    told = {"repeated": result.repeated, "pieces": result.delivered}
    return [_labelled(label, text) for label, text in told.items() if text]


def _tail(result: Result, options: Sequence[str], output: Path | None) -> list[str]:
    """The file with all output, and the command that plays the case again. They are never cut."""
    said = [_labelled("output", str(output), None)] if output else []
    return [*said, _labelled("again", replay(result, options), None)]


def _block(head: Sequence[str], failure: Failure, tail: Sequence[str]) -> str:
    """The head, as much of the timeline as there is room for, standard error, and the tail."""
    shown = failure.stderr
    if len(shown) > STDERR_LINES:  # the first line often has the cause
        shown = (shown[0], *shown[-STDERR_LINES + 1 :])
    errors = [_labelled("stderr", line) for line in shown]
    rows = latest(failure.timeline, LINES - len(head) - len(errors) - len(tail))
    lines = (clipped(f"  {visible(row)}", WIDTH) for row in rows)
    return "\n".join([*head, *lines, *errors, *tail])


def replay(result: Result, options: Sequence[str] = ()) -> str:
    """The command that plays a case again."""
    words = [*options, *(["--delivery", str(result.delivery)] if result.delivered else [])]
    return shlex.join(["conformance", "run", *map(visible, words), visible(result.id)])


def rule_text(rule_id: str, requirements: Mapping[str, Requirement]) -> str:
    """`CHAT-1 (MUST) Its text.`, or only the id if the rule is unknown."""
    rule = requirements.get(rule_id)
    return visible(f"{rule.id} ({rule.level}) {rule.text}" if rule else rule_id)


def _what(failure: Failure, requirements: Mapping[str, Requirement]) -> list[str]:
    """The lines of the rule, of the step, and of the difference."""
    rule = textwrap.wrap(
        rule_text(failure.requirement, requirements) or NO_RULE.get(failure.kind, ""),
        WIDTH - 2,
        max_lines=REQUIREMENT_LINES,
        placeholder=" …",
    )
    return [*(f"  {line}" for line in rule), *_differs(failure)]


def _differs(failure: Failure) -> list[str]:
    """The lines of the step and of the difference."""
    lines = [_labelled("step", failure.step)]
    if failure.reason:
        lines.append(_labelled("why", failure.reason))
    expected, seen, mark = difference(failure.expected, failure.seen, WIDTH - LABEL)
    lines += [_labelled("expected", expected), _labelled("seen", seen)]
    return [*lines, " " * LABEL + mark] if mark else lines


def _reason(text: str, room: int) -> list[str]:
    """The first line, which says what happened, and the last lines, which say why.

    The last line is never cut, because that of a build error is the path of the log.
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
    """Split two visible texts: common prefix, the middle of each, common suffix."""
    shortest = min(len(expected), len(seen))
    start = next((i for i in range(shortest) if expected[i] != seen[i]), shortest)
    end = 0
    while end < shortest - start and expected[-1 - end] == seen[-1 - end]:
        end += 1
    middle = [text[start : len(text) - end] for text in (expected, seen)]
    return expected[:start], middle[0], middle[1], expected[len(expected) - end :]


def difference(expected: str, seen: str, width: int) -> tuple[str, str, str]:
    """Both texts, cut to the width around their difference, and a line of carets below it.

    There are no carets if the texts have nothing in common.
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
    """As many rows as there is room for: first the last row of each actor, then the latest rows."""
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
