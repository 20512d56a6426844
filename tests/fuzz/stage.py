"""One server that plays sessions, one after the other, and what everybody saw in each step.

After each step a double fence proves that all has come that is to come: those who did something
send a line; the witness, who has been in the room from the start, has seen it, and says a line that
all in the room then wait for. Of one at a prompt, the prompts are counted: there is one for each
line.
"""

from __future__ import annotations

import functools
import os
import re
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt

from conformance.builds.build import Build
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
    Step,
)
from fuzz.streams import PATIENT, Ears, Stream, Stuck, Wait, pieces

PROMPT = re.compile(rb"Enter your screen name: |Password: ")
WELCOME = re.compile(rb"^(?:Enter your screen name: |Password: )*Welcome, ", re.M)
LEAVES = re.compile(rb"^[^ :]+ has left the chat\n", re.M)
CHANGES = re.compile(rb"^(?:Registered |Unregistered |Password changed)", re.M)  # an account
TIME = re.compile(rb'"time":"[-0-9T:.]+Z"')
RESETS = struct.pack("ii", 1, 0)  # SO_LINGER: closing is a reset

STUCK = "stuck"  # whose text tells why a server can play no more
Seen = dict[str, bytes]  # what each of them saw in a step


@dataclass
class User(Stream):
    """A connection."""

    socket: socket.socket = field(default_factory=socket.socket)
    address: bytes = b""
    lines: int = 0  # that it sent at prompts
    joined: bool = False

    def is_settled(self) -> bool:
        """Whether each line at a prompt has been answered."""
        self.joined = self.joined or WELCOME.search(self.text) is not None
        asked = len(PROMPT.findall(self.text)) - 1
        return bool(self.ended) or self.joined or asked == self.lines

    def send(self, data: bytes) -> None:
        with suppress(OSError):  # it is closed: that is seen by what comes
            self.socket.sendall(data)


class Stage:
    """A server with one set of options."""

    def __init__(self, build: Build, options: Sequence[str], scratch: Path) -> None:
        accounts = scratch / "accounts"
        accounts.write_bytes(b"".join(map(account, PASSWORDS.items())))
        os.mkfifo(scratch / "log")
        log = os.open(scratch / "log", os.O_RDONLY | os.O_NONBLOCK)
        self.options = options
        files = {ACCOUNTS: str(accounts), LOG_FILE: str(scratch / "log")}
        values = [files.get(option, option) for option in options]
        with (scratch / "errors").open("wb") as errors:
            self.process = subprocess.Popen(
                [*build.argv, "--port", "0", *values],
                cwd=build.implementation.folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert self.process.stdin
        assert self.process.stdout
        self.keyboard = self.process.stdin
        self.ears = Ears()
        self.streams: dict[str, Stream] = {}
        self.output = self._hear(Stream(OPERATOR, self.process.stdout.fileno()))
        self.fences = 0
        self._wait(lambda: b"\n" in self.output.text)
        self.port = int(self.output.text.split(b":")[-1])
        self.log = self._hear(Stream(LOG, log))
        self.witness = self._connect(WITNESS)
        self.witness.send(b"witness\n")
        if ACCOUNTS in options:
            self.witness.send(PASSWORDS[WITNESS].encode() + b"\n")
            self.witness.lines = 2
        self._mark()
        self.take()

    def play(self, session: Session) -> list[Seen]:
        """What everybody saw in each step.

        Where the server is stuck, the last one tells it, and the server can play no more.
        """
        seen: list[Seen] = []
        try:
            for step in session.whole():
                self.step(step)
                seen.append(self.take())
        except (Stuck, OSError) as problem:  # one that has ended accepts no connection
            seen.append(self.take() | {STUCK: str(problem).encode()})
            self.end()
        if any(CHANGES.search(text) for one in seen for text in one.values()):
            self.end()  # its accounts are not those of the next session
        return seen

    def end(self) -> None:
        """End the server, and all connections to it."""
        if not self.is_up:
            return
        self.process.kill()
        self.process.wait()
        for one in list(self.streams.values()):
            self._forget(one)
        self.ears.selector.close()

    @property
    def is_up(self) -> bool:
        return bool(self.streams)

    # One step

    def step(self, step: Step) -> None:
        """Do all that is to be done in a step, then wait until all has come of it."""
        self.fences += 1
        waits = [wait for act in step for wait in self._act(act)]
        self._wait(lambda: all(wait() for wait in waits))
        self._mark()

    def take(self) -> Seen:
        """What has come in this step, without fences, ports and times."""
        seen = {}
        addresses = {one.address: one.who.encode() for one in self._users()}
        for one in list(self.streams.values()):
            text, one.told = self._without_fences(one.news()), len(one.text)
            if not isinstance(one, User) or one.joined:  # the prompts of others are counted
                one.text, one.told = b"", 0
            if one is self.log:
                text = plain(text, addresses)
            if one.ended:
                text += b"<%s>" % one.ended.encode()
                self._forget(one)
            if text:
                seen[one.who] = text
        return seen

    def _without_fences(self, text: bytes) -> bytes:
        number = self.fences
        ours = rb'(: |"text":"|: /)(fence %d \w+|\w+-%d)("}| \(try /help\))?\n' % (number, number)
        return re.sub(rb"(?m)^.*" + ours, b"", text)

    def _act(self, act: Act) -> Iterator[Wait]:
        """Do one thing; what is to be waited for."""
        if act.who == OPERATOR:
            yield from self._types(act)
            return
        user = self.streams.get(act.who)
        if user is None and act.does in (Does.CONNECTS, Does.SENDS):
            user = self._connect(act.who)
        if not isinstance(user, User) or user.ended:
            return
        match act.does:
            case Does.SENDS:
                yield from self._sends(user, act)
            case Does.ENDS:
                user.socket.shutdown(socket.SHUT_WR)
                yield lambda: bool(user.ended)
            case Does.RESETS:
                yield from self._resets(user)

    def _types(self, act: Act) -> Iterator[Wait]:
        with suppress(OSError):
            self.keyboard.write(fenced(act.data, b"/typed-%d\n" % self.fences))
            self.keyboard.flush()
        if b"\n" in act.data:
            yield lambda: b": /typed-%d (try" % self.fences in self.output.news()

    def _sends(self, user: User, act: Act) -> Iterator[Wait]:
        fence = b"fence %d %s\n" % (self.fences, act.who.encode())
        data = act.data
        if not user.joined:
            at_prompt, _, data = data.rpartition(b"\n")
            if at_prompt or act.data.startswith(b"\n"):
                at_prompt += b"\n"
                user.lines += at_prompt.count(b"\n")
                self._send(user, pieces(at_prompt, act.cuts))
                self._wait(user.is_settled)
                data = fence + data if user.joined else data
            self._send(user, [data])
        else:
            self._send(user, pieces(fenced(data, fence), act.cuts))
        if user.joined and b"\n" in act.data:
            yield lambda: bool(user.ended) or b": " + fence in self.witness.news()

    def _send(self, user: User, pieces: Sequence[bytes]) -> None:
        """Let the server have read a piece before the next one comes."""
        for number, piece in enumerate(pieces):
            if number:
                cut = b"/cut%d-%d" % (number, self.fences)
                self.witness.send(cut + b"\n")
                self._wait_for(self.witness, b": %s (try" % cut)
            user.send(piece)

    def _resets(self, user: User) -> Iterator[Wait]:
        user.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESETS)
        self.ears.forget(user)
        user.socket.close()
        user.ended = "reset"
        if user.joined:
            yield lambda: LEAVES.search(self.witness.news()) is not None

    def _mark(self) -> None:
        """Wait until all in the room have seen a line of the witness's."""
        number = self.fences
        self._wait(self.witness.is_settled)
        self.witness.send(b"mark-%d\n/mark-%d\n" % (number, number))
        hears = [] if "--quiet" in self.options else [self.output]
        for one in (*hears, *(user for user in self._users() if user.joined)):
            self._wait_for(one, b": mark-%d\n" % number)
        self._wait_for(self.witness, b": /mark-%d (try" % number)
        if LOG_FILE in self.options:
            self._wait_for(self.log, b'"mark-%d"' % number)

    # Streams

    def _users(self) -> list[User]:
        others = [one for one in self.streams.values() if one is not self.witness]
        return [one for one in others if isinstance(one, User)]

    def _connect(self, who: str) -> User:
        """Connect, and wait for the first prompt."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENT)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        address = "{}:{}".format(*connection.getsockname()).encode()
        user = User(who, connection.fileno(), socket=connection, address=address)
        self._hear(user)
        self._wait(user.is_settled)
        return user

    def _hear(self, stream: Stream) -> Stream:
        self.streams[stream.who] = stream
        self.ears.hear(stream)
        return stream

    def _forget(self, stream: Stream) -> None:
        del self.streams[stream.who]
        self.ears.forget(stream)
        if isinstance(stream, User):
            stream.socket.close()
        elif stream is self.log:
            os.close(stream.descriptor)

    def _wait_for(self, stream: Stream, text: bytes) -> None:
        self._wait(lambda: stream.ended or text in stream.news())

    def _wait(self, done: Wait) -> None:
        self.ears.wait(lambda: self.output.ended or done())
        if self.output.ended:
            raise Stuck("the server has ended")


@functools.cache
def account(item: tuple[str, str]) -> bytes:
    """A line of the accounts file, as cheap to check as can be."""
    name, password = item
    return name.encode() + b":" + bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)) + b"\n"


def fenced(data: bytes, fence: bytes) -> bytes:
    """Put a line behind the last whole line; before the half one that may follow."""
    lines, end, half = data.rpartition(b"\n")
    return lines + end + fence + half if end else data


def plain(log: bytes, addresses: dict[bytes, bytes]) -> bytes:
    """Lines of the log, in which names stand for ports, and no times."""
    for address, who in addresses.items():
        log = log.replace(b'"%s"' % address, b'"%s"' % who)
    return TIME.sub(b'"time":""', log)
