"""A client's visit as a scenario with a scripted server, for `conformance run FILE`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from fuzz.clients import TEXT, expected, said_in
from fuzz.scenario import SHOWN, as_bytes, quoted, write_file
from fuzz.visit import Event, Happening, Visit
from fuzz.visitor import NEXT, Visitor, whole

RULES = {"shown": "CLIENT-6", "complained": "CLIENT-5", "sent": "CLIENT-1", "status": "CLIENT-5"}


def write(path: Path, visit: Visit, seen: Mapping[str, Mapping[str, bytes]], what: str) -> None:
    """Write the scenario into a file, and beside it the suite that it is played with."""
    write_file(path, lines_of(path.stem, visit, seen, what))


def lines_of(
    name: str, visit: Visit, seen: Mapping[str, Mapping[str, bytes]], what: str
) -> Iterator[str]:
    yield f"# Found by fuzzing: what was {what} differs."
    for program, one in (*seen.items(), (TEXT, expected(visit))):
        yield f"# {program}: {one.get(what, b'')[-SHOWN:]!r}"
    yield f"- id: {name}"
    yield f"  title: What is {what} is what the text says"
    yield f"  proves: [{'BACK-1' if visit.retries else RULES.get(what, 'CLIENT-1')}]"
    yield "  cast: {server: scripted, ann: client on pipes}"
    yield "  steps:"
    yield from (f"    - {step}" for step in steps(visit, most_likely(visit, seen)))


def most_likely(visit: Visit, seen: Mapping[str, Mapping[str, bytes]]) -> dict[str, bytes]:
    """What the text says; how many U+FFFD stand for what is not UTF-8 is what most wrote."""
    text = expected(visit)
    try:
        said_in(visit).decode()
    except UnicodeDecodeError:
        text["shown"] = Counter(one["shown"] for one in seen.values()).most_common()[0][0]
    return text


def steps(visit: Visit, text: Mapping[str, bytes]) -> Iterator[str]:
    """One after the other; what the client sent is told once it answers, or at the end."""
    options = ", ".join(f"{name}: {quoted(value)}" for name, value in visit.options.items())
    yield "server: starts"
    yield f"ann: {{starts: {{{options}}}}}"
    visitor, heard = Visitor(visit), 0
    for one in whole(visit):
        sent, told = visitor.sent, len(visitor.complained)
        visitor.happens(one)
        if visitor.status and text["shown"]:
            yield f"ann: {{gets: {as_bytes(text['shown'])}}}"
        if closes := one.event in (Event.CLOSES, Event.RESETS):
            yield from _hears(sent[heard:])
            heard = len(sent)
        yield from _does(one)
        answers = one.event is Event.SAYS and visitor.sent != sent
        if answers or (visitor.status and not closes):
            yield from _hears(visitor.sent[heard:])
            heard = len(visitor.sent)
        for line in visitor.complained[told:].decode().splitlines():
            yield f"ann: {{complains: {quoted(line)}}}"
    yield f"ann: {{exits: {text['status'].decode()}}}"


def _hears(data: bytes) -> Iterator[str]:
    if data := data.removeprefix(NEXT):
        yield f"server: {{gets: {as_bytes(data)}}}"


def _does(one: Happening) -> Iterator[str]:
    if one.event in (Event.SAYS, Event.TYPES):
        who = "server" if one.event is Event.SAYS else "ann"
        yield from [f"{who}: {{sends: {as_bytes(one.data)}}}"] if one.data else []
    else:
        yield "ann: ends_input" if one.event is Event.ENDS else f"server: {one.event.name.lower()}"
