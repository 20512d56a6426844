"""Wrong clients: each is the right one with one thing changed. `python -m wrong.clients --bug …`

The decorator of each names the rule that it breaks, and the scenario and the step that must fail.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import sys
from contextlib import suppress
from math import inf
from typing import ClassVar

from wrong.bug import Bugs
from wrong.options import CommandLine, Option
from wrong.right_client import PASSWORD_PROMPT, PROMPT, READ_SIZE, Client, Phase
from wrong.terminal import Editor, is_terminal

BUGS = Bugs()
wrong = BUGS.wrong


# From the server to the screen


@wrong(
    "FRAME-3",
    "client/many-lines-at-once",
    'alice: {sees: {line: "line {n} of ten thousand", times: 10000}}',
)
class LosesTheSecondLine(Client):
    """Of the lines in one packet, only the first is shown."""

    def on_server(self, data: bytes) -> None:
        first, end, _ = data.partition(b"\n")
        super().on_server(first + end)


@wrong("FRAME-3", "client/character-in-two-packets", 'alice: {sees: "🎉 two"}')
class LosesSplitCharacters(Client):
    def decode(self, data: bytes, final: bool) -> str:
        return data.decode(errors="replace")


@wrong("CLIENT-10", "client/standard-output-that-is-full:disk", "server: is_closed")
class DoesNotMindThatNothingIsShown(Client):
    def write(self, text: str) -> None:
        with suppress(OSError):
            super().write(text)


@wrong("CLIENT-1", "client/shows-through-a-pipe", 'alice: {sees: "Welcome"}')
class StaysALineBehind(Client):
    """A line is shown only when the next one arrives."""

    held = ""

    def write(self, text: str) -> None:
        if text.endswith("\n"):
            self.held, text = text, self.held
        super().write(text)


@wrong("CLIENT-1", "client/shows-what-comes", 'alice: {is_asked: "Name? "}')
class PromptsNeedALineEnd(Client):
    """Text without a line end is not shown."""

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
    def prepare(self, sock: socket.socket) -> None:
        super().prepare(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)


@wrong("CLIENT-1", "client/sends-what-is-typed", 'alice: {sees: "Server is shutting down"}')
class EchoesWhatIsTyped(Client):
    def on_keyboard(self, data: bytes) -> None:
        super().on_keyboard(data)
        self.show(data)


@wrong("CLIENT-1", "client/last-line-of-a-pipe", 'server: {receives: ["one", "two"]}')
class LosesTheLastLine(Client):
    """A last line without its end is sent without an end."""

    def end_of_keyboard(self) -> None:
        self.keyboard_ended = True


@wrong("CLIENT-1", "client/long-last-line-of-a-pipe", 'server: {receives: "{y*65536}"}')
class LosesTheEndOfALongLine(Client):
    """A long last line, whose beginning was sent before, is sent without an end."""

    def end_of_keyboard(self) -> None:
        if len(self.typing) >= 64 * 1024:
            self.last_typed = b"\n"
        super().end_of_keyboard()


@wrong("CLIENT-3", "client/shows-the-rest", 'alice: {sees: ["one", "two"]}')
class EndsWithItsInput(Client):
    """After the end of the input, what the server still sends is not shown."""

    def end_sending(self) -> None:
        super().end_sending()
        self.signalled = True


@wrong("CLIENT-3", "client/shows-the-rest", "server: is_closed")
class NeverEndsItsSide(Client):
    def end_sending(self) -> None:
        pass


@wrong("CLIENT-8", "client/name-as-an-option", 'bob: {is_asked: "Enter your screen name: "}')
class SendsItsNameBeforeThePrompt(Client):
    def connected(self) -> None:
        super().connected()
        if self.name is not None:
            self.answer_prompt()


@wrong(
    "CLIENT-8",
    "client/refused-name-as-an-option",
    'bob: {sees: "! invalid name: use 1 to 32 letters, digits, "_" or "-""}',
)
class InsistsOnItsName(Client):
    """A refused name of --name is given again."""

    def __init__(self, options: dict[str, str]) -> None:
        super().__init__(options)
        self.insists = self.name

    def on_prompt(self, prompt: bytes) -> None:
        self.name = self.insists
        super().on_prompt(prompt)


@wrong("CLIENT-8", "client/name-as-an-option", 'bob: {sees: "bob"}')
class HidesItsName(Client):
    """The name of --name is not shown."""

    def answer_prompt(self) -> None:
        self.send((self.name or b"") + b"\n")
        self.name = None


@wrong(
    "CLIENT-8",
    "client/control-character-in-the-name-as-an-option",
    'bob: {sees: ["b\ufffd[2Job"',
)
class ShowsItsNameAsItIs(Client):
    """A control character in --name reaches the screen."""

    def answer_prompt(self) -> None:
        shown = (self.name or b"").decode(errors="replace") + "\n"
        self.send((self.name or b"") + b"\n")
        self.name = None
        self.write(shown)


@wrong("CLIENT-8", "client/input-waits-for-the-name", 'server: {receives: ["alice", "one", "two"]}')
class TalksBeforeItsName(Client):
    """Lines of the input are sent before the name of --name."""

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
    def cannot_connect(self, error: Exception) -> int:
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


@wrong(
    "CLIENT-5",
    "client/ending-in-the-row-of-a-prompt",
    'alice: {complains: "Disconnected"}',
)
class TakesThePromptForPartOfTheLine(Client):
    so_far = b""

    def on_piece(self, piece: bytes) -> None:
        self.so_far += piece
        super().on_piece(piece)
        if piece.endswith(b"\n"):
            self.last, self.so_far = self.so_far.rstrip(b"\r\n"), b""


@wrong("CLIENT-5", "reconnect/no-retries:reset", 'alice: {complains: "Connection lost"}')
class OverlooksThatItIsCutOff(Client):
    def lost_for_good(self) -> int:
        return 0


@wrong(
    "PROG-4",
    "program/name-that-is-no-line:line-feed",
    'alice: {complains: {last: {contains: "two"}}}',
)
class TakesANameOfTwoLines(Client):
    OPTIONS: ClassVar = Client.OPTIONS | {"--name": Option("")}


@wrong("PROG-4", "program/bad-client-option:unknown", "alice: {exits: 2}")
class EndsWithStatus1AfterABadOption(Client):
    class command_line(CommandLine):
        bad_status = 1


@wrong(
    "PROG-5",
    "program/client-version",
    r'alice: {sees: {matches: "chat-client [^ ]+ \([^',
)
class KeepsItsProtocolToItself(Client):
    class command_line(CommandLine):
        def version(self) -> str:
            return super().version().replace(", protocol 1", "")


@wrong("PROG-6", "program/no-other-words", 'alice: {complains: "Disconnected"}')
class TellsThatItIsConnected(Client):
    def connected(self) -> None:
        super().connected()
        self.complain("connected")


# Away and back


@wrong("BACK-7", "reconnect/lines-typed-meanwhile", "server: is_closed")
class TalksOnTheWayBack(Client):
    """Kept lines are sent with the name, before the welcome."""

    def answer_again(self, prompt: bytes) -> None:
        super().answer_again(prompt)
        self.send_kept()


@wrong("BACK-3", "reconnect/password", 'server: {receives: " correct horse "}')
class TakesKeptLinesForAnswers(Client):
    """A line typed while the client reconnects is given as the password."""

    def answer_again(self, prompt: bytes) -> None:
        if prompt == PASSWORD_PROMPT:
            self.send_kept()
        else:
            super().answer_again(prompt)


@wrong("BACK-3", "reconnect/password", 'server: {receives: " correct horse "}')
class ForgetsItsPassword(Client):
    def begin(self) -> None:
        self.password = None
        super().begin()


@wrong("BACK-7", "reconnect/lines-typed-meanwhile", 'server: {receives: ["one", "", ')
class LosesWhatWasKept(Client):
    def send_kept(self) -> None:
        self.kept.clear()


@wrong("BACK-7", "reconnect/lines-typed-meanwhile", 'server: {receives: "five"}')
class SendsWhatWasKeptTwice(Client):
    def send_kept(self) -> None:
        self.kept *= 2
        super().send_kept()


@wrong("BACK-10", "reconnect/lost-at-the-password", 'server: {receives: "is anybody there?"}')
class SaysALatePasswordInTheRoom(Client):
    """A password typed after its prompt was lost is kept, and sent to the room."""

    def keep_unsent(self) -> None:
        super().keep_unsent()
        self.forgets = False


@wrong(
    "BACK-1",
    "reconnect/gives-up",
    'alice: {complains: "Connection lost, retrying in 0.1 s (2 of 4)"}',
)
class TriesAsOftenAsEver(Client):
    """The delay is not doubled."""

    def next_delay(self) -> float:
        return self.first_delay


@wrong(
    "BACK-1",
    "reconnect/shown-delay:most",
    'alice: {complains: "Connection lost, retrying in 30 s (1 of 999999999)"}',
)
class WaitsForEverLonger(Client):
    MAX_DELAY = inf


@wrong("BACK-6", "reconnect/gives-up", 'alice: {complains: "Giving up after 4 attempts"}')
class NeverGivesUp(Client):
    def has_tried_enough(self) -> bool:
        return False


@wrong("BACK-1", "reconnect/gives-up", "alice: {exits: 1}")
class IsContentToGiveUp(Client):
    STATUS_AFTER_GIVING_UP = 0


@wrong(
    "BACK-4",
    "reconnect/counts-anew",
    'alice: {complains: "Connection lost, retrying in 0.05 s (1 of 2)"}',
)
class NeverCountsAnew(Client):
    def count_anew(self) -> None:
        pass


@wrong("CLIENT-5", "reconnect/told-endings:goodbye", 'alice: {complains: "Disconnected"}')
class ComesBackAfterGoodbye(Client):
    def ended_well(self, last: bytes) -> bool:
        return last in self.GOOD_ENDINGS


@wrong("BACK-2", "reconnect/name-by-nick", 'server: {receives: "Alice-2"}')
class ForgetsItsNewName(Client):
    def renamed(self, name: bytes) -> None:
        pass


@wrong("BACK-4", "reconnect/comes-back:closed", 'alice: {sees: "bob: good"}')
class ShowsTheWayBack(Client):
    """Prompts and welcome are shown while the client reconnects."""

    def on_piece(self, piece: bytes) -> None:
        if self.phase is Phase.RETURNING:
            self.show(piece)
        super().on_piece(piece)


@wrong("BACK-5", "reconnect/name-in-use-at-first", 'alice: {complains: "Connection lost')
class IsBackBeforeTheWelcome(Client):
    """The client prints `Reconnected` before the welcome."""

    def answer_again(self, prompt: bytes) -> None:
        super().answer_again(prompt)
        if prompt == PROMPT:
            self.complain(f"Reconnected as {self.nick.decode()}")

    def come_back(self) -> None:
        self.enter(self.nick)


@wrong("BACK-5", "reconnect/refused-on-the-way-back:any-other", "server: is_closed")
class WaitsAfterARefusal(Client):
    """After a refusal, the client waits for a welcome."""

    def on_line_back(self, line: bytes, welcomed: bytes) -> None:
        super().on_line_back(line, welcomed)
        self.refused = False


@wrong("CLIENT-3", "reconnect/lost-after-the-input", 'alice: {complains: "Connection lost"}')
class ComesBackWithNothingToSay(Client):
    """After the end of its input, a lost connection is tried again."""

    def connection_lost(self) -> int | None:
        self.keyboard_ended = False
        return super().connection_lost()


# The terminal


@wrong(
    "HIDE-1",
    "screen/a-hidden-password:plain",
    'ann: {shows: ["Enter your screen name: ann", "Password:", "! wrong',
)
class ShowsThePassword(Client):
    def hide_typing(self) -> None:
        pass


@wrong(
    "HIDE-1",
    "screen/a-hidden-password:edited",
    'ann: {shows: ["Enter your screen name: ann", "Password:", "! wrong',
)
class ShowsStarsForThePassword(Client):
    """The length of the password is shown."""

    def read_keyboard(self) -> None:
        if self.hidden:
            self.write("*" * 11)
        super().read_keyboard()


@wrong(
    "FRAME-3",
    "screen/another-name-in-pieces:edited",
    'ann: {shows: {last: ["Password:", "! name in use: ann", "Enter your sc',
)
class WritesTheRestOfAPromptOverItsBeginning(Client):
    """The part of a prompt that arrived while a password was typed is not drawn again."""

    def edit_behind_the_row(self) -> None:
        self.row = ""


@wrong(
    "HIDE-1",
    "screen/another-name-is-shown:plain",
    'ann: {shows: {last: "Enter your screen name: eve‸"}}',
)
class HidesTheNextNameToo(Client):
    def prepare_for(self, line: bytes) -> None:
        if line.startswith(PASSWORD_PROMPT):
            self.hide_typing()


@wrong("HIDE-2", "screen/half-a-password:plain", 'server: {receives: "eve"}')
class TakesHalfAPasswordForTheName(Client):
    def forget_half_password(self) -> None:
        pass


@wrong("HIDE-4", "screen/ended-at-the-password:sigint-plain", "ann: {exits: 0}")
class LeavesTheTerminalWithoutEcho(Client):
    def leave_terminal(self) -> None:
        pass


@wrong("HIDE-4", "screen/hung-up-at-the-password:plain", "ann: {exits: 0}")
class LeavesTheTerminalWithoutEchoWhenHungUp(Client):
    def on_deadly_signal(self, which: int, frame: object) -> None:
        signal.signal(which, signal.SIG_DFL)
        os.kill(os.getpid(), which)


@wrong(
    "HIDE-1",
    "screen/no-prompt-in-the-room:plain",
    'ann: {shows: {last: "Password: hello‸"}}',
)
class HidesWhatIsTypedInTheRoom(Client):
    """A message "Password: " hides what other users type."""

    def on_piece(self, piece: bytes) -> None:
        self.prepare_for(self.line + piece)
        super().on_piece(piece)


@wrong(
    "EDIT-1",
    "screen/twenty-lines-above-a-half-typed-one",
    'ann: {shows: {last: ["bob: 1", "bob: 2", "ann> half a‸"]}}',
)
class WritesIntoTheHalfTypedLine(Client):
    class editing(Editor):
        def show(self, text: str) -> None:
            if self.text:
                self.write(text)
            else:
                super().show(text)


@wrong(
    "EDIT-1",
    "screen/twenty-lines-above-a-half-typed-one",
    'ann: {shows: {last: ["bob: 1", "bob: 2", "ann> half a‸"]}}',
)
class HidesTheHalfTypedLine(Client):
    """The half-typed line is hidden until the next key."""

    class editing(Editor):
        def show(self, text: str) -> None:
            half, self.text = self.text, ""
            place, self.place = self.place, 0
            super().show(text)
            self.text, self.place = half, place


@wrong(
    "EDIT-1",
    "screen/what-the-client-itself-says",
    'ann: {shows: {last: ["Connection lost, retrying in 0.05 s (1 of 10)", "ann (away)> half‸"]}}',
)
class ComplainsIntoTheHalfTypedLine(Client):
    def complain(self, text: str) -> None:
        self.say(text)


@wrong("EDIT-1", "screen/a-key:left", 'ann: {shows: {last: ["bob: hello", "ann> ab cx‸d"]}')
class ForgetsWhereTheCursorWas(Client):
    """When a line arrives, the cursor moves to the end of the half-typed line."""

    class editing(Editor):
        def show(self, text: str) -> None:
            self.end()
            super().show(text)


@wrong(
    "EDIT-1",
    "screen/longer-than-the-window",
    'ann: {shows: ["Enter your screen name: ann", "Welcome, ann (1 online).',
)
class ErasesOneRowAlone(Client):
    """Of a half-typed line of several rows, a part stays above arriving lines."""

    class editing(Editor):
        def erase(self) -> None:
            self.row = 0
            super().erase()


@wrong("EDIT-4", "screen/wide-characters", 'ann: {shows: {last: "ann> 日本語x‸"}}')
class CountsCharactersForColumns(Client):
    class editing(Editor):
        def spots(self) -> list[tuple[int, int]]:
            length = len(self.lead + self.text)
            return [divmod(place, self.columns()) for place in range(length + 1)]


@wrong(
    "EDIT-1",
    "screen/a-narrower-window",
    'ann: {shows: {last: ["bob: first", {starts: "ann> 0123',
)
class OverlooksThatTheWindowIsAnother(Client):
    def on_resize(self) -> None:
        pass


@wrong(
    "HIDE-3",
    "screen/no-password-in-the-history:register",
    'ann: {shows: {last: ["ann> /register open sesame", "ann> hello‸"]}}',
)
class KeepsPasswordsInItsHistory(Client):
    class editing(Editor):
        SECRETS = re.compile("$^")


@wrong(
    "HIDE-3",
    "screen/no-password-in-the-history:another-case",
    'ann: {shows: {last: ["ann> /PassWD open sesame", "ann> hello‸"]}}',
)
class KnowsPasswordsByLowerCase(Client):
    class editing(Editor):
        SECRETS = re.compile("/(register|passwd) ")


@wrong("EDIT-4", "screen/a-key:delete", 'ann: {shows: {last: "ann> x‸b cd"}}')
class TakesDeleteForBackspace(Client):
    class editing(Editor):
        def delete(self) -> None:
            self.backspace()


@wrong("EDIT-5", "jobs/stopped-and-gone-on", 'ann: {shows: {last: ["bob: hello", "ann> half a‸"]}}')
class LosesItsLineWhenStopped(Client):
    """The half-typed line is lost after `fg`."""

    def on_continued(self) -> None:
        if self.editor:
            self.editor.text, self.editor.place = "", 0
        super().on_continued()


@wrong(
    "EDIT-5",
    "jobs/in-the-background",
    'ann: {shows: {last: ["[1]+ client &", "$ echo next; head -n 1", "next", "mine", "mine"',
)
class WritesInTheBackground(Client):
    """The client reads and writes the terminal in the background."""

    def wait_in_background(self) -> None:
        self.wakened.recv(READ_SIZE)  # what the signal has sent; else the line is drawn at once
        self.has_terminal = True


@wrong("EDIT-5", "jobs/in-the-background", 'ann: {shows: {last: ["bob: hello"')
class StaysInTheBackground(Client):
    """The client does not notice `fg`, which sends no signal."""

    def wait_in_background(self) -> None:
        if not self.signalled:
            self.wakened.recv(READ_SIZE)


@wrong("EDIT-5", "jobs/started-in-the-background", 'ann: {shows: ["$ client &"')
class TakesTheTerminalAtItsStart(Client):
    """The client edits lines even if it was started in the background."""

    def wait_in_background(self) -> None:
        self.has_terminal = True


@wrong(
    "HIDE-1",
    "jobs/in-the-background-at-the-password",
    'ann: {shows: {last: ["Password:", {starts: "Welcome, ann"}',
)
class ShowsThePasswordAfterTheBackground(Client):
    def on_continued(self) -> None:
        if self.hidden:
            self.write(PASSWORD_PROMPT.decode())
        else:
            super().on_continued()


@wrong("EDIT-8", "screen/ended-while-typing:sigterm", "ann: {exits: 0}")
class LeavesTheTerminalRaw(Client):
    def leave_terminal(self) -> None:
        pass


@wrong("EDIT-9", "screen/a-dumb-terminal:dumb", 'ann: {shows: {last: "half ‸"}}')
class EditsOnADumbTerminal(Client):
    def can_edit(self) -> bool:
        return is_terminal()


@wrong("EDIT-2", "screen/its-own-prompt", 'ann: {shows: {last: ["Connection lost, retrying in 0.05')
class DoesNotTellThatItIsAway(Client):
    WORDS_AWAY = ""


@wrong(
    "EDIT-3",
    "screen/ctrl-d-on-an-empty-line",
    'ann: {shows: {last: ["ann> last words", "bob: bye", "‸"]}}',
)
class LeavesItsPromptOnTheScreen(Client):
    class editing(Editor):
        def go(self) -> None:
            self.leave()


@wrong("EDIT-6", "screen/completes:several-names", 'server: {receives: {matches: "/msg b ?"}}')
class TakesTheFirstOfSeveralNames(Client):
    class editing(Editor):
        def candidates(self, start: int) -> list[str]:
            return super().candidates(start)[1:2]


@wrong("EDIT-6", "screen/a-pasted-tab", 'server: {receives: "/w\tx"}')
class CompletesWhatIsPasted(Client):
    class editing(Editor):
        def begin_paste(self) -> None:
            pass


@wrong("EDIT-7", "screen/what-the-terminal-answers:colour", 'ann: {shows: {last: "ann> ab‸"}}')
class TakesAnswersForText(Client):
    """Only keys are recognized, not answers of the terminal."""

    class editing(Editor):
        KEY = re.compile("\x1b\\[[0-9;]*[@-~]|\x1bO.|\x1b[^[O]|[^\x1b]", re.DOTALL)


@wrong("CLIENT-6", "screen/hostile-lines-above", "ann: {shows: [")
class TrustsTheServerWhileEditing(Client):
    CONTROL = re.compile("(?!x)x")


@wrong("PROG-10", "program/client-with-blocked-signals:sigterm", "server: is_closed")
class StaysDeaf(Client):
    def unblock(self) -> None:
        pass


@wrong("PROG-10", "program/client-with-ignored-signals", 'server: {receives: "still here"}')
class HearsWhatWasIgnored(Client):
    def is_heard(self, which: int) -> bool:
        return True


@wrong("BACK-9", "reconnect/password-wrong-by-now", 'alice: {complains: ["not sent: one"')
class ForgetsWhatItKept(Client):
    def show_unsent(self) -> None:
        pass


@wrong("BACK-8", "reconnect/quits-while-away", 'alice: {complains: ["not sent: one", ')
class CannotQuitWhileAway(Client):
    """/quit that is typed between two tries is kept as a line."""

    def is_quit(self, piece: bytes) -> bool:
        return False


@wrong("BACK-3", "reconnect/password-for-one-name", "server: is_closed")
class GivesItsPasswordForAnyName(Client):
    def is_for_our_name(self) -> bool:
        return True


@wrong("CLIENT-10", "client/standard-error-that-is-full", "alice: {exits: 1}")
class WaitsForStandardError(Client):
    def say(self, text: str) -> None:
        os.write(2, text.encode() + b"\n")


@wrong(
    "CLIENT-9",
    "client/never-connected-to-itself:ipv4",
    'alice: {complains: {starts: "cannot connect to 127.0.0.1:40000: "}}',
)
class TalksToItself(Client):
    def is_itself(self, sock: socket.socket) -> bool:
        return False


@wrong("CLIENT-7", "client/each-address:named", "alice: ")
class TriesOneAddress(Client):
    def connect(self) -> socket.socket:
        self.host = "::1"
        return super().connect()


if __name__ == "__main__":
    sys.exit(BUGS.main())
