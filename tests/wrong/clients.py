"""Wrong clients: each is the right one with one thing changed. `python -m wrong.clients --bug …`

Above each stands the rule that it breaks, the scenario that must find out, and at which step.
"""

from __future__ import annotations

import re
import socket
import struct
import sys
from typing import ClassVar

from wrong.bug import Bugs
from wrong.options import CommandLine, Option
from wrong.right_client import PROMPT, Client

BUGS = Bugs()
wrong = BUGS.wrong


# From the server to the screen


@wrong(
    "FRAME-3",
    "client/many-lines-at-once",
    'alice: {sees: {line: "line {n} of ten thousand", times: 10000}}',
)
class LosesTheSecondLine(Client):
    """Of the lines that come in one packet, the first alone is shown."""

    def show(self, data: bytes, final: bool = False) -> None:
        first, end, _ = data.partition(b"\n")
        super().show(first + end, final)


@wrong("FRAME-3", "client/character-in-two-packets", 'alice: {sees: "🎉 two"}')
class LosesSplitCharacters(Client):
    def decode(self, data: bytes, final: bool) -> str:
        return data.decode(errors="replace")


@wrong("CLIENT-1", "client/shows-through-a-pipe", 'alice: {sees: "Welcome"}')
class StaysALineBehind(Client):
    """A line is shown when the next one comes."""

    held = ""

    def write(self, text: str) -> None:
        if text.endswith("\n"):
            self.held, text = text, self.held
        super().write(text)


@wrong("CLIENT-1", "client/shows-what-comes", 'alice: {is_asked: "Name? "}')
class PromptsNeedALineEnd(Client):
    """What has no line end yet is not shown."""

    held = ""

    def write(self, text: str) -> None:
        whole, end, self.held = (self.held + text).rpartition("\n")
        super().write(whole + end)


@wrong("CLIENT-6", "client/escape-sequences", 'alice: {sees: "�[2J�]0;title��31m"}')
class LetsEscapeThrough(Client):
    CONTROL = re.compile("(?!\x1b)" + Client.CONTROL.pattern)


@wrong("CLIENT-6", "client/control-characters:directions", 'alice: {sees: "one�two��three�"}')
class LetsTextDirectionThrough(Client):
    CONTROL = re.compile("(?![\u202a-\u202e])" + Client.CONTROL.pattern)


@wrong("CLIENT-6", "client/control-characters:c0", 'alice: {sees: "one�two��three�"}')
class DropsControlCharacters(Client):
    def write(self, text: str) -> None:
        super().write(text.replace("\ufffd", ""))


# From the keyboard to the server


@wrong("CLIENT-1", "client/sends-what-is-typed", 'server: {receives: "hello"}')
class EndsLinesWithReturns(Client):
    def send(self, data: bytes) -> None:
        super().send(data.replace(b"\n", b"\r\n"))


@wrong(
    "FRAME-9", "frame/client-sends-without-delay", "alice: {has_socket_option: {TCP_NODELAY: 1}}"
)
class DelaysSmallLines(Client):
    def prepare(self) -> None:
        super().prepare()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)


@wrong("CLIENT-1", "client/sends-what-is-typed", 'alice: {sees: "Server is shutting down"}')
class EchoesWhatIsTyped(Client):
    def on_keyboard(self, data: bytes) -> None:
        super().on_keyboard(data)
        self.show(data)


@wrong("CLIENT-1", "client/last-line-of-a-pipe", 'server: {receives: ["one", "two"]}')
class LosesTheLastLine(Client):
    """A last line without its end stays so, and is none."""

    def end_of_keyboard(self) -> None:
        self.keyboard_ended = True


@wrong("CLIENT-3", "client/shows-the-rest", 'alice: {sees: ["one", "two"]}')
class EndsWithItsInput(Client):
    """What the server still sends is not shown."""

    def end_sending(self) -> None:
        super().end_sending()
        self.signalled = True


@wrong("CLIENT-3", "client/shows-the-rest", "server: is_closed")
class NeverEndsItsSide(Client):
    def end_sending(self) -> None:
        pass


@wrong("CLIENT-8", "client/name-as-an-option", 'bob: {is_asked: "Enter your screen name: "}')
class SendsItsNameBeforeThePrompt(Client):
    def prepare(self) -> None:
        super().prepare()
        if self.name:
            self.answer_prompt()


@wrong(
    "CLIENT-8",
    "client/refused-name-as-an-option",
    'bob: {sees: "! invalid name: use 1 to 32 letters, digits, "_" or "-""}',
)
class InsistsOnItsName(Client):
    """Where the name is refused, it is given again."""

    def __init__(self, options: dict[str, str]) -> None:
        super().__init__(options)
        self.insists = self.name

    def follow(self, data: bytes) -> None:
        super().follow(data)
        if self.line == PROMPT:
            self.name = self.insists


@wrong("CLIENT-8", "client/name-as-an-option", 'bob: {sees: "bob"}')
class HidesItsName(Client):
    """The name is not shown where it would have been typed."""

    def answer_prompt(self) -> None:
        self.send(self.name + b"\n")
        self.name = b""


@wrong("CLIENT-8", "client/input-waits-for-the-name", 'server: {receives: ["alice", "one", "two"]}')
class TalksBeforeItsName(Client):
    """The keyboard is read before the name is given."""

    def listens_to_keyboard(self) -> bool:
        return not self.keyboard_ended


# The connection and its end


@wrong("CLIENT-2", "client/interrupted:sigint", "alice: {exits: 0}")
class EndsWithStatus130(Client):
    STATUS_AFTER_SIGNAL = 130


@wrong("CLIENT-2", "client/interrupted:sigint", "server: is_closed")
class ResetsOnCtrlC(Client):
    def leave(self) -> int:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        return self.STATUS_AFTER_SIGNAL


@wrong(
    "CLIENT-4",
    "client/cannot-connect:refused",
    'alice: {complains: {starts: "cannot connect to 127.0.0.1:1: "}}',
)
class ShowsAStackTrace(Client):
    def cannot_connect(self, host: str, port: int, error: Exception) -> int:
        raise error


@wrong(
    "PROG-2",
    "client/cannot-connect:named",
    'alice: {complains: {starts: "cannot connect to localhost:1: "}}',
)
class LooksForItsServerElsewhere(Client):
    OPTIONS: ClassVar = Client.OPTIONS | {"--host": Option("chat.invalid")}


@wrong("CLIENT-5", "client/good-ending:shutdown", 'alice: {complains: "Disconnected"}')
class NeverSaysDisconnected(Client):
    def complain(self, text: str) -> None:
        if text != "Disconnected":
            super().complain(text)


@wrong("CLIENT-5", "client/bad-ending:full", "alice: {exits: 1}")
class IsContentWithAFullServer(Client):
    STATUS_AFTER_BAD_ENDING = 0


@wrong("CLIENT-5", "client/connection-lost:reset", 'alice: {complains: "Connection lost"}')
class OverlooksThatItIsCutOff(Client):
    def connection_lost(self) -> int:
        return 0


@wrong("PROG-4", "program/bad-client-option:unknown", "alice: {exits: 2}")
class EndsWithStatus1AfterABadOption(Client):
    class command_line(CommandLine):
        bad_status = 1


@wrong(
    "PROG-5",
    "program/client-version",
    r'alice: {sees: {matches: "chat-client [0-9]+\.[0-9]+\.[0-9]+ \([A-Z][^,',
)
class KeepsItsProtocolToItself(Client):
    class command_line(CommandLine):
        def version(self) -> str:
            return super().version().replace(", protocol 1", "")


if __name__ == "__main__":
    sys.exit(BUGS.main())
