"""Groups the unexpected results of a run by their presumed cause.

Failed steps are grouped by the broken rule and by what was expected. If a line was repeated
endlessly instead (a flood), they are grouped by this line. Failures of a program as a whole (it
does not start, does not answer a fence, does not end properly, or leaves processes behind) are
grouped by program; other cases may show which program it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from conformance.model import FLOOD, Failure, FailureKind, Result, Verdict
from conformance.report.findings.blame import Culprits, culprits, players
from conformance.text import clipped, counted, visible

WORDS = {
    FailureKind.START: "does not get ready",
    FailureKind.FENCE: "does not pass on the line that proves that nothing else has come",
    FailureKind.ENDING: "does not end as it should",
    FailureKind.LEFT_OVER: "leaves processes behind",
    FailureKind.LIMIT: "exceeds a resource limit",
}
ELLIPSIS = "…"  # replaces names and numbers, which differ between cases
SHOWN = 50  # columns of the expected text in a title
FLOOD_LINES = 4  # how often a line must be in the timeline of an actor to be a flood

# A row of a timeline: what an actor said, or what it received or wrote.
_ROW = re.compile(r"\s*[\d.]+ ms  (?P<actor>\S+) (?:> (?P<said>.*)|< (?P<seen>.*))?")
_Key = tuple[str, ...]
_Found = tuple[Result, Failure | None, bool]  # the bool: whether the failure makes the case fail


@dataclass(slots=True)
class Group:
    """Cases with the same presumed cause."""

    what: str  # JOIN-4 `Welcome, …`
    failure: Failure | None  # of the first case; None: no step failed
    cases: list[Result]
    fails_them: bool = True  # False: the cases pass, but the run is red
    flood: str | None = None  # the line that was repeated endlessly

    @property
    def title(self) -> str:
        """`server go does not get ready (PROG-3), in 12 cases`."""
        return f"{self.what}, in {counted(len(self.cases), 'case')}"

    @property
    def is_of_a_program(self) -> bool:
        """Whether the failure is one of a program as a whole, not of a step."""
        if self.failure is None or self.flood is not None:
            return False
        return self.failure.kind is not FailureKind.STEP

    @property
    def rule(self) -> str:
        """The broken rule; empty if there is none."""
        return "" if self.failure is None or self.flood is not None else self.failure.requirement


def groups(results: Iterable[Result], *, known: bool = False) -> list[Group]:
    """The groups of all unexpected results, largest first; `known` adds known failures."""
    results, found = list(results), list[_Found]()
    blamed = culprits(results)
    for one in results:
        if not one.expected or (known and one.verdict is Verdict.FAILED):
            found.append((one, _with_program(one, blamed), True))
        if one.afterwards:
            found.append((one, one.afterwards, False))
    return _grouped(found)


def _with_program(result: Result, blamed: Culprits) -> Failure | None:
    """The failure of a case, with the program at fault where only other cases show it."""
    failure = result.failure
    if failure is None or failure.program or failure.kind is FailureKind.STEP:
        return failure
    return replace(failure, program=blamed.get(players(result), ""))


def _grouped(found: Sequence[_Found]) -> list[Group]:
    floods = {line for _, failure, _ in found if failure for line in _repeated_lines(failure)}
    grouped: dict[_Key, list[_Found]] = {}
    for one in found:
        flood = _flood(one[1], floods)
        key = _key(*one) if flood is None else ("flood", flood)
        grouped.setdefault(key, []).append(one)
    whole = []
    for some in grouped.values():
        some.sort(key=_fails_at_another_rule)  # the best example comes first
        (_, failure, fails), flood = some[0], _flood(some[0][1], floods)
        endless = None if flood is None else f"`{clipped(visible(flood), SHOWN)}` without end"
        what = endless or _description(some)
        whole.append(Group(what, failure, [result for result, _, _ in some], fails, flood))
    return sorted(whole, key=lambda group: -len(group.cases))


# --- Floods ---


def _repeated_lines(failure: Failure) -> Iterator[str]:
    """The lines, without numbers, that an actor received more often than actors said anything."""
    rows = [found for row in failure.timeline if (found := _ROW.match(row))]
    said = {_without_numbers(row["said"]) for row in rows if row["said"]}
    came = Counter(
        (row["actor"], _without_numbers(row["seen"])) for row in rows if row["seen"] is not None
    )
    for (_, line), times in came.items():
        if times >= FLOOD_LINES and times > failure.sent and not any(one in line for one in said):
            yield line


def _flood(failure: Failure | None, floods: Iterable[str]) -> str | None:
    """The one of these lines that was seen instead of the expected text, if any."""
    if failure is None or failure.kind not in (FailureKind.STEP, FailureKind.FENCE):
        return None
    own = {*_repeated_lines(failure)} if failure.reason == FLOOD else set()
    seen, expected = _without_numbers(failure.seen), _without_numbers(failure.expected)
    return next((line for line in floods if line in own or _shows(seen, line, expected)), None)


def _shows(seen: str, line: str, expected: str) -> bool:
    """Whether `seen` is, begins with or ends with a line that was not expected."""
    if seen == line or not line:
        return seen == line != expected
    return (seen.startswith(line) or seen.endswith(line)) and line not in expected


def _without_numbers(text: str) -> str:
    return re.sub("[0-9]+", ELLIPSIS, text)


# --- Groups ---


def _fails_at_another_rule(one: _Found) -> bool:
    """Whether a case fails at a rule that it is not meant to prove."""
    result, failure, _ = one
    return failure is None or failure.requirement not in result.requirements


def _key(result: Result, failure: Failure | None, fails: bool) -> _Key:
    """The key by which failures are grouped."""
    if failure is None or (result.verdict is Verdict.PASSED and fails):
        return (str(result.verdict), result.reason.partition("\n")[0])
    if failure.kind is not FailureKind.STEP:
        return (str(fails), failure.program, failure.kind, failure.requirement)
    # The titles of two groups must differ in the columns that are shown.
    return (failure.requirement, _beginning(_generalized(failure))[:SHOWN])


def _generalized(failure: Failure) -> str:
    """The expected text with numbers, names of actors and what they said replaced by ELLIPSIS."""
    rows = [found for row in failure.timeline if (found := _ROW.match(row))]
    names = {failure.actor, *(row["actor"] for row in rows)}
    names |= {row["said"] for row in rows if row["said"]}
    either = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<!\w)(?:{either}|[0-9]+)(?!\w)", ELLIPSIS, failure.expected)


def _beginning(text: str) -> str:
    """The text before the first name or number, or the first words if it begins with one."""
    before = text.partition(ELLIPSIS)[0].strip()
    words = text.split(" ")
    return before or " ".join(words[: 2 if words[0] == ELLIPSIS else 1])


def _description(some: Sequence[_Found]) -> str:
    """A short description of a group."""
    result, failure, fails = some[0]
    if failure is None or (result.verdict is Verdict.PASSED and fails):
        return clipped(visible(" ".join(_key(*some[0]))), 2 * SHOWN)
    if failure.kind is not FailureKind.STEP:
        rule = f" ({failure.requirement})" if failure.requirement else ""
        program = failure.program.replace("-", " ", 1) or "a program"
        return f"{program} {WORDS[failure.kind]}{rule}"
    texts = [one.expected for _, one, _ in some if one]
    if len(set(texts)) > 1:
        texts = [_generalized(one) for _, one, _ in some if one]
    shared = _common_prefix(texts)
    if shared != max(texts, key=len):
        shared = shared.rstrip(ELLIPSIS) + ELLIPSIS
    if not shared:
        return f"{failure.requirement} an empty line"
    return f"{failure.requirement} `{clipped(visible(shared), SHOWN)}`"


def _common_prefix(texts: Sequence[str]) -> str:
    """The longest common prefix."""
    first, last = min(texts), max(texts)
    alike = (a == b for a, b in zip(first, last, strict=False))
    return first[: next((i for i, same in enumerate(alike) if not same), len(first))]


def common_program(group: Group, results: Iterable[Result]) -> str:
    """`server go`, if this program is in all cases of the group, but not in all of the run."""
    if group.is_of_a_program and group.failure and group.failure.program:
        return ""  # the title names the program
    results = list(results)
    for role, of in (("server", _servers), ("client", _clients)):
        shared = set.intersection(*map(of, group.cases))
        if len(shared) == 1 and any(of(one) and not shared & of(one) for one in results):
            return f"{role} {shared.pop()}"
    return ""


def _servers(result: Result) -> set[str]:
    return {result.server} if result.server else set()


def _clients(result: Result) -> set[str]:
    return set(result.clients)


def in_order_of_building(some: Iterable[Group], rules: Mapping[str, object]) -> list[Group]:
    """First floods and cases that could not be played, then the others in the order of `rules`."""
    places = {rule: place for place, rule in enumerate(rules)}

    def place(group: Group) -> int:
        return (
            -1
            if group.failure is None or group.flood is not None
            else places.get(group.rule, len(places))
        )

    return sorted(some, key=place)
