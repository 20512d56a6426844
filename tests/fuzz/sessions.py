"""Random sessions: strategies of Hypothesis. What is near a limit or a rule comes often."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain
from typing import TypeVar

from hypothesis import strategies as st

from fuzz import lines
from fuzz.session import ACCOUNTS, LOG_FILE, OPERATOR, PASSWORDS, USERS, Act, Does, Session, Step

T = TypeVar("T")
ANYTHING = st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"\r"))


def either(kinds: Iterable[st.SearchStrategy[T]]) -> st.SearchStrategy[T]:
    """Each as often, whatever it is made of; `one_of` takes another one in it for what is in it."""
    return st.sampled_from(list(kinds)).flatmap(lambda kind: kind)


def of(*lists: list[bytes]) -> st.SearchStrategy[bytes]:
    return either(map(st.sampled_from, lists))


LINES = either(
    [
        *[of(lines.WORDS), of(lines.VERBS), of(*lines.HERE)] * 2,
        of(lines.VERBS),
        *(of(*lines.EDGES), of(*lines.ODD), of(*lines.BLANK), of(*lines.NAMED), of(*lines.ACCOUNT)),
        *(of(lines.LONG), ANYTHING),
    ]
)
ENDS = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\r\r\n", b"\n\n"])
WHOLE = st.builds(bytes.__add__, LINES, ENDS)
DATA = st.one_of(
    st.lists(WHOLE, min_size=1, max_size=6).map(b"".join),
    st.builds(lambda whole, half: b"".join([*whole, half]), st.lists(WHOLE, max_size=2), LINES),
    st.sampled_from(lines.ENDLESS),
)
# Where a packet ends: so many bytes before the end of the data.
FROM_END = st.sampled_from([(1,), (2,), (3,), (1, 2), (1, 2, 3), (1024,), (1025,), (1026, 1)])
OFTEN_NAMES = st.builds(
    lambda before, name, after, end: before + name + after + end,
    st.sampled_from(lines.SPACES),
    st.sampled_from([*lines.TAKEN, *lines.TAKEN, *lines.NAMES]),
    st.sampled_from(lines.SPACES),
    ENDS,
)


def sends(who: str, data: bytes, from_end: tuple[int, ...] = ()) -> Act:
    return Act(who, Does.SENDS, data, tuple(len(data) - place for place in from_end))


def types(who: str, *words: bytes) -> Step:
    return (sends(who, b"".join(word + b"\n" for word in words)),)


def ends(who: str) -> Step:
    return (Act(who, Does.ENDS),)


# What would take the witness or the server away.
FORBIDDEN = re.compile(rb"/kick[ \t]+witness|/shutdown", re.I)


def is_allowed(session: Session) -> bool:
    typed = (act.data for step in session.steps for act in step if act.who == OPERATOR)
    return not FORBIDDEN.search(b"".join(typed))


WHO = st.sampled_from(USERS)
TYPES = either(
    [
        of(lines.OPERATORS).map(lambda line: line + b"\n"),
        of(lines.TAKEN).map(lambda name: b"/kick " + name + b"\n"),
        *(WHOLE, LINES),
    ]
).filter(lambda data: not FORBIDDEN.search(data))
ACTS = either(
    [
        *[st.builds(sends, WHO, DATA)] * 2,
        st.builds(sends, WHO, DATA, FROM_END),
        st.builds(sends, WHO, of(lines.EXACT), FROM_END),
        st.builds(sends, WHO, OFTEN_NAMES),
        st.builds(sends, st.just(OPERATOR), TYPES),
        st.builds(Act, WHO, st.sampled_from([Does.CONNECTS, Does.ENDS, Does.RESETS])),
    ]
)
ONE = ACTS.map(lambda act: [(act,)])


def says(who: str, words: list[bytes]) -> Act:
    return sends(who, b"".join(b"%d %s\n" % pair for pair in enumerate(words)))


# Only what has no effect on who is there, and on what they are called: the order is left open.
# So half a line of theirs ends before.
AT_ONCE = st.lists(
    st.builds(says, WHO, st.lists(st.sampled_from(lines.WORDS), min_size=1, max_size=30)),
    min_size=2,
    max_size=3,
    unique_by=lambda act: act.who,
).map(lambda acts: [*(types(act.who, b"") for act in acts), tuple(acts)])
# More than `--rate` takes up at once; which costs the time that it holds them back.
MANY = st.builds(
    lambda who, word, leaves: [
        *(ends(who), joins(who, has_accounts=False)),
        (*types(who, *[word] * 520), *(ends(who) * leaves)),
    ],
    WHO,
    st.sampled_from(lines.WORDS),
    st.booleans(),
)
# Its end comes with its last lines (LEAVE-2).
LEAVES = st.builds(lambda who, data: [(sends(who, data), *ends(who))], WHO, DATA)


def comes_back(who: str, name: bytes, verbs: list[bytes], secret: bytes, more: bytes) -> list[Step]:
    """One changes its account and leaves; who gives that name has another password, or the same."""
    begins = types(who, name, *(verb + secret for verb in verbs), b"/quit")
    again = types(who, name, secret + more)
    return [ends(who), begins, again, ends(who), joins(who, has_accounts=True)]


def races(names: tuple[str, str], wrong: list[list[bytes]]) -> list[Step]:
    """While one gives wrong names and passwords, another one comes to have that name (ACCT-4)."""
    first, second, third, fourth = wrong
    other = *third, b"eve", *fourth, b"eve-secret", b"/unregister"
    return [
        *map(ends, names),
        types(names[0], *first, b"dan", *second),
        types(names[1], b"dan", b"dan-secret"),
        types(names[0], b"dan-secret", *other),
        *(step for who in names for step in (ends(who), joins(who, has_accounts=True))),
    ]


KEPT = st.sampled_from([b"new", b"new", b"NEW", b"dan", b"bob", b"ann"])
VERBS = st.lists(
    st.sampled_from([b"/register ", b"/register  ", b"/passwd ", b"/unregister "]),
    min_size=1,
    max_size=3,
)
MORE = st.sampled_from([b"", b"", b"s", b" "])
WRONG = st.lists(st.sampled_from([b"a b", b"witness", b"x\x07", b""]), max_size=2)
STORIES = st.one_of(
    st.builds(comes_back, WHO, KEPT, VERBS, of(lines.SIZED), MORE),
    st.builds(
        races,
        st.permutations(USERS).map(lambda some: (some[0], some[1])),
        st.lists(WRONG, min_size=4, max_size=4),
    ),
)


def joins(who: str, has_accounts: bool) -> Step:
    """It gives its name, and its password where it may have one."""
    words = [who, PASSWORDS[who]] if has_accounts and who in PASSWORDS else [who]
    return (sends(who, "".join(f"{word}\n" for word in words).encode()),)


def with_options(options: tuple[str, ...]) -> st.SearchStrategy[Session]:
    """Sessions for a server with these options."""
    has_accounts = ACCOUNTS in options
    ways = [ONE] * 10 + [AT_ONCE, LEAVES] + [STORIES, STORIES] * has_accounts
    last = st.lists(MANY, max_size=1) if "--rate" in options else st.just([])

    def session(count: int, some: list[list[list[Step]]], last: list[list[Step]]) -> Session:
        """So many are in the room from the start, so that there is somebody to hear."""
        start = (joins(who, has_accounts) for who in USERS[:count])
        steps = tuple(chain(start, *chain(*some, last)))
        return Session(options, _kept(options, steps))

    # Lists of lists: plain ones would be short, however long they may be.
    steps = st.lists(st.lists(either(ways), min_size=1, max_size=5), min_size=1, max_size=12)
    return st.builds(session, st.sampled_from([3, 3, 2, 0]), steps, last).filter(is_allowed)


def crowd(count: int, short: int, size: int, more: list[list[Step]]) -> Session:
    """So many names of 32 bytes that a line of /who is about full, one of them shorter."""
    names = [b"c%02d" % number for number in range(count)]
    sizes = [size if number == short else 32 for number in range(count)]
    whole = [name.ljust(size, b"-") + b"\n" for name, size in zip(names, sizes, strict=True)]
    here = [(sends(name.decode(), line),) for name, line in zip(names, whole, strict=True)]
    asks = [(sends("c00", b"/who\n"),), (sends(OPERATOR, b"/who\n"),)]
    return Session(("--log", LOG_FILE), (*here, *asks, *chain(*more)))


CROWDS = st.builds(
    crowd, st.integers(30, 32), st.integers(0, 29), st.integers(24, 26), st.lists(ONE, max_size=3)
).filter(is_allowed)

# With `--max-queue` too, nobody is to be dropped: all read, and the kernel takes what is said.
OPTIONS: tuple[tuple[str, ...], ...] = (
    ("--log", LOG_FILE),
    ("--log", LOG_FILE, "--max-queue", "4096", "--join-timeout", "999999.5"),
    ("--quiet",),
    ("--log", LOG_FILE, "--max-clients", "3"),
    ("--log", LOG_FILE, "--rate", "500"),
    ("--log", LOG_FILE, "--accounts", ACCOUNTS),
    ("--accounts", ACCOUNTS, "--members-only", "--max-clients", "3", "--quiet"),
)
SESSIONS = either([*map(with_options, (*OPTIONS, *OPTIONS)), CROWDS])


def _kept(options: tuple[str, ...], steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Where connections are counted, a reset at a prompt may be noticed at any time: none there."""
    if "--max-clients" not in options:
        return steps
    return tuple(
        tuple(Act(act.who, Does.ENDS) if act.does is Does.RESETS else act for act in step)
        for step in steps
    )
