"""Random visits of clients: strategies of Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from fuzz.lines import LIMIT, LONG_NAMES, ODD_NAMES, RESERVED, WORDS
from fuzz.sessions import DATA, ENDS, LINES
from fuzz.visit import ASKS, NAME, PROMPT, SECRET, WELCOME, Event, Happening, Visit

KNOWN = st.sampled_from(
    [
        *(b"ann is now known as bob", b"bob is now known as ann", b"ann is now known as ANN"),
        *(b"bob has joined the chat", b"bob: Goodbye, ann", b"Goodbye, ", b"Goodbye, ann"),
        *(b"Server is shutting down", b"Server is shutting down "),
        *(b"! too many attempts", b"! timed out", b"! server full", b"! kicked by the operator"),
        *(b"! kicked by the operator ", b"Goodbye", b"x" * 1300, b"Goodbye, " + b"x" * 1300),
    ]
)
OF_ACCOUNTS = st.sampled_from([WELCOME[:-1] % NAME, b"Registered ann"])
KNOWN_LINES = st.builds(bytes.__add__, KNOWN, ENDS)
SAID = st.lists(
    st.one_of(
        KNOWN_LINES,
        st.builds(bytes.__add__, OF_ACCOUNTS, ENDS),
        st.sampled_from([PROMPT, ASKS]),
        DATA,
        LINES,
    ),
    min_size=1,
    max_size=4,
).map(b"".join)
CUTS = st.lists(st.integers(1, 2 * LIMIT), max_size=3).map(tuple)
SAYS = st.builds(Happening, st.just(Event.SAYS), SAID, CUTS)
SAYS_KNOWN = st.builds(Happening, st.just(Event.SAYS), KNOWN_LINES)
TYPES = st.builds(Happening, st.just(Event.TYPES), DATA)
CLOSES = st.builds(Happening, st.sampled_from([Event.CLOSES, Event.RESETS]))
ENDED = st.just(Happening(Event.ENDS))
# Once it shows the first prompt, a client is connected, for certain.
FIRST = Happening(Event.SAYS, PROMPT)
HAPPENINGS = st.lists(
    st.one_of(SAYS, SAYS, SAYS_KNOWN, TYPES, TYPES, CLOSES, ENDED), min_size=1, max_size=8
)
GIVEN = [*LONG_NAMES, *ODD_NAMES, *RESERVED, b"  ann\t", b"\x1b[31mann", "änn".encode(), b"\x7fann"]
NAMES = st.sampled_from([b""] * 30 + [name for name in GIVEN if name.isascii() or len(name) < 9])
PLAIN = st.builds(lambda some, name: Visit((FIRST, *some), name=name), HAPPENINGS, NAMES)


def joins(has_secret: bool) -> tuple[Happening, ...]:
    answers = [(ASKS, SECRET)] if has_secret else []
    talk = [(PROMPT, NAME + b"\n"), *answers, (WELCOME % NAME, b"")]
    pairs = ((Happening(Event.SAYS, said), Happening(Event.TYPES, typed)) for said, typed in talk)
    return tuple(one for pair in pairs for one in pair)


# What the text says of those who come back: plain words, and no commands of accounts.
# Whether lines that come with /quit, behind it, are taken is left open.
WORDS_TYPED = st.builds(
    lambda words, last: b"".join([*(word + b"\n" for word in words), last]),
    st.lists(st.sampled_from(WORDS), max_size=3),
    st.sampled_from([b"", b"", b"half", b"/quit\n", b"/QUIT now\n", b" /quit\n"]),
)
WAYS = st.lists(
    st.one_of(
        SAYS_KNOWN,
        st.builds(Happening, st.just(Event.TYPES), WORDS_TYPED),
        st.builds(Happening, st.just(Event.SAYS), st.lists(KNOWN_LINES, max_size=2).map(b"".join)),
        *(CLOSES, CLOSES, CLOSES, ENDED, st.just(Happening(Event.REFUSES))),
    ),
    max_size=9,
)
RETURNS = st.builds(
    lambda some, retries, delay, has_secret: Visit(
        (*joins(has_secret), *some), retries, delay, has_secret=has_secret
    ),
    WAYS,
    st.integers(1, 3),
    st.sampled_from([0.01, 0.0125, 0.001, 0.02]),
    st.booleans(),
)
VISITS = st.one_of(PLAIN, RETURNS)
