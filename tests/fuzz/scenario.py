"""A session as a scenario that `conformance run FILE` plays, with what each server did.

What is expected is what the text says, where the model of the room knows; else what most saw.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from fuzz.compare import Disagreement, expected, sender
from fuzz.session import (
    ACCOUNTS,
    LOG,
    LOG_FILE,
    OPERATOR,
    PASSWORDS,
    WITNESS,
    Act,
    Does,
    Session,
    is_mingled,
)
from fuzz.stage import STUCK, Seen

SCENARIOS = Path(__file__).parents[2] / "scenarios"
PRINTABLE = re.compile(rb"[ -~\t\r\n]")
# A character many times; other text, up to such a one; all else.
PIECES = re.compile(
    rb"(?P<one>[!-z])(?P=one){19,}|(?:(?!(?P<other>[!-z])(?P=other){19})[ -~\t\r\n])+|[^ -~\t\r\n]+"
)
# What the operator sees though a scenario's server is started with `--quiet`.
REPLIES = re.compile(rb"^(?:! |Online \(|Commands: ).*\n", re.M)
ENDED = re.compile(rb"<(end of file|reset)>$")
WELCOMED = re.compile(rb"^(?:Enter your screen name: |Password: )*Welcome, ([^ ]+) \(", re.M)
RENAMED = re.compile(rb"^([^ :]+) is now known as (\S+)$", re.M)
SHOWN = 300  # bytes of what a server did


def write(
    path: Path, session: Session, seen: Mapping[str, Sequence[Seen]], found: Disagreement
) -> None:
    """Write the scenario into a file, and beside it the suite that it is played with."""
    steps = Steps(session, most_likely(session, seen)[: found.step + 1], found.who == LOG)
    write_file(
        path, [*heading(path.stem, session, found), *(f"    - {line}" for line in steps.all())]
    )


def write_file(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    suite = (SCENARIOS / "suite.yaml").read_text("utf-8")
    back = os.path.relpath(SCENARIOS.parent, path.parent)
    path.with_name("suite.yaml").write_text(suite.replace("../", f"{back}/"), "utf-8")
    path.write_text("\n".join(lines) + "\n", "utf-8")


def heading(name: str, session: Session, found: Disagreement) -> Iterator[str]:
    """What stands above the steps."""
    yield f"# Found by fuzzing: what {found.who} saw in step {found.step + 1} differs."
    yield from (f"# {server}: {text[-SHOWN:]!r}" for server, text in found.saw.items())
    yield f"- id: {name}"
    yield f"  title: What {found.who} sees is what the text says"
    yield f"  proves: [{found.rule}]"
    acts = (act for step in session.steps for act in step)
    users = sorted(
        {act.who for act in acts if act.does in (Does.CONNECTS, Does.SENDS)} - {OPERATOR}
    )
    cast = ", ".join(f"{who}: wire" for who in (WITNESS, *users))
    yield f"  cast: {{server: server on pipes, {cast}}}"
    yield "  steps:"


def most_likely(session: Session, seen: Mapping[str, Sequence[Seen]]) -> list[Seen]:
    """What is to be seen in each step."""
    text = expected(session)
    found = []
    for number in range(max(map(len, seen.values()))):
        here = [steps[number] for steps in seen.values() if number < len(steps)]
        people = {who for one in here for who in one}
        saw = {
            who: Counter(one.get(who, b"") for one in here).most_common()[0][0] for who in people
        }
        logged = {LOG: saw.get(LOG, b"")}
        found.append(text[number] | logged)
    return found


class Steps:
    """The steps of a scenario, one after the other."""

    def __init__(self, session: Session, saw: Sequence[Seen], log: bool) -> None:
        self.session = session
        self.saw = saw
        self.log = log  # it counts, too
        self.there = {WITNESS}  # are connected
        self.names = {WITNESS: WITNESS}  # of those in the room

    def all(self) -> Iterator[str]:
        yield from self._starts()
        for step, saw in zip(self.session.whole(), self.saw, strict=False):
            for act in step:
                yield from self._does(act)
            for who, text in sorted(saw.items()):
                if who == LOG:
                    yield from self._logs(text)
                elif who != STUCK:
                    yield from self._sees(who, text, is_mingled(step))

    def _starts(self) -> Iterator[str]:
        has_accounts = ACCOUNTS in self.session.options
        options = {"log": '"{scratch}/log"'} if self.log else {}
        words = [
            word for word in self.session.options if word not in ("--log", LOG_FILE, "--quiet")
        ]
        while words:
            name = words.pop(0).removeprefix("--")
            has_value = words and not words[0].startswith("--")
            options[name] = words.pop(0) if has_value else "yes"
        if has_accounts:
            options["accounts"] = '"{scratch}/accounts"'
            yield "server: {runs: touch accounts}"
            for user, password in PASSWORDS.items():
                yield f"server: {{runs: htpasswd -bBC 4 accounts {user} {password}}}"
        chosen = ", ".join(f"{name}: {value}" for name, value in options.items())
        yield f"server: {{starts: {{{chosen}}}}}" if chosen else "server: starts"
        yield f"{WITNESS}: " + ("{signs_in: witness-secret}" if has_accounts else "joins")
        yield from self._logs(b"start\nconnect\njoin\n")

    def _does(self, act: Act) -> Iterator[str]:
        who = "server" if act.who == OPERATOR else act.who
        if act.who not in {*self.there, OPERATOR}:
            if act.does in (Does.ENDS, Does.RESETS):
                return
            self.there.add(act.who)
            yield f"{who}: starts"
        if act.does is Does.SENDS and act.data:
            yield f"{who}: {{sends: {as_bytes(act.data)}}}"
        elif act.does is Does.ENDS:
            yield f"{who}: ends_input"
        elif act.does is Does.RESETS:
            yield f"{who}: {{resets: , rest: ignored}}"

    def _sees(self, who: str, text: bytes, mingled: bool) -> Iterator[str]:
        ended, text = ENDED.search(text), ENDED.sub(b"", text)
        actor = "server" if who == OPERATOR else who
        if who == OPERATOR:
            text = b"".join(REPLIES.findall(text))
        if text:
            mingled = mingled and who in {*self.names, OPERATOR}  # at a prompt, one hears nobody
            all_or_bytes = f"sees_all: {by_senders(text)}" if mingled else f"gets: {as_bytes(text)}"
            yield f"{actor}: {{{all_or_bytes}}}"
        if who != OPERATOR:
            yield from self._is_called(who, text)
        if ended:
            self.there.discard(who)
            yield from [f"{who}: is_closed"] if ended[1] != b"reset" else []
            yield from [f"{who}: {{leaves: room}}"] if self.names.pop(who, "") else []

    def _is_called(self, who: str, text: bytes) -> Iterator[str]:
        """In the room, and by which name: the harness asks at the end."""
        welcomes = [] if who in self.names else WELCOMED.findall(text)
        renames = [new for old, new in RENAMED.findall(text) if old.decode() == self.names.get(who)]
        for name in [*welcomes, *renames]:
            self.names[who] = name.decode()
            yield f'{who}: {{enters: room, as: "{name.decode()}"}}'

    def _logs(self, text: bytes) -> Iterator[str]:
        if self.log and text:
            lines = ", ".join(f"{{matches: {quoted(logged(line))}}}" for line in text.splitlines())
            yield f"server: {{writes: [{lines}], to: log}}"


def logged(line: bytes) -> str:
    """A pattern for a line of the log, whatever time and port stand in it."""
    pattern = re.escape(line.decode()).replace('"time":""', '"time":"[^"]*"')
    return ".*" + re.sub(r'"addr":"\w+"', '"addr":"[^"]*"', pattern) + ".*"


def by_senders(text: bytes) -> str:
    """What came while several spoke: of each of them, its lines in their order."""
    lines = sorted(text.splitlines(), key=sender)
    groups = (", ".join(map(quoted, map(bytes.decode, some))) for _, some in groupby(lines, sender))
    return f"[{', '.join(f'[{group}]' for group in groups)}]"


def as_bytes(data: bytes) -> str:
    """Bytes as a step writes them: texts, repeated characters, hexadecimal digits."""
    parts = []
    for piece in PIECES.finditer(data):
        if one := piece["one"]:
            parts.append(f"{{text: {quoted(one.decode())}, times: {len(piece[0])}}}")
        elif PRINTABLE.match(piece[0]):
            parts.append(quoted(piece[0].decode()))
        else:
            parts.append(f'{{hex: "{piece[0].hex(" ")}"}}')
    return f"[{', '.join(parts)}]"


def quoted(text: str) -> str:
    return json.dumps(text.replace("{", "{{"), ensure_ascii=False).replace("\x7f", "\\x7f")
