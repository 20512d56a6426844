"""What is not as expected, in groups: each is mended once, however many cases stop there.

A failed step is grouped with others by its rule and by what was expected. Failures of a program as
a whole, which does not start, does not answer a fence, does not end as the suite's ending asks, or
leaves processes behind, are grouped by the program. This module knows results alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from conformance.model import Failure, FailureKind, Result, Verdict
from conformance.text import clipped, counted, visible

WORDS = {
    FailureKind.START: "does not get ready",
    FailureKind.FENCE: "does not pass on the line that proves that nothing else has come",
    FailureKind.ENDING: "does not end as it should",
    FailureKind.LEFT_OVER: "leaves processes behind",
}
OPEN = "…"  # stands for a name or a number, which differs from case to case
SHOWN = 50  # columns of what was expected

_ROW = re.compile(r"\s*[\d.]+ ms  (?P<actor>\S+) (?:> (?P<said>.*))?")  # of a timeline
_Key = tuple[str, ...]
_Found = tuple[Result, Failure | None, bool]  # the last: whether the case fails by it


@dataclass(slots=True)
class Group:
    """Cases that need the same thing mended."""

    what: str  # JOIN-4 `Welcome, …`
    failure: Failure | None  # as the first of the cases shows it; None: none was played so far
    cases: list[Result]
    fails_them: bool = True  # False: each case passes, and the run is red

    @property
    def title(self) -> str:
        """`server go does not get ready (PROG-3), in 12 cases`."""
        return f"{self.what}, in {counted(len(self.cases), 'case')}"

    @property
    def is_of_a_program(self) -> bool:
        """Whether it concerns a program as a whole, and no rule of a scenario."""
        return self.failure is not None and self.failure.kind is not FailureKind.STEP

    @property
    def rule(self) -> str:
        """The rule that is broken; "": no rule names it."""
        return self.failure.requirement if self.failure else ""


def groups(results: Iterable[Result], *, known: bool = False) -> list[Group]:
    """All that is not as expected, the group of the most cases first; or known failures, too."""
    found: list[_Found] = []
    for one in results:
        if not one.expected or (known and one.verdict is Verdict.FAILED):
            found.append((one, one.failure, True))
        if one.afterwards:
            found.append((one, one.afterwards, False))
    return _grouped(found)


def _grouped(found: Sequence[_Found]) -> list[Group]:
    grouped: dict[_Key, list[_Found]] = {}
    for one in found:
        grouped.setdefault(_key(*one), []).append(one)
    whole = []
    for some in grouped.values():
        some.sort(key=_is_beside)  # a case that is there to prove the rule shows it best
        results = [result for result, _, _ in some]
        whole.append(Group(_what(some), some[0][1], results, some[0][2]))
    return sorted(whole, key=lambda group: -len(group.cases))


def _is_beside(one: _Found) -> bool:
    """Whether a case stops at a rule that it is not there to prove."""
    result, failure, _ = one
    return failure is None or failure.requirement not in result.requirements


def _key(result: Result, failure: Failure | None, fails: bool) -> _Key:
    """Equal for all that belongs together."""
    if failure is None or (result.verdict is Verdict.PASSED and fails):
        return (str(result.verdict), result.reason.partition("\n")[0])
    if failure.kind is not FailureKind.STEP:
        return (str(fails), failure.program, failure.kind, failure.requirement)
    return (failure.requirement, _beginning(_opened(failure))[:SHOWN])  # no two look the same


def _opened(failure: Failure) -> str:
    """What was expected, with names of actors, what they said, and numbers left open."""
    rows = [found for row in failure.timeline if (found := _ROW.match(row))]
    names = {failure.actor, *(row["actor"] for row in rows)}
    names |= {row["said"] for row in rows if row["said"]}
    either = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<!\w)(?:{either}|[0-9]+)(?!\w)", OPEN, failure.expected)


def _beginning(text: str) -> str:
    """What stands before the first name or number; where it begins with one, its first words."""
    before = text.partition(OPEN)[0].strip()
    words = text.split(" ")
    return before or " ".join(words[: 2 if words[0] == OPEN else 1])


def _what(some: Sequence[_Found]) -> str:
    """What a group is about, in some words."""
    result, failure, fails = some[0]
    if failure is None or (result.verdict is Verdict.PASSED and fails):
        return clipped(visible(" ".join(_key(*some[0]))), 2 * SHOWN)
    if failure.kind is not FailureKind.STEP:
        rule = f" ({failure.requirement})" if failure.requirement else ""
        return f"{failure.program.replace('-', ' ', 1)} {WORDS[failure.kind]}{rule}"
    texts = [one.expected for _, one, _ in some if one]
    if len(set(texts)) > 1:
        texts = [_opened(one) for _, one, _ in some if one]
    shared = _shared(texts)
    if shared != max(texts, key=len):
        shared = shared.rstrip(OPEN) + OPEN
    if not shared:
        return f"{failure.requirement} an empty line"
    return f"{failure.requirement} `{clipped(visible(shared), SHOWN)}`"


def _shared(texts: Sequence[str]) -> str:
    """The beginning that all have."""
    first, last = min(texts), max(texts)
    alike = (a == b for a, b in zip(first, last, strict=False))
    return first[: next((i for i, same in enumerate(alike) if not same), len(first))]


def whose(group: Group, results: Iterable[Result]) -> str:
    """`server go`, where all its cases have this one, and some other cases another."""
    if group.is_of_a_program:
        return ""  # it is named already
    results = list(results)
    for role, of in (("server", _server), ("client", _clients)):
        mine = {of(one) for one in group.cases}
        others = {of(one) for one in results} - mine - {""}
        if len(mine) == 1 and others and (name := mine.pop()):
            return f"{role} {name}"
    return ""


def _server(result: Result) -> str:
    return result.server or ""


def _clients(result: Result) -> str:
    return "+".join(result.clients)


def in_order_of_building(some: Iterable[Group], rules: Mapping[str, object]) -> list[Group]:
    """What keeps cases from being played first, then by the place of their rule in `rules`."""
    places = {rule: place for place, rule in enumerate(rules)}

    def place(group: Group) -> int:
        return -1 if group.failure is None else places.get(group.rule, len(places))

    return sorted(some, key=place)


def ids(group: Group) -> Iterator[str]:
    """Its cases by name, without the folder of the suite."""
    return (one.key for one in group.cases)
