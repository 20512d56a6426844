"""A small chat client that keeps all rules of PROTOCOL.md for the features that it has.

It consists of small methods, so that a wrong client can replace one of them. Lines that are typed
while there is no connection are kept, and sent when the client is in the room again.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
import select
import selectors
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from enum import Enum, auto
from typing import ClassVar

from wrong.options import CommandLine, Option, host, number, seconds
from wrong.terminal import Editor, Terminal, can_edit, is_ours

FEATURES = frozenset({"accounts", "line-editing", "reconnect"})
DEADLY = (
    *(signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2),
    *(signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGXCPU),
)
PROMPT = b"Enter your screen name: "
NO_NAME = "\n"  # a value that the option cannot have
PASSWORD_PROMPT = b"Password: "
WELCOME = re.compile(rb"Welcome, ([A-Za-z0-9_-]+) \(")
RENAMED = re.compile(rb"([A-Za-z0-9_-]+) is now known as ([A-Za-z0-9_-]+)")
PASSWORD_COMMAND = re.compile(rb"/(?:register|passwd) +(.+)", re.IGNORECASE)
QUIT = re.compile(rb"/quit(?: .*)?\r?\n", re.IGNORECASE)
TALKS = re.compile(rb"(?:\(private\) )?([A-Za-z0-9_-]+)(?:: .*| has (joined|left) the chat)")
ONLINE = re.compile(rb"Online \([0-9]+\): (.*)")
PIECES = re.compile(rb"[^\n]*\n|[^\n]+")  # whole lines, and the beginning of a line
READ_SIZE = 64 * 1024
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
MAX_REMEMBERED = 4096  # bytes of an endless line; all of it is shown
MAX_UNSENT = 64 * 1024
LINGER_SECONDS = 1.0
NEXT_SECONDS = 2.0  # before the next address is tried, while the first attempt continues
WELCOME_SECONDS = 30.0  # for a connection to be made, and for the welcome after a reconnection
LOOK_SECONDS = 0.2  # in the background: no signal tells when the shell returns the terminal
KEYBOARD, SCREEN = 0, 1


def is_name(text: str) -> bool:
    return len(os.fsencode(text)) <= 1024 and not re.search("[\r\n]", text)


class Phase(Enum):
    FIRST = auto()  # the first connection is being made
    ASKED = auto()  # not welcomed yet: the user answers prompts
    JOINED = auto()
    AWAY = auto()  # the connection is lost; the next try waits or is being made
    RETURNING = auto()  # connected again: the client answers prompts with what it remembers


class Client:
    OPTIONS: ClassVar[dict[str, Option]] = {
        "--host": Option("localhost", host),
        "--port": Option("8080", number(1, 65535)),
        "--name": Option(NO_NAME, is_name),
        "--retries": Option("10", number(0)),
        "--retry-delay": Option("1", seconds),
    }
    CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
    WORDS_AWAY = " (away)"
    GOOD_ENDINGS = (b"Server is shutting down",)
    BAD_ENDINGS = (
        b"! too many attempts",
        b"! timed out",
        b"! server full",
        b"! kicked by the operator",
    )
    STATUS_AFTER_SIGNAL = 0
    STATUS_AFTER_BAD_ENDING = 1
    STATUS_AFTER_GIVING_UP = 1
    MAX_DELAY = 30.0
    command_line: type[CommandLine] = CommandLine
    editing: type[Editor] = Editor

    def __init__(self, options: dict[str, str]) -> None:
        self.host, self.port = options["--host"], int(options["--port"])
        self.hidden = False
        self.half = b""  # the beginning of a password, whose end was not typed yet
        given = options["--name"]
        self.option = None if given == NO_NAME else os.fsencode(given)  # until it is refused
        self.retries = int(options["--retries"])
        self.first_delay = self.delay = float(options["--retry-delay"])
        self.tries = 0  # attempts since the last welcome
        self.due = 0.0  # when the next try begins, or must be over
        self.phase = Phase.FIRST
        self.made: list[socket.socket | Exception] = []  # the result of a thread that connects
        self.nick = b""  # our current or last name
        self.password: bytes | None = None  # the password that the server accepted
        self.password_name = b""  # the name to which it belongs
        self.offered: bytes | None = None  # typed in a command, not confirmed by the server yet
        self.outbox = bytearray()
        self.kept = bytearray()  # typed for the room while away
        self.typing = b""  # the beginning of a line
        self.forgets = False  # the line that is being typed will be discarded
        self.last_typed = b"\n"
        self.keyboard_ended = False
        self.quits = False  # /quit was typed while there is no server to receive it
        self.signalled = False
        self.stops = False  # Ctrl+Z was pressed
        self.patience_to_say = 0.5
        self.has_terminal = is_ours()
        self.selector = selectors.PollSelector()
        self.terminal = Terminal()
        self.row = ""  # the beginning of a row, written while typing is hidden
        self.editor = self.editing(write_all) if self.can_edit() else None  # None: no line editing
        self.begin()

    def can_edit(self) -> bool:
        return can_edit()

    def begin(self) -> None:
        """Reset all data that belong to a single connection."""
        self.name = None if self.nick else self.option  # to be sent at the prompt, once
        self.answers = {PROMPT: self.nick} if self.nick else {}  # that the client gives by itself
        if self.nick and self.password is not None and self.is_for_our_name():
            self.answers[PASSWORD_PROMPT] = self.password
        self.typed: list[bytes] = []  # the user's answers to prompts
        self.prompts: list[bytes] = []
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self.return_held = ""  # a carriage return that may be part of a line end
        self.line = b""  # the beginning of the current line, without prompts
        self.last = b""  # the last whole line
        self.sent = 0  # bytes of an incomplete line at the start of the outbox
        self.sending_ended = False
        self.sending_failed = False
        self.refused = False  # after a reconnection

    def is_for_our_name(self) -> bool:
        return self.password_name.lower() == self.nick.lower()

    # From the server to the screen

    def on_server(self, data: bytes) -> None:
        for piece in PIECES.findall(data):
            if not self.refused:
                self.on_piece(piece)

    def on_piece(self, piece: bytes) -> None:
        """Handle a line, or a piece of a line. After a reconnection, show only whole lines."""
        if self.phase is Phase.ASKED:
            self.prepare_for(self.line + piece)
        if self.phase is not Phase.RETURNING:
            self.show(piece)
        self.line += piece.removesuffix(b"\n")
        if self.phase is not Phase.RETURNING:
            self.line = self.line[:MAX_REMEMBERED]
        for prompt in (PROMPT, PASSWORD_PROMPT):
            if self.phase is not Phase.JOINED and self.line.startswith(prompt):
                self.line = self.line.removeprefix(prompt)
                self.prompts.append(prompt)
                self.on_prompt(prompt)
        if piece.endswith(b"\n"):
            self.last, self.line = self.line.removesuffix(b"\r"), b""
            self.on_line(self.last)

    def on_prompt(self, prompt: bytes) -> None:
        if self.phase is Phase.RETURNING and self.nick:
            self.answer_again(prompt)
            return
        if self.phase is Phase.RETURNING:  # never welcomed yet, so ask the user again
            self.phase = Phase.ASKED
            self.forgets = False
            self.prepare_for(prompt)
            self.show(prompt)
        if prompt == PROMPT and self.name is not None:
            self.answer_prompt()
        elif prompt == PROMPT:
            self.option = None

    def answer_prompt(self) -> None:
        line, self.name = (self.name or b"") + b"\n", None
        self.send(line)
        self.show(line)

    def on_line(self, line: bytes) -> None:
        welcome = WELCOME.match(line)
        if self.phase is Phase.RETURNING:
            self.on_line_back(line, welcome[1] if welcome else b"")
        elif self.phase is Phase.ASKED and welcome:
            self.enter(welcome[1])
        elif self.phase is Phase.JOINED:
            self.on_line_inside(line)

    def on_line_inside(self, line: bytes) -> None:
        renamed = RENAMED.fullmatch(line)
        if renamed and renamed[1] == self.nick:
            self.renamed(renamed[2])
        elif line in (b"Password changed", b"Registered " + self.nick):
            self.password, self.password_name = self.offered, self.nick
        elif line == b"Unregistered " + self.nick:
            self.password = None
        if self.editor:
            self.note_names(line, self.editor.names)

    def note_names(self, line: bytes, names: dict[str, str]) -> None:
        """Maintain the names in the room, for completion by TAB."""
        came: list[str] = []
        went: list[str] = []
        if online := ONLINE.fullmatch(line):
            came = online[1].decode().split(", ")
        elif renamed := RENAMED.fullmatch(line):
            went, came = [renamed[1].decode()], [renamed[2].decode()]
        elif (talks := TALKS.fullmatch(line)) and talks[1] not in (b"server", b"Commands"):
            (went if talks[2] == b"left" else came).append(talks[1].decode())
        for name in went:
            names.pop(name.lower(), None)
        names.update({name.lower(): name for name in came})

    def renamed(self, name: bytes) -> None:
        self.nick = name

    def enter(self, name: bytes) -> None:
        if self.phase is Phase.ASKED:
            asked_last = self.prompts[-1:] == [PASSWORD_PROMPT]
            answers = self.typed[len(self.prompts) - 1 :] if asked_last else []
            self.password = answers[0] if answers else None
            self.password_name = name
        self.nick, self.phase = name, Phase.JOINED
        self.show_typing()
        self.count_anew()
        self.send_kept()

    def show(self, data: bytes, final: bool = False) -> None:
        text = self.return_held + self.decode(data, final)
        self.return_held = "\r" if text.endswith("\r") and not final else ""
        text = text.removesuffix(self.return_held).replace("\r\n", "\n")
        self.write(self.CONTROL.sub("\ufffd", text))

    def decode(self, data: bytes, final: bool) -> str:
        return self.decoder.decode(data, final)

    def write(self, text: str) -> None:
        if self.editor and not self.hidden and not self.keyboard_ended:
            self.editor.show(text)
        else:
            data = text.encode()
            for start in range(0, len(data), select.PIPE_BUF):
                if self.waits_for_screen():
                    write_bytes(data[start : start + select.PIPE_BUF])
            self.row = (self.row + text).rpartition("\n")[2]

    def waits_for_screen(self) -> bool:
        """Wait until the screen accepts something; meanwhile, send what is typed (CLIENT-1).

        Return False at a signal.
        """
        while not self.signalled:
            connected = self.phase in (Phase.ASKED, Phase.JOINED) and not self.sending_failed
            readers: list[int | socket.socket] = [self.wakened]
            if connected and self.listens_to_keyboard():
                readers.append(KEYBOARD)
            writers: list[int | socket.socket] = [SCREEN]
            if connected and self.sent < len(self.outbox):
                writers.append(self.sock)
            readable, writable, _ = select.select(readers, writers, [])
            if SCREEN in writable:
                return True
            if self.wakened in readable:
                self.wakened.recv(READ_SIZE)
            if KEYBOARD in readable:
                self.read_keyboard()
            self.flush()
        return False

    # The terminal

    def prepare_for(self, line: bytes) -> None:
        """Before a prompt or the welcome is shown, set up the terminal for the next input."""
        if line.startswith(PASSWORD_PROMPT):
            self.hide_typing()
        elif line.startswith(PROMPT):
            self.forget_half_password()
            self.show_typing()
        elif WELCOME.match(line) and self.hidden:
            self.show_typing()

    def forget_half_password(self) -> None:
        """It must not reach the next prompt, or the next program."""
        if self.hidden:
            self.terminal.forget_typed()
            self.half = b""

    def begin_typing(self) -> None:
        if self.has_terminal:
            self.show_typing()

    def hide_typing(self) -> None:
        if self.editor and not self.hidden:
            self.editor.erase()
            self.row, self.editor.prompt = self.editor.prompt, ""
            write_all(self.row)
            self.editor.text, self.editor.place = "", 0
        self.hidden = True
        self.terminal.restore()
        self.terminal.hide_typing()

    def show_typing(self) -> None:
        """Show what is typed; let the user edit it if possible."""
        self.hidden = False
        self.terminal.restore()
        if self.editor and not self.keyboard_ended:
            self.editor.asks = self.phase in (Phase.FIRST, Phase.ASKED)
            self.terminal.edit()
            self.edit_behind_the_row()
            self.editor.redraw()

    def edit_behind_the_row(self) -> None:
        """The row is the beginning of a prompt."""
        if self.editor and self.row:
            self.editor.prompt, self.row = self.row, ""

    def leave_terminal(self) -> None:
        """Restore the terminal; the line that is being typed stays visible."""
        if not is_ours():
            return
        self.forget_half_password()
        if self.editor and not self.hidden:
            self.editor.go()
        self.editor = None
        self.terminal.restore()

    # From the keyboard to the server

    def on_keyboard(self, data: bytes) -> None:
        self.last_typed = data
        for piece in PIECES.findall(data):
            if self.forgets:
                self.forgets = not piece.endswith(b"\n")
            elif self.is_quit(piece):
                self.quits = True
            elif self.keeps():
                self.kept += piece
            else:
                self.send(piece)

    def is_quit(self, piece: bytes) -> bool:
        """Whether this is /quit, and no server can receive it."""
        begins = not self.kept or self.kept.endswith(b"\n")
        return self.is_away() and begins and QUIT.fullmatch(piece) is not None

    def keeps(self) -> bool:
        """Whether input must wait; the rest of a line whose beginning waits must wait, too."""
        return self.is_away() or bool(self.kept and not self.kept.endswith(b"\n"))

    def end_of_keyboard(self) -> None:
        self.leave_terminal()
        self.keyboard_ended = True
        if not self.last_typed.endswith(b"\n"):
            self.on_keyboard(b"\n")

    def send(self, data: bytes) -> None:
        """Send what was typed, but a password only as a whole line. Note passwords in commands."""
        data, self.half = self.half + data, b""
        if self.hidden:
            lines, end, self.half = data.rpartition(b"\n")
            data = lines + end
        self.outbox += data
        *whole, self.typing = (self.typing + data).split(b"\n")
        if self.phase is Phase.ASKED:
            self.typed += whole
        for line in whole:
            if command := PASSWORD_COMMAND.fullmatch(line.removesuffix(b"\r")):
                self.offered = command[1]

    def show_unsent(self) -> None:
        kept, self.kept = bytes(self.kept), bytearray()
        for line in kept.splitlines() if self.is_away() else ():
            self.complain(f"not sent: {line.decode(errors='replace')}")

    def send_kept(self) -> None:
        kept, self.kept = bytes(self.kept), bytearray()
        self.send(kept)

    def flush(self) -> None:
        """Send; the outbox keeps a line until all of it is sent, to send it again after a loss."""
        if self.phase in (Phase.FIRST, Phase.AWAY) or self.sending_failed:
            return
        try:
            while self.sent < len(self.outbox):
                self.sent += self.sock.send(self.outbox[self.sent :])
                whole = self.outbox.rfind(b"\n", 0, self.sent) + 1
                del self.outbox[:whole]
                self.sent -= whole
            if self.keyboard_ended and not self.sending_ended and not self.is_away():
                self.sending_ended = True
                self.end_sending()
        except BlockingIOError:
            pass
        except OSError:  # the server has closed; its last lines must still be read
            self.sending_failed = True

    def end_sending(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    # The connection and its end

    def begin_connecting(self) -> None:
        """In a thread, because a lookup and an attempt to connect may take long."""
        self.due = 0.0
        threading.Thread(target=self.make_connection, daemon=True).start()

    def make_connection(self) -> None:
        try:
            self.made.append(self.connect())
        except (OSError, UnicodeError) as error:  # the host may not be a valid name
            self.made.append(error)
        self.waker.send(b"\0")

    def connect(self) -> socket.socket:
        """Connect to the first address that answers; otherwise, raise the last error."""
        error: OSError = TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        tries: dict[socket.socket, tuple[object, ...]] = {}
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        end = time.monotonic() + WELCOME_SECONDS
        while (found or tries) and time.monotonic() < end:
            if found:
                family, kind, _, _, address = found.pop(0)
                tries[one := socket.socket(family, kind)] = address
                self.prepare(one)
                one.connect_ex(address)
            for one in select.select([], [*tries], [], self.next_address() if found else None)[1]:
                number = one.connect_ex(tries.pop(one))  # the result of the attempt
                if number in (0, errno.EISCONN) and not self.is_itself(one):
                    return one
                error = OSError(number, os.strerror(number or errno.ECONNREFUSED))
        raise error

    def next_address(self) -> float:
        return NEXT_SECONDS

    def is_itself(self, sock: socket.socket) -> bool:
        """TCP can connect a free port to itself."""
        return bool(sock.getsockname() == sock.getpeername())

    def prepare(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def on_made(self, made: socket.socket | Exception) -> int | None:
        """Continue with a connection, or handle an error."""
        if isinstance(made, socket.socket):
            self.sock = made
            self.connected()
            return None
        return self.cannot_connect(made) if self.phase is Phase.FIRST else self.wait_for_next_try()

    def connected(self) -> None:
        self.begin()
        self.due = time.monotonic() + WELCOME_SECONDS
        self.phase = Phase.ASKED if self.phase is Phase.FIRST else Phase.RETURNING

    def cannot_connect(self, error: Exception) -> int:
        host = f"[{self.host}]" if ":" in self.host else self.host
        reason = getattr(error, "strerror", None) or error
        self.complain(f"cannot connect to {host}:{self.port}: {reason}")
        return 1

    def ended(self, in_order: bool) -> int | None:
        """Decide by the last line why the server has closed; None: try to connect again."""
        self.show(b"", final=True)
        if self.ended_well(self.last):
            return self.disconnected(0)
        if self.last in self.BAD_ENDINGS and not self.is_away():
            return self.disconnected(self.STATUS_AFTER_BAD_ENDING)
        if self.keyboard_ended and in_order and not self.is_away():
            return 0
        return self.connection_lost()

    def disconnected(self, status: int) -> int:
        self.show_unsent()
        self.complain("Disconnected")
        return status

    def ended_well(self, last: bytes) -> bool:
        said_goodbye = last.startswith(b"Goodbye, ") and not self.is_away()
        return last in self.GOOD_ENDINGS or said_goodbye

    def connection_lost(self) -> int | None:
        self.watch(self.sock.fileno(), 0)
        self.sock.close()
        all_sent = self.keyboard_ended and not self.is_away()
        if self.retries == 0 or all_sent or self.has_nobody_to_ask():
            return self.lost_for_good()
        self.keep_unsent()
        return self.wait_for_next_try()

    def lost_for_good(self) -> int:
        self.show_unsent()
        self.complain("Connection lost")
        return 1

    def complain(self, text: str) -> None:
        if self.editor and not self.hidden:
            self.editor.erase()
        self.say(text)
        if self.editor and not self.hidden:
            self.editor.draw()

    def say(self, text: str) -> None:
        """Write to standard error; if nobody reads it, give up after a short time."""
        line = text.encode() + b"\n"
        for start in range(0, len(line), select.PIPE_BUF):
            if select.select([], [2], [], self.patience_to_say)[1]:
                os.write(2, line[start : start + select.PIPE_BUF])
            else:
                self.patience_to_say = 0.0

    def leave(self) -> int:
        """End after Ctrl+C."""
        self.show_unsent()
        if self.phase not in (Phase.FIRST, Phase.AWAY):
            self.close_in_order()
        return self.STATUS_AFTER_SIGNAL

    def close_in_order(self) -> None:
        """End our side, and discard input until the server ends its side."""
        deadline = time.monotonic() + LINGER_SECONDS
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
            self.sock.settimeout(LINGER_SECONDS)
            while self.sock.recv(READ_SIZE) and time.monotonic() < deadline:
                pass

    # Away and back

    def is_away(self) -> bool:
        return self.phase in (Phase.AWAY, Phase.RETURNING)

    def has_nobody_to_ask(self) -> bool:
        return self.keyboard_ended and not self.nick and self.option is None

    def keep_unsent(self) -> None:
        """Keep lines for the room; discard answers to a prompt, and the rest of such a line."""
        if self.phase is Phase.JOINED:
            self.kept += self.outbox
        elif self.phase is Phase.ASKED:
            asked_last = self.prompts[-1:] == [PASSWORD_PROMPT]
            waits = asked_last and len(self.typed) < len(self.prompts)
            self.forgets = waits or bool(self.typing)
        self.outbox.clear()
        self.typing = b""
        if self.editor:
            self.editor.names.clear()

    def wait_for_next_try(self) -> int | None:
        if self.has_tried_enough():
            self.show_unsent()
            self.complain(f"Giving up after {self.tries} attempts")
            return self.STATUS_AFTER_GIVING_UP
        self.phase = Phase.AWAY
        self.delay = min(self.next_delay(), self.MAX_DELAY)
        self.tries += 1
        shown = f"{self.delay:.9f}".rstrip("0").rstrip(".")
        self.complain(f"Connection lost, retrying in {shown} s ({self.tries} of {self.retries})")
        self.due = time.monotonic() + self.delay
        return None

    def has_tried_enough(self) -> bool:
        return self.tries == self.retries

    def next_delay(self) -> float:
        return self.delay * 2 if self.tries else self.first_delay

    def count_anew(self) -> None:
        self.tries = 0

    def answer_again(self, prompt: bytes) -> None:
        """Answer each prompt once for the user; if a prompt comes again, the answer was refused."""
        answer = self.answers.pop(prompt, None)
        if answer is None:
            self.refused = True
        else:
            self.outbox += answer + b"\n"

    def on_line_back(self, line: bytes, welcomed: bytes) -> None:
        """Handle the welcome or a refusal; show other lines."""
        if welcomed and welcomed == self.nick:
            self.come_back()
        elif welcomed:
            self.refused = True
        elif line:
            self.show(line + b"\n")
            self.refused = line.startswith(b"! ")

    def come_back(self) -> None:
        self.complain(f"Reconnected as {self.nick.decode()}")
        self.enter(self.nick)

    # The loop

    def run(self) -> int:
        status = None
        self.begin_connecting()
        while status is None and not self.signalled:
            status = self.turn()
            self.flush()
            self.refresh()
        return self.leave() if status is None else status

    def turn(self) -> int | None:
        """Wait for an event and handle it; a status ends the client."""
        if not self.has_terminal:
            self.wait_in_background()
            return None
        connected = self.phase not in (Phase.FIRST, Phase.AWAY)
        if connected:
            unsent = self.sent < len(self.outbox) and not self.sending_failed
            self.watch(self.sock.fileno(), READ | (WRITE if unsent else 0))
        self.watch(KEYBOARD, READ if self.listens_to_keyboard() else 0)
        ready = {key.fd: events for key, events in self.selector.select(self.patience())}
        if self.signalled:
            return None
        if self.stops:
            self.stop()
            return None
        if self.wakened.fileno() in ready:
            self.wakened.recv(READ_SIZE)
            self.on_resize()
        if KEYBOARD in ready:
            self.read_keyboard()
        if self.quits:
            return self.disconnected(0)
        if self.is_away() and self.has_nobody_to_ask():
            return self.lost_for_good()
        if self.made:
            return self.on_made(self.made.pop())
        if self.due and time.monotonic() >= self.due and self.is_away():
            return self.on_due()
        return self.read_server() if connected and ready.get(self.sock.fileno(), 0) & READ else None

    def wait_in_background(self) -> None:
        """Until the terminal is ours again, only a signal to end is handled."""
        while not self.signalled and not is_ours():
            if select.select([self.wakened], [], [], LOOK_SECONDS)[0]:
                self.wakened.recv(READ_SIZE)
        self.has_terminal = True
        if not self.signalled:
            self.on_continued()

    def on_due(self) -> int | None:
        """Begin the next try, or end one that has taken too long."""
        if self.phase is Phase.AWAY:
            self.begin_connecting()
            return None
        self.close_in_order()
        return self.connection_lost()

    def patience(self) -> float | None:
        waits = self.is_away() and self.due
        if self.made:
            return 0
        return max(0, self.due - time.monotonic()) if waits else None

    def refresh(self) -> None:
        """Redraw the prompt if it has changed."""
        if self.editor:
            self.editor.own = self.own_prompt()
            is_edited = self.has_terminal and not self.hidden
            if is_edited and self.editor.drawn != self.editor.lead:
                self.editor.redraw()

    def own_prompt(self) -> str:
        away = self.WORDS_AWAY if self.is_away() else ""
        return f"{self.nick.decode()}{away}> " if self.nick else ""

    def read_server(self) -> int | None:
        try:
            data = self.sock.recv(READ_SIZE)
        except BlockingIOError:
            return None
        except OSError:
            return self.ended(in_order=False)
        if not data:
            return self.ended(in_order=True)
        self.on_server(data)
        if self.refused:
            self.close_in_order()
            return self.connection_lost()
        return None

    def read_keyboard(self) -> None:
        try:
            data = os.read(KEYBOARD, READ_SIZE)
        except OSError:
            data = b""
        if self.editor and not self.hidden and data:
            for line in self.editor.feed(data):
                self.on_keyboard(line.encode() + b"\n")
            data = b"" if self.editor.ended else data
        elif data:
            self.row = "" if b"\n" in data else self.row
            self.on_keyboard(data)
        if not data:
            self.end_of_keyboard()

    def on_resize(self) -> None:
        if self.editor and not self.hidden:
            self.editor.redraw()

    def listens_to_keyboard(self) -> bool:
        waiting = len(self.outbox) - self.sent + len(self.kept)
        is_early = self.phase is Phase.FIRST or (self.name is not None and not self.is_away())
        return not self.keyboard_ended and not is_early and waiting <= MAX_UNSENT

    def watch(self, descriptor: int, events: int) -> None:
        with suppress(KeyError):
            self.selector.unregister(descriptor)
        if events:
            self.selector.register(descriptor, events)

    def catch_signals(self) -> None:
        waker, wakened = socket.socketpair()
        waker.setblocking(False)
        self.waker, self.wakened = waker, wakened
        signal.set_wakeup_fd(waker.fileno())
        self.selector.register(wakened, READ)
        for each in (signal.SIGINT, signal.SIGTERM):
            if self.is_heard(each):
                signal.signal(each, self.on_signal)
        self.unblock()
        for each in DEADLY:
            if self.is_heard(each):
                signal.signal(each, self.on_deadly_signal)
        signal.signal(signal.SIGTSTP, self.on_stop)
        for each in (signal.SIGTTIN, signal.SIGTTOU):
            signal.signal(each, signal.SIG_IGN)  # the client waits in the background instead
        signal.signal(signal.SIGWINCH, lambda *_: None)  # it wakes up the loop

    def is_heard(self, which: int) -> bool:
        """A signal that was ignored at the start stays ignored, except SIGTERM."""
        return which == signal.SIGTERM or signal.getsignal(which) is not signal.SIG_IGN

    def unblock(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    def on_deadly_signal(self, which: int, frame: object) -> None:
        """Restore the terminal, then end by the signal."""
        self.terminal.restore()
        signal.signal(which, signal.SIG_DFL)
        os.kill(os.getpid(), which)

    def on_stop(self, which: int, frame: object) -> None:
        self.stops = True  # the signal also wakes up the loop

    def stop(self) -> None:
        """After Ctrl+Z: restore the terminal, since other programs use it meanwhile."""
        self.stops = False
        if self.editor and not self.hidden:
            self.editor.go()
        self.terminal.restore()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.has_terminal = False

    def on_continued(self) -> None:
        """The terminal is ours again; the cursor is at the start of an empty row."""
        if self.hidden:
            self.terminal.hide_typing()
            write_all(PASSWORD_PROMPT.decode())
        else:
            self.show_typing()

    def on_signal(self, which: int, frame: object) -> None:
        self.signalled = True
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)

    @classmethod
    def main(cls, arguments: list[str]) -> int:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, lambda *_: os._exit(0))
        options = cls.command_line("chat-client", cls.OPTIONS).parse(arguments)
        keep_standard_files_open()
        client = cls(options)
        client.catch_signals()
        try:
            client.begin_typing()
            return client.run()
        except NotShown:
            if client.phase not in (Phase.FIRST, Phase.AWAY):
                client.close_in_order()
            return 1
        finally:
            client.leave_terminal()


class NotShown(OSError):
    """Standard output cannot be written any more."""


def write_all(text: str) -> None:
    write_bytes(text.encode())


def write_bytes(left: bytes) -> None:
    while left:
        try:
            left = left[os.write(SCREEN, left) :]
        except OSError as error:
            raise NotShown(*error.args) from None


def keep_standard_files_open() -> None:
    """If a standard stream is closed, open /dev/null, so that no socket gets its number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


if __name__ == "__main__":
    sys.exit(Client.main(sys.argv[1:]))
