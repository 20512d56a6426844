"""The client as PROTOCOL.md tells it: what it shows, complains of and sends."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fuzz.visit import ASKS, NAME, PROMPT, SECRET, WELCOME, Event, Happening, Visit

CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # FRAME-6
GOODBYE = re.compile(rb"Server is shutting down|Goodbye, .*", re.S)
SENT_AWAY = re.compile(rb"! (too many attempts|timed out|server full|kicked by the operator)")
PROMPTS = re.compile(rb"^(?:Enter your screen name: |Password: )+")
WELCOMED = re.compile(rb"^(?:Enter your screen name: |Password: )*Welcome, [A-Za-z0-9_-]+ \(", re.M)
RENAMED = re.compile(rb"([A-Za-z0-9_-]+) is now known as ([A-Za-z0-9_-]+)\r?")
NEXT = b"<the next connection>\n"  # in what it sent


def harmless(said: bytes) -> bytes:
    """CLIENT-6."""
    text = said.replace(b"\r\n", b"\n").decode(errors="replace")
    return CONTROL.sub("\ufffd", text).encode()


def last_words(said: bytes, peaceful: bool) -> tuple[bytes, bytes]:
    """CLIENT-5: the last whole line decides, of which a prompt is no part."""
    before, _, last = said.rpartition(b"\n")[0].rpartition(b"\n")
    last = last.removesuffix(b"\r")
    if not WELCOMED.search(before):
        last = PROMPTS.sub(b"", last)
    if GOODBYE.fullmatch(last):
        return b"Disconnected\n", b"0"
    if SENT_AWAY.fullmatch(last):
        return b"Disconnected\n", b"1"
    return (b"", b"0") if peaceful else (b"Connection lost\n", b"1")


def is_all_shown(said: bytes) -> bool:
    """Whether one can see that all of it is shown; a reset may take the rest away."""
    tail = said.rpartition(b"\n")[2]
    return tail.isascii() and tail.decode().isprintable()


class Visitor:
    """A client, to which one thing after the other happens."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        self.name = NAME
        self.before = b""  # what it showed of other connections
        self.said = b""  # by the server, on this one
        self.typed = b""  # half a line
        self.kept: list[bytes] = []  # lines, while it is away
        self.complained = self.sent = b""
        self.status = b""  # once it has ended
        self.away = self.returns = False  # returns: it has connected again
        self.input_ended = False
        self.tries = 0

    @property
    def seen(self) -> dict[str, bytes]:
        """What it showed, complained of and sent, and its status."""
        shown = self.before + harmless(self.said)
        sent, complained, status = self.sent, self.complained, self.status
        return {"shown": shown, "complained": complained, "sent": sent, "status": status}

    @property
    def has_closed(self) -> bool:
        """Its side of the connection."""
        return bool(self.status) or (not self.returns if self.away else self.input_ended)

    def happens(self, one: Happening) -> None:
        """Do what comes of it."""
        match one.event:
            case Event.ACCEPTS if self.away:
                self.returns = True
                self.sent += NEXT
            case Event.SAYS if self.returns:
                self._returns(one.data)
            case Event.SAYS:
                self.said += one.data
                if self.visit.name and not self.before and self.said == PROMPT:  # CLIENT-8
                    self.before, self.said = PROMPT + harmless(self.visit.name) + b"\n", b""
                    self.sent += self.visit.name + b"\n"
            case Event.TYPES if not self.input_ended:
                self._types(one.data)
            case Event.ENDS if not self.input_ended:
                self._types(b"\n" if self.typed else b"")  # CLIENT-1
                self.input_ended = True
            case Event.CLOSES | Event.RESETS if self.returns:
                self._tries_again()
            case Event.CLOSES | Event.RESETS if not self.away:
                self._loses(one.event is Event.RESETS and is_all_shown(self.said))

    def _types(self, data: bytes) -> None:
        *lines, self.typed = (self.typed + data).split(b"\n")
        for line in lines:
            if self.away and line.partition(b" ")[0].lower() == b"/quit":  # BACK-8
                self._ends(b"Disconnected\n", b"0")
                return
            if self.away:  # BACK-7
                self.kept.append(line + b"\n")
            else:
                self.sent += line + b"\n"

    def _loses(self, reset: bool) -> None:
        words, status = last_words(self.said, peaceful=self.input_ended and not reset)
        if words != b"Connection lost\n" or self.input_ended or not self.visit.retries:
            self._ends(words, status)
            return
        for line in self.said.split(b"\n")[:-1]:
            if (found := RENAMED.fullmatch(line)) and found[1] == self.name:
                self.name = found[2]
        self.before, self.said = self.before + harmless(self.said), b""
        self._tries_again()

    def _tries_again(self) -> None:
        """BACK-1, BACK-6."""
        self.away, self.returns = True, False
        if self.tries == self.visit.retries:
            self._ends(b"Giving up after %d attempts\n" % self.tries, b"1")
            return
        seconds = f"{self.visit.delay * 2**self.tries:f}".rstrip("0").rstrip(".")
        self.tries += 1
        words = f"Connection lost, retrying in {seconds} s ({self.tries} of {self.visit.retries})\n"
        self.complained += words.encode()

    def _returns(self, data: bytes) -> None:
        """BACK-2 to BACK-5."""
        if data == PROMPT:
            self.sent += self.name + b"\n"
        elif data == ASKS and self.name.lower() == NAME:
            self.sent += SECRET
        elif data.startswith(b"Welcome, "):
            self.complained += b"Reconnected as " + self.name + b"\n"
            self.sent += b"".join(self.kept)
            self.said = data.partition(b"\n")[2]
            self.kept, self.away, self.returns, self.tries = [], False, False, 0
        else:
            self.before += data if data.startswith(b"! ") else b""
            self._tries_again()

    def _ends(self, words: bytes, status: bytes) -> None:
        """BACK-9."""
        self.complained += b"".join(b"not sent: " + line for line in self.kept) + words
        self.status = status


def whole(visit: Visit) -> list[Happening]:
    """What happens until it has ended, in its smallest parts.

    It does not give up, and its input does not end, where it has kept something: what was typed
    last, it may read too late for that. `/quit` ends it then.
    """
    visitor, done, rest = Visitor(visit), [Happening(Event.ACCEPTS)], list(visit.happenings)
    quits, closes = Happening(Event.TYPES, b"\n/quit\n"), Happening(Event.CLOSES)
    while not visitor.status:
        keeps = visitor.away and bool(visitor.kept or visitor.typed)
        one = rest.pop(0) if rest else quits if keeps else closes
        parts = list(_parts(visitor, one))
        fails = any(part.event in (Event.CLOSES, Event.RESETS) for part in parts)
        gives_up = fails and visitor.tries == visit.retries
        if not (keeps and (gives_up or one.event is Event.ENDS)):
            for part in parts:
                visitor.happens(part)
            done += parts
    return done


def _parts(visitor: Visitor, one: Happening) -> Iterator[Happening]:
    """Where the client is away, how a server takes it back, or does not."""
    types = one.event in (Event.TYPES, Event.ENDS)
    if types or not visitor.away:
        if not (types and visitor.input_ended) and one.event is not Event.REFUSES:
            yield one
        return
    yield Happening(Event.ACCEPTS)
    if one.event not in (Event.SAYS, Event.REFUSES):
        yield one
        return
    yield Happening(Event.SAYS, PROMPT)
    refuses = one.event is Event.REFUSES
    if visitor.visit.has_secret and not refuses:
        yield Happening(Event.SAYS, ASKS)
        refuses = visitor.name.lower() != NAME
    elif refuses:
        yield Happening(Event.SAYS, b"! name in use: %s\n" % visitor.name)
    closes = Happening(Event.CLOSES)
    yield closes if refuses else Happening(Event.SAYS, WELCOME % visitor.name + one.data)
