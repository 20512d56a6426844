"""Wrong servers: each is the right one with one thing changed. `python -m wrong.servers --bug …`

The decorator of each names the rule that it breaks, and the scenario and the step that must fail.
"""

from __future__ import annotations

import os
import re
import select
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from typing import ClassVar

from wrong.accounts import Accounts, Bad, hash_of
from wrong.bug import Bugs
from wrong.options import CommandLine, Option, number
from wrong.right_server import PROMPT, Server, User, with_port
from wrong.sink import Log

BUGS = Bugs()
wrong = BUGS.wrong


# FRAME: bytes and lines


@wrong("FRAME-1", "frame/every-script", 'bob: {sees: "alice: Grüße, 你好, مرحبا, שלום, नमस्ते"}')
class SpeaksLatin1(Server):
    def say(self, user: User, text: bytes) -> None:
        super().say(user, text.decode().encode("latin-1", "replace"))


@wrong(
    "FRAME-2",
    "frame/telnet-line-ends",
    'bob: {sees: "Welcome, bob (1 online). Type /help for commands."}',
)
class EndsLinesWithReturns(Server):
    def tell(self, user: User, line: bytes) -> None:
        super().tell(user, line + b"\r")


@wrong(
    "FRAME-3",
    "frame/many-lines-at-once",
    'bob: {receives: ["alice: one", "alice: two", "alice: /three", "alice: ',
)
class LosesTheSecondLine(Server):
    """Of the lines in one packet, only the first is handled."""

    def next_line(self, inbox: bytearray) -> bytes | None:
        line = super().next_line(inbox)
        if line is not None:
            inbox.clear()
        return line


@wrong("FRAME-3", "frame/halves-of-two", 'carol: {receives: "Online (3)')
class MixesHalfLines(Server):
    """Lines without their end are kept in one buffer for all users."""

    BUFFER: ClassVar[bytearray] = bytearray()

    def greet(self, user: User) -> None:
        user.inbox = self.BUFFER
        super().greet(user)


@wrong("FRAME-3", "frame/lines-cut-anywhere", 'bob: {receives: "alice: second"}')
class TakesPacketsForLines(Server):
    def store(self, user: User, data: bytes) -> None:
        super().store(user, data if data.endswith(b"\n") else data + b"\n")


@wrong(
    "FRAME-4", "frame/one-byte-too-long", 'alice: {receives: "! line too long (limit 1024 bytes)"}'
)
class Accepts1025Bytes(Server):
    MAX_LINE = 1025


@wrong(
    "FRAME-4", "frame/one-byte-too-long", 'alice: {receives: "! line too long (limit 1024 bytes)"}'
)
class ClosesAfterALongLine(Server):
    def handle_line(self, user: User, line: bytes) -> None:
        super().handle_line(user, line)
        if len(line) > self.MAX_LINE:
            self.end(user)


@wrong("FRAME-5", "frame/not-utf-8:surrogates", 'alice: {receives: "! not valid UTF-8"}')
class RelaysSurrogates(Server):
    def decode(self, line: bytes) -> str:
        return line.decode(errors="surrogatepass")


@wrong(
    "FRAME-6",
    "frame/no-driving-of-terminals",
    'alice: {receives: "! control characters are not allowed"}',
)
class RelaysEscape(Server):
    CONTROL = re.compile("(?!\x1b)" + Server.CONTROL.pattern)


@wrong(
    "FRAME-6",
    "frame/control-characters:directions",
    'alice: {receives: "! control characters are not allowed"}',
)
class RelaysTextDirection(Server):
    CONTROL = re.compile("(?![\u202a-\u202e])" + Server.CONTROL.pattern)


@wrong(
    "FRAME-7",
    "frame/spaces-stay",
    'bob: {sees: "alice:    three before,  two between, one behind "}',
)
class TrimsMessages(Server):
    def say(self, user: User, text: bytes) -> None:
        super().say(user, text.strip(b" \t"))


@wrong("FRAME-8", "frame/half-line-at-the-end:text", 'alice: {sees: "bob has left the chat"}')
class DeliversUnfinishedLines(Server):
    def end_of_file(self, user: User) -> None:
        if user.inbox:
            self.handle_line(user, bytes(user.inbox))
        super().end_of_file(user)


@wrong(
    "FRAME-9", "frame/server-sends-without-delay", "server: {has_socket_option: {TCP_NODELAY: 1}}"
)
class DelaysSmallLines(Server):
    def prepare(self, sock: socket.socket) -> None:
        super().prepare(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)


# JOIN: entering the room


@wrong("JOIN-1", "join/prompt-at-once", 'alice: {sees: ["", "Server is shutting down"]}')
class PromptsWithALineEnd(Server):
    def greet(self, user: User) -> None:
        self.queue(user, PROMPT + b"\n")


@wrong(
    "JOIN-2",
    "join/bad-names:too-long",
    'alice: {sees: "! invalid name: use 1 to 32 letters, digits, "_" or "-""}',
)
class Accepts33Letters(Server):
    NAME = re.compile(rb"[A-Za-z0-9_-]{1,33}")


@wrong("JOIN-3", "join/name-in-use", 'bob: {receives: "! name in use: aLICE-7_z"}')
class TellsNamesApartByCase(Server):
    def key(self, name: bytes) -> bytes:
        return name


@wrong("JOIN-3", "join/reserved-names", 'alice: {receives: "! name in use: server"}')
class LetsAUserBeTheServer(Server):
    RESERVED = Server.RESERVED - {b"server"}


@wrong(
    "JOIN-4",
    "join/welcome-and-notice",
    'alice: {sees: "Welcome, alice (1 online). Type /help for commands."}',
)
class DoesNotCountTheNewcomer(Server):
    def welcome(self, user: User) -> None:
        words = b"Welcome, %s (%d online). Type /help for commands."
        self.tell(user, words % (user.name, len(self.room)))


@wrong(
    "JOIN-5",
    "join/welcome-first",
    'alice: {sees: "Welcome, alice (1 online). Type /help for commands."}',
)
class AnnouncesBeforeTheWelcome(Server):
    """The newcomer gets its own join notice, and gets it before the welcome."""

    def welcome(self, user: User) -> None:
        self.tell(user, user.name + b" has joined the chat")
        super().welcome(user)


@wrong("JOIN-6", "join/outside-the-room", 'outsider: {sees: ["", "Server is shutting down"]}')
class LetsOutsidersListen(Server):
    def say(self, user: User, text: bytes) -> None:
        super().say(user, text)
        for other in self.users:
            if not other.joined and not other.ending:
                self.deliver(other, b"%s: %s" % (user.name, text))


@wrong("JOIN-7", "join/fifth-refusal", 'bob: {receives: "! too many attempts"}')
class RefusesSixNames(Server):
    MAX_REFUSALS = 6


@wrong("JOIN-8", "join/timed-out", 'silent: {receives: ["", "! timed out"]}')
class TimesOutBehindThePrompt(Server):
    """The notice is on the line of the prompt."""

    def say_timed_out(self, user: User) -> None:
        self.tell(user, b"! timed out")


@wrong("JOIN-8", "join/no-more-time", 'bob: {receives: ["", "! timed out"]}')
class GivesMoreTimeForEachName(Server):
    """A refused name restarts the join timeout."""

    def refuse(self, user: User, error: bytes) -> None:
        user.deadline = time.monotonic() + float(self.options["--join-timeout"])
        super().refuse(user, error)


# CHAT: messages


@wrong("CHAT-1", "chat/everyone-but-the-sender", 'alice: {sees: "carol: hello, alice"}')
class EchoesToTheSender(Server):
    def say(self, user: User, text: bytes) -> None:
        self.broadcast(b"%s: %s" % (user.name, text))


@wrong("CHAT-2", "chat/once-and-whole", 'bob: {sees: {line: "alice: message {n} of a thousand')
class DeliversTwice(Server):
    def say(self, user: User, text: bytes) -> None:
        super().say(user, text)
        super().say(user, text)


@wrong("CHAT-3", "chat/one-order-for-all", 'dave: {sees_as: "carol"}')
class HasTwoOrders(Server):
    """Every second user gets waiting lines in reverse order."""

    def deliver(self, user: User, line: bytes) -> None:
        super().deliver(user, line)
        if list(self.room.values()).index(user) % 2:
            size = len(line) + 1
            user.outbox[:] = user.outbox[-size:] + user.outbox[:-size]


@wrong("CHAT-4", "chat/at-once", 'bob: {receives: "alice: now"}')
class StaysALineBehind(Server):
    """A message is relayed only when the next one arrives."""

    held: tuple[User, bytes] | None = None

    def say(self, user: User, text: bytes) -> None:
        if self.held:
            super().say(*self.held)
        self.held = user, text


@wrong(
    "CHAT-5",
    "chat/double-slash",
    'bob: {sees: ["alice: /who", "alice: /", "alice: //", "alice: / /", "al',
)
class KeepsBothSlashes(Server):
    def chat(self, user: User, line: bytes) -> None:
        if line.startswith(b"//"):
            self.say(user, line)
        else:
            super().chat(user, line)


# CMD: commands


@wrong("CMD-1", "commands/help", 'alice: {sees: "Commands: /help, /who')
class HelpForgetsQuit(Server):
    def cmd_help(self, user: User, rest: bytes) -> None:
        commands = b"/help, /who, /msg NAME TEXT, /nick NAME"
        self.tell(user, b"Commands: %s (// to begin a message with /)" % commands)


@wrong("CMD-2", "who/sorted", 't: {receives: "Online (7): 9lives, _x, a-b, a_b, AB, bob, Zed"}')
class SortsCapitalsFirst(Server):
    def names(self) -> list[bytes]:
        return sorted(super().names())


@wrong("CMD-2", "who/in-several-lines", 'u01: {receives: {matches: "Online')
class NamesAllOnOneLine(Server):
    MAX_WHO_LINE = 1_000_000


@wrong("CMD-3", "msg/private", 'carol: {sees: "alice: fence 1"}')
class WhispersToAll(Server):
    def whisper(self, user: User, other: User, text: bytes) -> None:
        self.broadcast(b"(private) %s: %s" % (user.name, text), but=user)


@wrong(
    "CMD-3",
    "msg/text-as-it-came",
    'bob: {receives: "(private) alice: two  between, one behind "}',
)
class SkipsOneSpaceBeforeTheName(Server):
    def cmd_msg(self, user: User, rest: bytes) -> None:
        super().cmd_msg(user, b"" if rest.startswith(b" ") else rest)


@wrong("CMD-4", "nick/renamed", 'alice: {sees: "alice is now known as Alicia"}')
class RenamesInSilence(Server):
    """The renamed user does not get the rename notice."""

    def rename(self, user: User, name: bytes) -> None:
        waiting = len(user.outbox)
        super().rename(user, name)
        del user.outbox[waiting:]


@wrong("CMD-5", "leave/quit", 'bob: {sees: "Goodbye, bob"}')
class QuitsWithoutGoodbye(Server):
    def cmd_quit(self, user: User, rest: bytes) -> None:
        self.end(user)


@wrong("CMD-6", "commands/unknown-commands", 'alice: {sees: "! unknown command: /Foo (try /help)"}')
class TakesUnknownCommandsForMessages(Server):
    def command(self, user: User, line: bytes) -> None:
        if line.partition(b" ")[0].lower() in self.commands:
            super().command(user, line)
        else:
            self.say(user, line)


# LEAVE: going


@wrong("LEAVE-1", "leave/exactly-once", 'carol: {receives: "Goodbye, carol"}')
class SaysTwiceWhoLeft(Server):
    def leave_notice(self, user: User) -> None:
        super().leave_notice(user)
        super().leave_notice(user)


@wrong("LEAVE-1", "leave/reset", 'alice: {sees: "Bob has left the chat"}')
class OverlooksResets(Server):
    """A user whose connection is reset leaves without a notice."""

    def connection_reset(self, user: User) -> None:
        if user.joined:
            user.joined = False
            self.free_name(user)
        super().connection_reset(user)


@wrong("LEAVE-2", "leave/last-words", "bob: is_closed")
class KeepsItsSideOpen(Server):
    """After a client's end of file, the server does not end its side."""

    def end_of_file(self, user: User) -> None:
        self.leave(user)


@wrong(
    "LEAVE-3",
    "leave/name-is-free",
    'rob: {sees: "Welcome, Bob (2 online). Type /help for commands."}',
)
class NeverFreesNames(Server):
    def free_name(self, user: User) -> None:
        super().free_name(user)
        self.RESERVED |= {self.key(user.name)}


@wrong("LEAVE-4", "leave/refused-while-sending", "bob: is_closed")
class ResetsInsteadOfClosing(Server):
    def flush(self, user: User) -> None:
        user.ended = user.ending  # so that it is not ended in order
        super().flush(user)
        if user.ending and not user.outbox and user in self.users:
            user.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.drop(user)


@wrong("LEAVE-4", "leave/quits-while-sending", "bob: ")
class ClosesWithoutReadingOn(Server):
    """A close with unread input, or before more arrives, is a reset: now, or after all lines."""

    def flush(self, user: User) -> None:
        user.ended = user.ending  # to close is to end
        super().flush(user)
        if user.ending and not user.outbox:
            self.drop(user)


@wrong("LEAVE-4", "leave/late-reader-after-its-end", "bob: {receives: {starts")
class CountsFromItsDecision(Server):
    """A connection that it ends has one second for all: for what is queued, too."""

    def end(self, user: User, reason: str = "", deadline: float | None = None) -> None:
        super().end(user, reason, deadline or time.monotonic() + self.LINGER_SECONDS)


@wrong("LEAVE-4", "leave/given-up-after-a-second", "h")
class GivesNobodyUp(Server):
    """If a client does not close after the server's end, its descriptor is never closed."""

    def time_up(self, user: User) -> None:
        if user.ending and not self.stopping:
            user.deadline = inf
        else:
            super().time_up(user)


@wrong("LEAVE-5", "leave/keepalive", "server: {notices_loss_within: ")
class LeavesTheIntervalOfKeepaliveAsItIs(Server):
    """It sets only the time before the first probe; nine more follow, 75 seconds apart."""

    def prepare(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 120)


@wrong("LEAVE-5", "leave/peer-that-accepts-nothing", "server: {has_socket_option: ")
class WaitsForWhoAcceptsNothing(Server):
    def prepare(self, sock: socket.socket) -> None:
        super().prepare(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)


# STOP: shutting a server down


@wrong("STOP-1", "stop/interrupted", 'alice: {sees: "Server is shutting down"}')
class StopsInSilence(Server):
    def say_farewell(self) -> None:
        pass


@wrong("STOP-1", "stop/before-a-name", 'alice: {sees: ["", "Server is shutting down"]}')
class TellsOnlyTheRoomThatItStops(Server):
    def say_farewell(self) -> None:
        self.broadcast(b"Server is shutting down")


@wrong("STOP-2", "stop/messages-before-the-notice", "bob: is_closed")
class NoticesLeaversWhileStopping(Server):
    def leave(self, user: User, reason: str = "") -> None:
        was_joined = user.joined
        super().leave(user, reason)
        if was_joined and self.stopping:
            self.leave_notice(user)


@wrong("STOP-3", "stop/interrupted", "server: {exits: 0}")
class EndsWithStatus130(Server):
    EXIT_STATUS = 130


@wrong("STOP-3", "stop/never-closes", "server: {exits: 0}")
class WaitsForItsClients(Server):
    def time_up(self, user: User) -> None:
        if self.stopping:
            user.deadline = inf
        else:
            super().time_up(user)


@wrong("STOP-4", "stop/port-is-free", "server: starts")
class LeavesThePortBusy(Server):
    def reuse_address(self) -> None:
        pass


@wrong("STOP-5", "stop/second-signal:ctrl-c-twice", "server: {exits: ")
class ShrugsOffTheSecondSignal(Server):
    def on_signal(self, which: int, frame: object) -> None:
        self.signalled = True


# LIMIT: staying up


@wrong(
    "LIMIT-1",
    "limit/slow-reader",
    'bob: {types: {line: "line {n}: {x*1000}", times: 6000',
)
class WaitsForSlowReaders(Server):
    """A client that does not read soon delays all others."""

    def prepare(self, sock: socket.socket) -> None:
        super().prepare(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)

    def flush(self, user: User) -> None:
        user.sock.setblocking(True)
        super().flush(user)
        if user in self.users:
            user.sock.setblocking(False)


@wrong("LIMIT-1", "limit/name-of-a-dropped-one", 'bob: {receives: "slow has left the chat"}')
class NeverDropsAnyone(Server):
    def is_too_slow(self, user: User) -> bool:
        return False


@wrong("LIMIT-1", "limit/burst-to-a-reader", 'alice: {receives: {line: "bob: line {n} of a burst')
class DropsBeforeItSends(Server):
    """Data counts towards the bound before it is offered to the kernel."""

    def deliver(self, user: User, line: bytes) -> None:
        super().deliver(user, line)
        if self.is_too_slow(user):
            self.drop(user, "slow")


@wrong("LIMIT-2", "limit/server-full", 'carol: {sees: "! server full"}')
class LetsOneTooManyIn(Server):
    def __init__(self, options: dict[str, str]) -> None:
        super().__init__(options | {"--max-clients": str(int(options["--max-clients"]) + 1)})


@wrong("LIMIT-3", "limit/no-descriptors", "server: {idles_for: 2}")
class SpinsWithoutDescriptors(Server):
    def pause_accepting(self) -> None:
        pass


@wrong("LIMIT-4", "limit/endless-line", 'server: {grows_less_than: "64 MiB"}')
class RemembersEverything(Server):
    memory = bytearray()

    def store(self, user: User, data: bytes) -> None:
        super().store(user, data)
        self.memory += data


@wrong("LIMIT-5", "rate/at-once", "bob: {sees_all: ")
class TakesUpAllAtOnce(Server):
    def is_throttled(self, user: User) -> bool:
        return False


@wrong("LIMIT-5", "rate/burst", 'u1: {receives: {line: "u8: line {n}"')
class HandlesOneLineAtOnce(Server):
    def grown(self, allowance: float, seconds: float) -> float:
        return min(1, super().grown(allowance, seconds))


@wrong("LIMIT-5", "rate/burst", 'u1: {receives: {line: "u8: line {n}"')
class HandlesHalfTheLinesAtOnce(Server):
    def grown(self, allowance: float, seconds: float) -> float:
        return min(self.rate / 2, super().grown(allowance, seconds))


@wrong("LIMIT-5", "rate/a-second", "bob: {sees_all: ")
class GivesBackTwiceAsMuch(Server):
    def grown(self, allowance: float, seconds: float) -> float:
        return super().grown(allowance, 2 * seconds)


@wrong("LIMIT-5", "rate/saved-up", "bob: {sees_all: ")
class LetsUsersSaveUp(Server):
    """A user who was silent can send many lines at once."""

    def grown(self, allowance: float, seconds: float) -> float:
        return allowance + seconds * self.rate


@wrong("LIMIT-5", "rate/nothings-count:empty", 'bob: {receives: "Online (2): alice, bob"}')
class CountsNoEmptyLines(Server):
    def spend(self, user: User, line: bytes) -> None:
        if line:
            super().spend(user, line)


@wrong("LIMIT-5", "rate/dropped-lines-count", 'bob: {receives: "Online (2): alice, bob"}')
class CountsNoBadLines(Server):
    def spend(self, user: User, line: bytes) -> None:
        if not self.fault(line):
            super().spend(user, line)


@wrong(
    "LIMIT-5",
    "rate/name-is-free-of-charge",
    'bob: {receives: ["alice has joined the chat", "alice: hello"]}',
)
class CountsNames(Server):
    def join(self, user: User, name: bytes) -> None:
        super().join(user, name)
        user.allowance -= user.refusals + 1


@wrong("LIMIT-5", "rate/at-once", "bob: {sees_all: ")
class DropsWhoSaysTooMuch(Server):
    def throttle(self, user: User, due: float) -> None:
        self.drop(user, "slow")


@wrong("LIMIT-5", "rate/at-once", "bob: {sees_all: ")
class LosesWhatIsTooMuch(Server):
    def throttle(self, user: User, due: float) -> None:
        super().throttle(user, due)
        user.inbox.clear()


@wrong("LIMIT-5", "rate/commands-count", "alice: {receives: ")
class WaitsForAllWithOne(Server):
    def throttle(self, user: User, due: float) -> None:
        select.select([], [], [], max(0, due - time.monotonic()))


@wrong("LIMIT-5", "rate/end-of-file", 'bob: {receives: "Online (2): alice, bob"}')
class ForgetsWhatWaitsAtTheEnd(Server):
    def receive(self, user: User) -> None:
        super().receive(user)
        if user.eof and user.joined:
            self.end_of_file(user)


@wrong("LIMIT-5", "rate/ten-seconds", 'bob: {receives: "alice has left the chat"}')
class HearsEverybodyOut(Server):
    """After an end of file, all waiting lines are handled, however long that takes."""

    DRAIN_SECONDS = inf


@wrong("LIMIT-5", "rate/reset", 'bob: {receives: "alice has left the chat"}')
class TakesAResetForAnEnd(Server):
    """After a reset, waiting lines are still handled."""

    def connection_reset(self, user: User) -> None:
        user.eof = True
        if user.due == inf:
            super().connection_reset(user)


@wrong("LIMIT-5", "rate/held-back", "server: {grows_less_than: ")
class HoldsBackWhateverComes(Server):
    MAX_HELD = 1024 * 1024 * 1024


# OPER: the operator's console


@wrong("OPER-1", "console/announcement", 'alice: {sees: "server: maintenance in five minutes"}')
class AnnouncesWithoutSayingWho(Server):
    def announce(self, text: bytes) -> None:
        self.broadcast(text)


@wrong("OPER-2", "console/no-operator:dev-null", "server: {idles_for: 2}")
class SpinsWithoutAnOperator(Server):
    """Standard input is read again and again after its end."""

    def end_of_console(self) -> None:
        pass


@wrong("OPER-5", "console/kick", 'bob: {sees: "! kicked by the operator"}')
class KicksWithoutAWord(Server):
    def op_kick(self, rest: bytes) -> None:
        if user := self.room.get(self.key(rest.strip(b" \t"))):
            self.end(user)
        else:
            super().op_kick(rest)


# ACCT: accounts


class Accepting(Accounts):
    """Accepts lines of the file that a wrong server does not check."""

    overlooked = ""

    def fault(self, name: bytes, colon: bytes, hashed: bytes, others: dict[bytes, bytes]) -> str:
        why = super().fault(name, colon, hashed, others)
        return "" if why == self.overlooked else why


@wrong("FILE-2", "accounts/malformed:twice", "server: {complains: ")
class StartsWithWhateverItFinds(Server):
    def open_accounts(self) -> None:
        self.refresh_accounts()


@wrong("FILE-2", "accounts/malformed:twice-in-another-case", "server: {complains: ")
class LetsTheLastLineCount(Server):
    class accounts_type(Accepting):
        overlooked = "name given twice"


@wrong("FILE-2", "accounts/malformed:md5", "server: {complains: ")
class TakesAnyHash(Server):
    class accounts_type(Accepting):
        overlooked = "not a bcrypt hash"


@wrong("FILE-2", "accounts/malformed:bad-name", "server: {complains: ")
class TakesAnyName(Server):
    class accounts_type(Accepting):
        overlooked = "invalid name"


@wrong("FILE-2", "accounts/malformed:more-behind", "server: {complains: ")
class TakesWhatBeginsLikeAHash(Server):
    class accounts_type(Accounts):
        def fault(
            self, name: bytes, colon: bytes, hashed: bytes, others: dict[bytes, bytes]
        ) -> str:
            return super().fault(name, colon, hashed[:60], others)


@wrong("FILE-2", "accounts/malformed:twice", "server: {complains: ")
class DoesNotSayWhichLine(Server):
    class accounts_type(Accounts):
        def parse(self, data: bytes) -> dict[bytes, bytes]:
            try:
                return super().parse(data)
            except Bad as error:
                raise Bad(str(error).partition(": ")[2]) from None


@wrong("FILE-3", "accounts/malformed-from-the-first-line:first", "server: {complains: ")
class CountsLinesFromZero(Server):
    class accounts_type(Accounts):
        def parse(self, data: bytes) -> dict[bytes, bytes]:
            try:
                return super().parse(data)
            except Bad as error:
                number, _, why = str(error).removeprefix("line ").partition(":")
                raise Bad(f"line {int(number) - 1}:{why}") from None


@wrong("FILE-1", "accounts/comments-and-empty-lines", "server: {starts: {accounts: ")
class TakesCommentsForAccounts(Server):
    class accounts_type(Accounts):
        def parse(self, data: bytes) -> dict[bytes, bytes]:
            return super().parse(data.replace(b"#", b" #"))


@wrong("FILE-1", "accounts/kinds-of-bcrypt:2a", "server: {starts: {accounts: ")
class KnowsOneKindOfHash(Server):
    class accounts_type(Accounts):
        def fault(
            self, name: bytes, colon: bytes, hashed: bytes, others: dict[bytes, bytes]
        ) -> str:
            known = hashed if hashed.startswith(b"$2y$") else b""
            return super().fault(name, colon, known, others)


@wrong("FILE-3", "accounts/cannot-read-accounts:missing", "server: {complains: ")
class MakesTheFileItself(Server):
    def open_accounts(self) -> None:
        open(self.accounts.path, "ab").close()
        super().open_accounts()


@wrong("FILE-4", "accounts/changed-while-it-runs", 'bob: {is_asked: "Password: "}')
class ReadsItsAccountsOnce(Server):
    def refresh_accounts(self) -> None:
        pass


@wrong("FILE-4", "accounts/gone-bad:malformed", 'ann: {is_asked: "Password: "}')
class ForgetsItsAccounts(Server):
    """If the file is bad, all accounts are removed."""

    def complain_of_accounts(self, trouble: str) -> None:
        self.accounts.hashes.clear()
        super().complain_of_accounts(trouble)


@wrong("FILE-4", "accounts/gone-bad:vanished", 'ann: {is_asked: "Password: "}')
class EndsWithItsFile(Server):
    """If the file is bad, nobody can join."""

    is_bad = False

    def complain_of_accounts(self, trouble: str) -> None:
        self.is_bad = True
        super().complain_of_accounts(trouble)

    def is_registered(self, name: bytes) -> bool:
        return not self.is_bad and super().is_registered(name)


@wrong("FILE-4", "log/log-of-bad-accounts:malformed", 'server: {makes: "chat.log"}')
class KeepsItsTroubleToItself(Server):
    def complain_of_accounts(self, trouble: str) -> None:
        pass


@wrong("ACCT-1", "accounts/password", 'ann: {is_asked: "Password: "}')
class AsksNobodyForAPassword(Server):
    def is_registered(self, name: bytes) -> bool:
        return False


@wrong("ACCT-2", "accounts/wrong-password", 'ann: {sees: "! wrong password"}')
class TakesAnyPassword(Server):
    def is_right(self, password: bytes, hashed: bytes) -> bool:
        return True


@wrong("ACCT-1", "accounts/name-in-any-case", 'ann: {is_asked: "Password: "}')
class TellsAccountsApartByCase(Server):
    def is_registered(self, name: bytes) -> bool:
        return name in self.accounts.hashes


@wrong("ACCT-2", "accounts/third-wrong-password", 'ann: {receives: ["! wrong password", "! too')
class LetsOneGuessOn(Server):
    MAX_WRONG_PASSWORDS = 1_000_000


@wrong(
    "ACCT-2", "accounts/counted-by-connection", 'rob: {receives: ["! wrong password", "! too many'
)
class CountsGuessesByName(Server):
    def take_name(self, user: User, name: bytes) -> None:
        user.wrong_passwords = 0
        super().take_name(user, name)


@wrong("ACCT-1", "accounts/names-and-passwords-apart", 'ann: {is_asked: "Password: "}')
class CountsGuessesAsNames(Server):
    def refuse_password(self, user: User, error: bytes) -> None:
        user.wrong_passwords = user.refusals
        user.refusals += 1
        super().refuse_password(user, error)


@wrong("ACCT-3", "accounts/whole-line:spaces", 'ann: {sees: "Welcome, ann (1 online).')
class TrimsPasswords(Server):
    def take_password(self, user: User, password: bytes) -> None:
        super().take_password(user, password.strip(b" \t"))


@wrong("ACCT-3", "accounts/whole-line:empty", 'ann: {sees: "Welcome, ann (1 online).')
class TakesNoEmptyPassword(Server):
    def is_right(self, password: bytes, hashed: bytes) -> bool:
        return bool(password) and super().is_right(password, hashed)


@wrong("ACCT-2", "accounts/whole-line:command", 'ann: {sees: "! wrong password"}')
class ObeysAtThePassword(Server):
    """A password that looks like a command is handled as one."""

    def take_password(self, user: User, password: bytes) -> None:
        if password.lower() == b"/who":
            self.cmd_who(user, b"")
            self.ask_password(user)
        else:
            super().take_password(user, password)


@wrong("ACCT-2", "accounts/seventy-two-bytes:letters", 'ann: {sees: "! wrong password"}')
class LooksAtSeventyTwoBytes(Server):
    """A password may go on after the 72 bytes that bcrypt uses."""

    MAX_PASSWORD = 1024


@wrong("ACCT-1", "accounts/bad-lines-for-passwords", 'ann: {is_asked: "Password: "}')
class AsksForTheNameAgain(Server):
    """A bad line at the password prompt counts as a refused name."""

    def answer(self, user: User, line: bytes, error: bytes | None) -> None:
        if error:
            user.claimed = b""
        super().answer(user, line, error)


@wrong("ACCT-4", "accounts/in-use-meanwhile", 'rob: {receives: "! name in use: ANN"}')
class GivesANameTwice(Server):
    def enter(self, user: User) -> None:
        self.join(user, user.claimed)


@wrong("ACCT-1", "accounts/in-use-first", 'bob: {receives: "! name in use: Ann"}')
class AsksThoughTheNameIsInUse(Server):
    def take_name(self, user: User, name: bytes) -> None:
        if self.is_registered(name):
            user.claimed = name
            self.ask_password(user)
        else:
            super().take_name(user, name)


@wrong("LEAVE-2", "accounts/last-words-of-a-member", 'ann: {receives: ["Welcome, ann (2 online).')
class DoesNotWaitForItsChecks(Server):
    """An end of file ends the connection, even if a password is still checked."""

    def receive(self, user: User) -> None:
        super().receive(user)
        if user.eof and user.is_waiting:
            self.end_of_file(user)


@wrong("JOIN-6", "accounts/reset-while-checked", 'bob: {sees: "ann has joined the chat"}')
class LetsTheDeadIn(Server):
    """A user whose connection ended while the password was checked joins, and leaves."""

    def job_done(self, user: User, then: Callable[..., None], found: object) -> None:
        super().job_done(user, then, found)
        if user not in self.users:
            then(found)
            self.leave(user, "reset")


@wrong("JOIN-8", "accounts/no-time-runs-while-checked", "ann: {sees: ")
class LosesPatienceWithItsThreads(Server):
    """The join timeout runs while a password is checked."""

    def start_job(self, user: User, work: Callable[[], object], then: Callable[..., None]) -> None:
        super().start_job(user, work, then)
        user.deadline = time.monotonic() + user.left


@wrong("JOIN-8", "accounts/late-for-the-password", 'silent: {receives: ["", "! timed out"]}')
class WaitsForPasswords(Server):
    """A registered name ends the join timeout."""

    def ask_password(self, user: User) -> None:
        super().ask_password(user)
        user.deadline = inf


@wrong("STOP-3", "accounts/shut-down-at-the-password", "server: {exits: 0}")
class WaitsForItsThreads(Server):
    def run(self) -> int:
        status = super().run()
        self.wakened.setblocking(True)
        while not self.finished:
            self.wakened.recv(1)
        return status


@wrong("ACCT-6", "accounts/strangers-are-refused-names", "bob: {receives: [")
class LetsStrangersIn(Server):
    def is_kept_out(self, name: bytes) -> bool:
        return False


@wrong(
    "ACCT-6", "accounts/members-keep-their-names", 'ann: {receives: "! name not registered: Zoe"}'
)
class LetsMembersBeAnyone(Server):
    def claim_fault(self, user: User, name: bytes) -> bytes | None:
        return super().claim_fault(user, name) if self.is_registered(name) else None


@wrong(
    "ACCT-6",
    "accounts/no-longer-a-member-in-any-case",
    'ann: {receives: "! name not registered: ANN"}',
)
class LetsAnyoneChangeTheCase(Server):
    def claim_fault(self, user: User, name: bytes) -> bytes | None:
        return None if self.key(name) == self.key(user.name) else super().claim_fault(user, name)


@wrong("ACCT-6", "accounts/strangers-are-refused-names", "bob: {receives: [")
class CountsNoStrangers(Server):
    def refuse(self, user: User, error: bytes) -> None:
        user.refusals -= b"not registered" in error
        super().refuse(user, error)


@wrong("ACCT-7", "accounts/registered-here", 'alice: {receives: "! already registered: alice"}')
class RegistersAgain(Server):
    """/register of a registered name makes the account again."""

    def cmd_register(self, user: User, rest: bytes) -> None:
        if self.is_own_account(user):
            work = partial(self.accounts.set, user.name, self.password_in(rest), user.proven[1])
            self.start_change(user, work, "register")
        else:
            super().cmd_register(user, rest)


@wrong("ACCT-8", "accounts/not-ones-own", 'Alice: {receives: ["! not registered: Alice", ')
class LetsAnyoneChangeThePassword(Server):
    """A user with the name can change its password without having proven the account."""

    def is_own_account(self, user: User) -> bool:
        user.proven = self.key(user.name), self.accounts.hashes.get(self.key(user.name), b"")
        return self.is_registered(user.name)


@wrong("ACCT-9", "accounts/not-ones-own", 'bob: {receives: "! not registered: bob"}')
class UnregistersOthers(Server):
    def cmd_unregister(self, user: User, rest: bytes) -> None:
        if rest:
            self.tell_of_change(user, "unregister")
        else:
            super().cmd_unregister(user, rest)


@wrong("ACCT-8", "accounts/account-of-the-name", 'ann: {receives: ["! not registered: zoe", ')
class ChangesTheAccountOfTheOldName(Server):
    def cmd_unregister(self, user: User, rest: bytes) -> None:
        work = partial(self.accounts.remove, *user.proven)
        self.start_change(user, work, "unregister")


@wrong("ACCT-7", "accounts/registered-here", 'alice: {receives: "Password changed"}')
class ForgetsWhoRegistered(Server):
    def account_changed(self, user: User, what: str, done: bytes | Exception | None) -> None:
        super().account_changed(user, what, done)
        user.proven = (b"", b"")


@wrong(
    "ACCT-10", "accounts/lengths:letters", 'alice: {receives: "! password must be 8 to 72 bytes"}'
)
class TakesShortPasswords(Server):
    MIN_PASSWORD = 1


@wrong(
    "ACCT-10", "accounts/lengths:scripts", 'alice: {receives: "! password must be 8 to 72 bytes"}'
)
class CountsCharacters(Server):
    MIN_PASSWORD = 4

    def password_fault(self, password: bytes) -> bytes | None:
        return super().password_fault(password if password.isascii() else b"%8s" % password)


@wrong(
    "ACCT-10", "accounts/lengths:longest", 'alice: {receives: "! password must be 8 to 72 bytes"}'
)
class CutsLongPasswords(Server):
    def password_in(self, rest: bytes) -> bytes:
        return super().password_in(rest)[: self.MAX_PASSWORD]


@wrong("ACCT-10", "accounts/all-behind-the-spaces", 'alice: {sees: "! wrong password"}')
class TrimsNewPasswords(Server):
    def password_in(self, rest: bytes) -> bytes:
        return rest.strip(b" ")


@wrong("ACCT-10", "accounts/length-last", 'alice: {receives: "! not registered: alice"}')
class LooksAtTheLengthFirst(Server):
    def cmd_passwd(self, user: User, rest: bytes) -> None:
        if error := self.password_fault(self.password_in(rest)):
            self.tell(user, error)
        else:
            super().cmd_passwd(user, rest)


@wrong("ACCT-10", "accounts/replies-in-order", 'alice: {receives: ["Online (2): alice, bob", "Reg')
class TakesUpLinesMeanwhile(Server):
    """Lines after an account command do not wait for it."""

    def start_change(self, user: User, work: Callable[[], object], what: str) -> None:
        super().start_change(user, work, what)
        user.is_waiting = False


@wrong("ACCT-7", "accounts/without-an-accounts-file", 'alice: {receives: ["! unknown command: ')
class KnowsItsCommandsAlways(Server):
    def __init__(self, options: dict[str, str]) -> None:
        super().__init__(options)
        self.commands |= self.account_commands()


@wrong("CMD-1", "accounts/help-with-accounts", 'alice: {sees: "Commands: /help, /who, /msg NAME')
class HelpForgetsAccounts(Server):
    def account_help(self) -> bytes:
        return b""


@wrong("FILE-7", "accounts/no-last-line-end", 'server: {runs: "htpasswd -vb accounts zoe')
class LosesAllOtherLines(Server):
    class accounts_type(Accounts):
        def lines(self, data: bytes) -> list[bytes]:
            return []


@wrong("FILE-7", "accounts/kept-as-they-are", """server: {runs: "sh -c 'LC_ALL=C sed""")
class LosesComments(Server):
    class accounts_type(Accounts):
        def lines(self, data: bytes) -> list[bytes]:
            return [line for line in super().lines(data) if not line.startswith(b"#")]


@wrong("FILE-7", "accounts/kept-as-they-are", """server: {runs: "sh -c 'LC_ALL=C sed""")
class MendsWhatItFinds(Server):
    """Other lines of the file lose their bytes that are not UTF-8."""

    class accounts_type(Accounts):
        def lines(self, data: bytes) -> list[bytes]:
            return super().lines(data.decode(errors="replace").encode())


@wrong("FILE-7", "accounts/no-last-line-end", 'server: {runs: "htpasswd -vb accounts alice')
class AddsToHalfALine(Server):
    class accounts_type(Accounts):
        def change(self, name: bytes, hashed: bytes, before: bytes | None) -> bool:
            self.replace(self.read() + b"%s:%s\n" % (name, hashed))
            return True


@wrong("FILE-7", "accounts/nobody-else-can-read-it", 'server: {runs: "sh -c ')
class LetsAllReadItsAccounts(Server):
    class accounts_type(Accounts):
        MODE = 0o644


@wrong("FILE-7", "accounts/replaced-in-one-step", 'server: {runs: "cmp old before"}')
class WritesIntoTheFile(Server):
    class accounts_type(Accounts):
        def replace(self, data: bytes) -> None:
            self.write(self.path, data)


@wrong("FILE-7", "accounts/symbolic-link", 'server: {runs: "sh -c ')
class ReplacesTheLink(Server):
    class accounts_type(Accounts):
        def replace(self, data: bytes) -> None:
            self.write(self.path + ".new", data)
            os.rename(self.path + ".new", self.path)


@wrong("FILE-5", "accounts/read-again", 'server: {runs: "htpasswd -vb accounts ann ')
class UndoesOthersChanges(Server):
    """The server changes the file as it was at the start."""

    class accounts_type(Accounts):
        first: bytes | None = None

        def read(self) -> bytes:
            self.first = super().read() if self.first is None else self.first
            return self.first


@wrong("FILE-7", "accounts/all-register-at-once", 'server: {runs: "sh -c ')
class LosesOneOfTwoChanges(Server):
    """The file is read before the hash is made, and written afterwards."""

    class accounts_type(Accounts):
        def add(self, name: bytes, password: bytes) -> bytes | None:
            data = self.read()
            hashed = hash_of(password)
            self.write(f"{self.path}.{name.decode()}", data + b"%s:%s\n" % (name, hashed))
            os.rename(f"{self.path}.{name.decode()}", self.path)
            return hashed

    def __init__(self, options: dict[str, str]) -> None:
        super().__init__(options)
        self.changer.SIZE = 8


@wrong("FILE-6", "accounts/cannot-change-what-is-bad:vanished", "alice: {receives: ")
class BeginsANewFile(Server):
    class accounts_type(Accounts):
        def read(self) -> bytes:
            with suppress(FileNotFoundError):
                return super().read()
            return b""


@wrong("FILE-6", "accounts/cannot-change-what-is-bad:malformed", "alice: {receives: ")
class AddsToABadFile(Server):
    class accounts_type(Accounts):
        def add(self, name: bytes, password: bytes) -> bytes | None:
            hashed = hash_of(password)
            self.replace(self.read() + b"%s:%s\n" % (name, hashed))
            return hashed


@wrong(
    "FILE-6", "accounts/cannot-be-written", 'alice: {receives: "! accounts cannot be changed now"}'
)
class SaysThatItIsDone(Server):
    """An account that cannot be written counts as changed."""

    class accounts_type(Accounts):
        def replace(self, data: bytes) -> None:
            with suppress(OSError):
                super().replace(data)


@wrong("ACCT-7", "accounts/cannot-be-written", 'alice: {receives: "Registered alice"')
class StumblesOverItsOwnRemains(Server):
    """A new file that could not be written stays, and is in the way of the next one."""

    class accounts_type(Accounts):
        def replace(self, data: bytes) -> None:
            path = os.path.realpath(self.path)
            with open(path + ".new", "xb") as file:
                file.write(data)
            os.chmod(path + ".new", self.MODE)
            os.rename(path + ".new", path)


@wrong("FILE-5", "accounts/link-to-another-file", 'ann: {receives: "! already registered: ann"')
class FollowsTheLinkAtHangups(Server):
    """A link that names another file counts from the next SIGHUP on, not for the next change."""

    class accounts_type(Accounts):
        def load(self) -> None:
            self.link = getattr(self, "link", self.path)
            self.path = os.path.realpath(self.link)
            super().load()


@wrong("ACCT-11", "accounts/nick-to-a-registered-name", 'alice: {sees: "! name registered: ann"}')
class LetsAnyoneTakeARegisteredName(Server):
    def claim_fault(self, user: User, name: bytes) -> bytes | None:
        return self.stranger_fault(name)


@wrong("ACCT-11", "accounts/nick-to-a-registered-name", 'alice: {sees: "! name registered: ANN"}')
class LooksAtTheCaseOfRegisteredNames(Server):
    def claim_fault(self, user: User, name: bytes) -> bytes | None:
        return super().claim_fault(user, name) if name.islower() else None


@wrong("ACCT-11", "accounts/nick-to-a-name-of-ones-own", "ann: {receives: ")
class LetsNobodyBack(Server):
    """/nick to a registered name is refused, even if the account is proven."""

    def claim_fault(self, user: User, name: bytes) -> bytes | None:
        if self.is_registered(name):
            return b"! name registered: " + name
        return super().claim_fault(user, name)


@wrong(
    "ACCT-11", "accounts/another-account-of-the-name", 'ann: {receives: "! name registered: ann"}'
)
class TrustsForEver(Server):
    """A proven account stays proven if it is removed and made again with another password."""

    def is_verified(self, user: User, name: bytes) -> bool:
        return user.proven[0] == self.key(name)


@wrong("ACCT-5", "accounts/nick-to-a-name-of-ones-own", 'ann: {receives: "! name registered: ann"')
class KeepsAllThatWasProven(Server):
    """An account stays proven when the connection proves another."""

    def is_verified(self, user: User, name: bytes) -> bool:
        user.known = getattr(user, "known", set()) | {user.proven}  # type: ignore[attr-defined]
        hashed = self.accounts.hashes.get(self.key(name))
        return (self.key(name), hashed) in user.known  # type: ignore[attr-defined]


@wrong("ACCT-5", "accounts/reset-by-the-operator", 'ann: {receives: "! name registered: ann"')
class TrustsOldPasswords(Server):
    def is_verified(self, user: User, name: bytes) -> bool:
        return user.proven[0] == self.key(name)


@wrong(
    "FILE-5", "accounts/reset-behind-the-servers-back", 'ann: {receives: "! not registered: ann"}'
)
class OverwritesTheOperatorsPassword(Server):
    class accounts_type(Accounts):
        def change(self, name: bytes, hashed: bytes, before: bytes | None) -> bool:
            return super().change(name, hashed, self.parse(self.read()).get(name.lower()))


@wrong("FILE-8", "accounts/one-server-for-a-file:same-path", "second: {complains: ")
class SharesItsFile(Server):
    class accounts_type(Accounts):
        def hold(self) -> None:
            pass


@wrong("FILE-8", "accounts/one-server-for-a-file:link", "second: {complains: ")
class LocksTheLink(Server):
    class accounts_type(Accounts):
        def hold(self) -> None:
            path, self.path = self.path, self.path.replace("link", "another")
            super().hold()
            self.path = path


@wrong("OPER-6", "console/behind-a-shutdown", 'alice: {receives: "Server is shutting down"}')
class AnnouncesWhatStandsBehind(Server):
    def op_shutdown(self, rest: bytes) -> None:
        for line in iter(lambda: self.next_line(self.console), None):
            self.console_line(line)
        super().op_shutdown(rest)


@wrong("PROG-10", "program/blocked-signals:sigterm", "alice: {receives: ")
class StaysDeaf(Server):
    def unblock(self) -> None:
        pass


@wrong("PROG-10", "program/ignored-signals", "alice: ")
class HearsWhatWasIgnored(Server):
    def is_heard(self, number: int) -> bool:
        return number == signal.SIGINT or super().is_heard(number)


@wrong(
    "LIMIT-6", "limit/half-close-behind-a-full-queue", 'alice: {receives: "slow has left the chat"}'
)
class LooksAwayFromThoseWhoLag(Server):
    """If much waits for a user, its input is not read, and its end is not noticed."""

    def settle(self) -> None:
        super().settle()
        for user in self.users:
            if len(user.outbox) > 1000:
                self.selector.modify(user.sock, selectors.EVENT_WRITE, partial(self.serve, user))


@wrong("CMD-7", "msg/to-oneself", "alice: {sees: ")
class SaysNothingOfTalkToOneself(Server):
    def tell(self, user: User, line: bytes) -> None:
        if b"message yourself" not in line:
            super().tell(user, line)


@wrong("FRAME-10", "frame/order-of-checks", "alice: {receives: ")
class LooksForControlCharactersFirst(Server):
    def fault(self, line: bytes) -> bytes | None:
        if self.CONTROL.search(line.decode(errors="replace")):
            return b"! control characters are not allowed"
        return super().fault(line)


@wrong("STOP-6", "log/hangup-without-a-log", "alice: {receives: ")
class IsDeafToHangups(Server):
    def catch_signals(self) -> None:
        super().catch_signals()
        signal.signal(signal.SIGHUP, lambda *_: None)


@wrong("OPER-3", "console/help", "server: {sees: ")
class KnowsNoShutdown(Server):
    def op_help(self, rest: bytes) -> None:
        self.print_line(b"Commands: /help, /who, /kick NAME")


@wrong("OPER-4", "console/who", "server: {sees: ")
class CountsTheOperator(Server):
    def op_who(self, rest: bytes) -> None:
        for line in self.who():
            self.print_line(line.replace(b"(2)", b"(3)"))


@wrong("LOG-8", "log/hangup-in-vain", "server: {writes: ")
class SaysNothingOfItsLog(Server):
    def reopen_log(self) -> None:
        if self.log:
            with suppress(OSError):
                self.log.reopen()


@wrong("PROG-7", "program/least-values", "server: {starts: ")
class WantsMoreRoom(Server):
    OPTIONS: ClassVar[dict[str, Option]] = Server.OPTIONS | {
        "--max-queue": Option("1048576", number(4097))
    }


@wrong("PROG-8", "program/server-help", "server: {prints: ")
class HelpsNobody(Server):
    class command_line(CommandLine):
        def help(self) -> str:
            return "usage: chat-server [OPTION VALUE]"


@wrong("PROG-9", "program/port-in-use", "rival: {complains: ")
class SaysNothingOfItsPort(Server):
    def listen(self) -> None:
        try:
            super().listen()
        except OSError:
            sys.exit(1)


@wrong("ACCT-12", "accounts/nobody-waits", 'bob: {receives: "alice: hello"}')
class ChecksInItsLoop(Server):
    def start_job(self, user: User, work: Callable[[], object], then: Callable[..., None]) -> None:
        then(work())


@wrong("ACCT-12", "accounts/turns", "")
class ChecksAllAtOnce(Server):
    """The failure shows as soon as bob joins: while alice asks, or later on a busy machine."""

    def __init__(self, options: dict[str, str]) -> None:
        super().__init__(options)
        self.pool.SIZE = 1000


@wrong("LIMIT-4", "accounts/held-while-checked", "server: {grows_less_than: ")
class HoldsWhatComesMeanwhile(Server):
    """All input that arrives while a password is checked is held."""

    def room_for(self, user: User) -> int:
        return 4 * 1024 * 1024

    def watch(self, user: User) -> None:
        super().watch(user)
        if user.is_waiting and user in self.users:
            self.selector.modify(user.sock, selectors.EVENT_READ, partial(self.serve, user))


@wrong("ACCT-14", "accounts/passwords-are-not-shown", "alice: {receives: ")
class RelaysCommandsWithPasswords(Server):
    def command(self, user: User, line: bytes) -> None:
        super().command(user, line)
        self.broadcast(b"%s: %s" % (user.name, line), but=user)


@wrong("ACCT-14", "accounts/passwords-are-not-shown", 'server: {sees: "ann has joined the chat"}')
class PrintsPasswords(Server):
    def take_password(self, user: User, password: bytes) -> None:
        self.print_line(b"%s tries %s" % (user.claimed, password))
        super().take_password(user, password)


@wrong("ACCT-14", "accounts/passwords-are-not-shown", 'ann: {sees: "! wrong password"}')
class EchoesPasswords(Server):
    def password_checked(self, user: User, hashed: bytes, right: bool) -> None:
        self.tell(user, b"*" * 8)
        super().password_checked(user, hashed, right)


# LOG and PROG: what the terminal shows


@wrong("LOG-1", "log/quiet", 'server: {sees: "Online (2): alice, bob"}')
class IsNeverQuiet(Server):
    def __init__(self, options: dict[str, str]) -> None:
        super().__init__(options | {"--quiet": ""})


@wrong(
    "PROG-1",
    "program/server-defaults",
    r'server: {sees: {matches: "Listening on 127\.0\.0\.1:[0-9]+"}}',
)
class ListensEverywhere(Server):
    OPTIONS: ClassVar = Server.OPTIONS | {"--host": Option("0.0.0.0")}


@wrong(
    "PROG-3",
    "program/server-addresses:numbers",
    r'server: {sees: {matches: "Listening on 127\.0\.0\.1:[1-9][0-9]*"}}',
)
class HoldsItsReadyLine(Server):
    """The ready line is not flushed: it appears on a terminal, but not on a pipe."""

    def ready(self) -> None:
        sys.stdout.write(self.ready_line() + "\n")


@wrong("PROG-4", "program/bad-server-option:unknown", "server: {exits: 2}")
class EndsWithStatus1AfterABadOption(Server):
    class command_line(CommandLine):
        bad_status = 1


@wrong(
    "PROG-5",
    "program/server-version",
    r'server: {sees: {matches: "chat-server [^ ]+ \([^',
)
class KeepsItsProtocolToItself(Server):
    class command_line(CommandLine):
        def version(self) -> str:
            return super().version().replace(", protocol 1", "")


# Trouble with the process itself


@wrong("PROG-3", "program/ready-when-it-says-so", "server: starts")
class NeverGetsReady(Server):
    def ready(self) -> None:
        pass


@wrong("PROG-3", "program/ready-when-it-says-so", "server: starts")
class IsReadyBeforeItListens(Server):
    """It announces a port that it has bound, but at which it does not listen."""

    def ready(self) -> None:
        self.bound = socket.socket()
        self.bound.bind((self.options["--host"], 0))
        self.listening_on = with_port(self.bound.getsockname())
        super().ready()


@wrong("PROG-3", "program/ready-when-it-says-so", "server: starts")
class DiesAtTheStart(Server):
    def listen(self) -> None:
        print("cannot find the chat room", file=sys.stderr)
        sys.exit(3)


@wrong("STOP-3", "stop/terminated", "server: {exits: 0}")
class DiesOfASignal(Server):
    """At its very end, after it has done everything else, the server kills itself."""

    def run(self) -> int:
        status = super().run()
        os.kill(os.getpid(), signal.SIGKILL)
        return status


@wrong("LOG-1", "log/quiet", 'server: {sees: "Online (2): alice, bob"}')
class FloodsItsTerminal(Server):
    """Each message is followed by a megabyte of dots."""

    def say(self, user: User, text: bytes) -> None:
        super().say(user, text)
        for _ in range(1024):
            self.print_line(b"." * 1023)


@wrong("STOP-1", "stop/terminated", 'alice: {sees: "Server is shutting down"}')
class IgnoresSignals(Server):
    def catch_signals(self) -> None:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)


@wrong("", "stop/interrupted", "at the end")  # no rule names it, and its case passes
class LeavesAChildBehind(Server):
    """A child keeps the terminal open and ignores signals; it ends by itself after a minute."""

    def run(self) -> int:
        status = super().run()
        if os.fork() == 0:
            for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(each, signal.SIG_IGN)
            signal.alarm(60)
            signal.pause()
        return status


# LOG: the log


@wrong(
    "LOG-2", "log/log-of-leaves", 'server: {writes: {json: {time: "*", level: "INFO", msg: "leave"'
)
class GivesNoReasonForLeaving(Server):
    def record(self, event: str, **fields: bytes | str) -> None:
        fields.pop("reason", None)
        super().record(event, **fields)


@wrong("LOG-2", "log/log-of-a-chat", 'server: {writes: {json: {time: "*", level: "INFO", msg: "me')
class LogsMessagesTwice(Server):
    def say(self, user: User, text: bytes) -> None:
        super().say(user, text)
        self.record("message", name=user.name, text=text)


@wrong(
    "LOG-2", "log/log-of-new-names", 'server: {writes: {json: {time: "*", level: "INFO", msg: "me'
)
class LogsTheFirstName(Server):
    """Messages are logged by the name with which their sender joined."""

    FIRST: ClassVar[dict[User, bytes]] = {}

    def join(self, user: User, name: bytes) -> None:
        self.FIRST[user] = name
        super().join(user, name)

    def say(self, user: User, text: bytes) -> None:
        self.broadcast(b"%s: %s" % (user.name, text), but=user)
        self.record("message", name=self.FIRST[user], text=text)


@wrong("LOG-2", "log/log-time", 'server: {writes: {matches: "\\{')
class LogsWholeSeconds(Server):
    class log_type(Log):
        def now(self) -> str:
            return super().now()[:19] + "Z"


@wrong("LOG-2", "log/log-time", """server: {runs: "sh -c 'logged=""")
class LogsItsOwnTimeZone(Server):
    class log_type(Log):
        def now(self) -> str:
            return time.strftime("%Y-%m-%dT%H:%M:%S.000Z")


@wrong("LOG-2", "log/log-mode", """server: {runs: "sh -c 'test $(stat """)
class LetsAllReadItsLog(Server):
    class log_type(Log):
        MODE = 0o644


@wrong("LOG-2", "log/log-goes-on", "server: {")
class BeginsItsLogAnew(Server):
    class log_type(Log):
        HOW = os.O_TRUNC


@wrong("LOG-2", "log/log-before-the-end", "server: {writes: [{contains: ")
class LosesItsLastEvents(Server):
    """Events are written only when many wait, and not at the end."""

    class log_type(Log):
        def flush(self) -> None:
            if len(self.pending) > 4096:
                super().flush()


@wrong("LOG-6", "log/full-in-the-middle", 'server: {makes: "chat.log"')
class GoesOnInHalfALine(Server):
    class log_type(Log):
        def end_of_torn(self) -> bytes:
            return b""


@wrong("LOG-3", "log/hostile-texts:quotes", "server: {writes: {json: ")
class WritesQuotesAsTheyAre(Server):
    class log_type(Log):
        def line(self, event: dict[str, str]) -> bytes:
            return b"{%s}" % ",".join(f'"{k}":"{v}"' for k, v in event.items()).encode()


@wrong("LOG-3", "log/not-for-the-log", """server: {runs: "sh -c '! grep hunter2""")
class LogsWhatIsPrivate(Server):
    def whisper(self, user: User, other: User, text: bytes) -> None:
        super().whisper(user, other, text)
        self.record("message", name=user.name, text=text)


@wrong("LOG-3", "log/not-for-the-log", """server: {runs: "sh -c '! grep hunter2""")
class LogsRefusedNames(Server):
    def record_refusal(self, user: User, reason: str, line: bytes) -> None:
        text = line.decode(errors="replace")
        self.record("refuse", addr=user.address, reason=reason, text=text)


@wrong("LOG-6", "log/hangup-in-the-middle-of-a-line", "server: {runs: ")
class EndsItsLineInAnotherFile(Server):
    """The end of a line that a full disk has cut is written into the new log."""

    class log_type(Log):
        def reopen(self) -> None:
            was_torn = self.is_torn
            super().reopen()
            self.is_torn = was_torn


@wrong("LOG-2", "log/log-of-accounts", "server: {writes: ")
class LogsNoAccounts(Server):
    def record(self, event: str, **fields: bytes | str) -> None:
        if event != "account":
            super().record(event, **fields)


@wrong("LOG-2", "log/log-of-wrong-passwords", "server: {writes: ")
class TakesPasswordsForNames(Server):
    """A wrong password is logged as a refused name."""

    def record_refusal(self, user: User, reason: str, line: bytes) -> None:
        super().record_refusal(user, "name" if reason == "password" else reason, line)


@wrong("LOG-3", "log/no-password-in-the-log", """server: {runs: "sh -c '! grep -r hunter2""")
class LogsPasswords(Server):
    def take_password(self, user: User, password: bytes) -> None:
        self.record("error", error=b"%s: wrong password?" % password)
        super().take_password(user, password)


@wrong("LOG-7", "log/hangup", 'server: {makes: "chat.log"}')
class StaysWithItsOldLog(Server):
    def reopen_log(self) -> None:
        pass


@wrong("LOG-7", "log/hangup", 'server: {makes: "chat.log"}')
class EndsWhenItsLogIsRotated(Server):
    def on_hangup(self, which: int, frame: object) -> None:
        self.on_signal(which, frame)


@wrong("LOG-5", "log/full-log", """server: {runs: "sh -c 'test $(grep -c lost errors)""")
class SaysOfEachLineThatItIsLost(Server):
    class log_type(Log):
        def lose(self, why: str) -> None:
            self.has_lost = False
            super().lose(why)


@wrong("LOG-5", "log/full-log", 'server: {makes: "errors"')
class DiesOfAFullLog(Server):
    class log_type(Log):
        def lose(self, why: str) -> None:
            sys.exit(1)


@wrong("LOG-5", "log/unread-at-the-end", 'server: {complains: {contains: "lost"}}')
class LosesTheLastLinesInSilence(Server):
    class log_type(Log):
        def finish(self) -> None:
            self.has_lost = True
            super().finish()


@wrong("LOG-4", "log/unread-output", 'bob: {receives: {starts: "alice: line {n}: ", times: 3000}}')
class WaitsForItsReader(Server):
    """A write to standard output waits until the reader accepts it."""

    def __init__(self, options: dict[str, str]) -> None:
        super().__init__(options)
        self.output.descriptor = 1


if __name__ == "__main__":
    sys.exit(BUGS.main())
