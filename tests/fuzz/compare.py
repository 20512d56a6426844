"""Whether all saw the same, and what the text says that they see."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fuzz.members import Members
from fuzz.room import Room
from fuzz.session import ACCOUNTS, LOG, OPERATOR, PASSWORDS, WITNESS, Act, Does, Session, is_mingled
from fuzz.stage import STUCK, Seen

TEXT = "PROTOCOL.md"  # what it says, where the model of the room knows
OTHER = "CHAT-2"  # each recipient gets each message exactly once and whole
# Which rule a line stands under, by how it looks.
RULES = (
    (rb"! line too long", "FRAME-4"),
    (rb"! not valid UTF-8", "FRAME-5"),
    (rb"! control characters", "FRAME-6"),
    (rb"! invalid name", "JOIN-2"),
    (rb"! name in use", "JOIN-3"),
    (rb"Welcome, |has joined the chat$", "JOIN-4"),
    (rb"! too many attempts", "JOIN-7"),
    (rb"^Commands: ", "CMD-1"),
    (rb"^Online \(", "CMD-2"),
    (rb"^\(private\) ", "CMD-3"),
    (rb"is now known as", "CMD-4"),
    (rb"^Goodbye, ", "CMD-5"),
    (rb"! unknown command", "CMD-6"),
    (rb"! usage: /msg|! no such user|! cannot message", "CMD-7"),
    (rb"has left the chat$", "LEAVE-1"),
    (rb"! server full", "LIMIT-2"),
    (rb"! kicked by|! usage: /kick", "OPER-5"),
    (rb"^server: ", "OPER-1"),
    (rb"! wrong password", "ACCT-2"),
    (rb"Registered|! already registered", "ACCT-7"),
    (rb"Password changed|! not registered", "ACCT-8"),
    (rb"! password must be", "ACCT-10"),
    (rb"^{.*\"time\"", "LOG-2"),
    (rb"^[A-Za-z0-9_-]+: ", "CHAT-1"),
)
SENDER = re.compile(rb"(?:\(private\) )?([A-Za-z0-9_-]+): ")


@dataclass(frozen=True)
class Disagreement:
    """The first step at which not all saw the same."""

    step: int
    who: str  # saw it
    saw: Mapping[str, bytes]  # by the server's name, or TEXT

    @property
    def rule(self) -> str:
        """The rule in question, by the first of the lines that not all saw."""
        texts = [text.splitlines() for text in self.saw.values()]
        common = set(texts[0]).intersection(*texts[1:])
        odd = (line for lines in texts for line in lines if line not in common)
        return next(
            (rule for line in odd for start, rule in RULES if re.search(start, line)), OTHER
        )

    def __str__(self) -> str:
        lines = [f"step {self.step + 1}: what {self.who} saw"]
        return "\n".join([*lines, *(f"  {name}: {text!r}" for name, text in self.saw.items())])


def expected(session: Session) -> list[Seen]:
    """What the text says that everybody sees, in each step."""
    room = _room(session.options)
    room.connects(WITNESS)
    room.sends(WITNESS, b"witness\n")
    if ACCOUNTS in session.options:
        room.sends(WITNESS, PASSWORDS[WITNESS].encode() + b"\n")
    room.news()
    return [_step(room, step) for step in session.whole()]


def _room(options: Sequence[str]) -> Room:
    most = int(dict(pairwise(options)).get("--max-clients", 10000))
    quiet = "--quiet" in options
    if ACCOUNTS in options:
        return Members(OPERATOR, most, quiet, PASSWORDS, "--members-only" in options)
    return Room(OPERATOR, most, quiet)


def _step(room: Room, step: Sequence[Act]) -> Seen:
    before = set(room.peers)
    for act in step:
        _act(room, act)
    seen = room.news()
    gone = (before | set(seen)) - set(room.peers)
    resets = {act.who for act in step if act.does is Does.RESETS}
    for who in gone:
        seen[who] = seen.get(who, b"") + (b"<reset>" if who in resets else b"<end of file>")
    return seen


def _act(room: Room, act: Act) -> None:
    if act.who not in room.peers and act.does in (Does.CONNECTS, Does.SENDS):
        room.connects(act.who)
    if act.does is Does.SENDS:
        room.sends(act.who, act.data)
    elif act.does in (Does.ENDS, Does.RESETS):
        room.goes(act.who)


def disagreement(session: Session, seen: Mapping[str, Sequence[Seen]]) -> Disagreement | None:
    """Find where the servers differ from each other, or from the text."""
    text = expected(session)
    for number in range(max(map(len, seen.values()))):
        mingled = is_mingled(session.whole()[number])
        here = {name: steps[number] if number < len(steps) else {} for name, steps in seen.items()}
        if not any(STUCK in one for one in here.values()):
            here[TEXT] = text[number]
        for who in sorted({who for one in here.values() for who in one}):
            saw = {name: one.get(who, b"") for name, one in here.items()}
            if who == LOG:
                saw.pop(TEXT, None)
            elif who == STUCK:
                saw[TEXT] = b""
            if len({by_sender(who, text) if mingled else text for text in saw.values()}) > 1:
                return Disagreement(number, who, saw)
    return None


def by_sender(who: str, text: bytes) -> bytes:
    """What was seen while several spoke at the same time: who came first is left open (CHAT-3).

    The order of what one of them said is not. In the log all are mingled.
    """
    lines: list[bytes] = text.splitlines(keepends=True)
    lines.sort(key=None if who == LOG else sender)
    return b"".join(lines)


def sender(line: bytes) -> bytes:
    found = SENDER.match(line)
    return found[1] if found else b""
