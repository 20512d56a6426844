#!/usr/bin/env python3
"""A chat client for a terminal or a pipe. PROTOCOL.md is its contract.

    python client.py                connects to localhost:8080
    python client.py --help         lists the options

The two paths of a line:

    keyboard -> typed -> outbox -> server
    server -> screen

The phases, with a reconnection:

    ASKED -> JOINED -> AWAY -> RETURNING -> JOINED

Invariants:

 1. Each direction is a task of its own, and does not wait for the other. System calls that may
    block (a name look-up, a stopped terminal) run in a thread. So Ctrl+C always works.
 2. Buffers are bounded: while a buffer is full, its source is not read.
 3. Only `show` writes text from the server to the screen, and sanitizes it.
 4. A line leaves the outbox when all of it was sent. Lines typed without a connection are in
    `kept`, and enter the outbox after the welcome, so they never answer a prompt.
 5. The terminal's mode is restored, however the program ends or is stopped (terminal.py).

Exit status: 0 ended by the user, or by the server in order; 1 the connection failed or was refused;
2 the command line is wrong.
"""

from __future__ import annotations

import os
import signal

if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # Ctrl+C during the other imports
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))

import asyncio
import codecs
import errno
import re
import selectors
import socket
import sys
from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING

from options import Options, complain, parse_options
from terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

# ---------------------------------------------------------------------------------------------
# 1. Limits

MAX_WAITING = 64 * 1024  # bytes in a buffer; with as many, its source is not read
READ_SIZE = 64 * 1024  # bytes read in one system call
LINE_KEPT = 1280  # bytes kept of a server's line: two names and a text fit
MAX_LINE = 1024  # bytes that a server accepts as one line
MAX_ANSWERS = 64  # lines sent before the welcome; no server asks more than 12 times
MAX_OFFERS = 64  # account commands without a reply yet
NEXT_SECONDS = 1.0  # for an address to answer, before the next one is tried, too
TRY_SECONDS = 30.0  # to connect; when reconnecting, also to be welcomed
CLOSE_SECONDS = 1.0  # for the server to end its side after we have ended ours
SAY_SECONDS = 0.5  # for standard error to accept a line
END_SECONDS = 1.5  # to end the program after a signal
LOOK_SECONDS = 1.0  # between two checks whether we are in the foreground
MAX_RETRY_SECONDS = 30.0

PROMPT = "Enter your screen name: "
PASSWORD_PROMPT = "Password: "
SHUTDOWN = "Server is shutting down"

WELCOME = re.compile(r"Welcome, ([A-Za-z0-9_-]+) \(")
RENAMED = re.compile(r"([A-Za-z0-9_-]+) is now known as ([A-Za-z0-9_-]+)")
NAMED = re.compile(r"(?:\(private\) )?([A-Za-z0-9_-]+)(?:: .*| has (?:joined|(left)) the chat)")
ONLINE = re.compile(r"Online \([0-9]+\): (.*)")
GOODBYE = re.compile(r"Goodbye, .*")
SENT_AWAY = re.compile(r"! (?:too many attempts|timed out|server full|kicked by the operator)")

# The commands that may change our name or our password, and the replies that refuse them.
ACCOUNT_COMMAND = re.compile(rb"/(?:(register|passwd)|unregister|nick)(?: +(.*))?", re.I)
QUIT = re.compile(rb"/quit[ \r\n]", re.I)
REFUSAL = re.compile(
    r"! (?:invalid name: |name in use: |name registered: |name not registered: |already registered:"
    r" |not registered: |password must |accounts cannot |unknown command: /(?ai:register|passwd|"
    r"unregister|nick) )"
)

PIECES = re.compile(rb"[^\n]*\n|[^\n]+")  # complete lines, and an incomplete one at the end
# C0 except TAB and line end, DEL, C1, line and paragraph separators, and bidirectional controls.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

# ---------------------------------------------------------------------------------------------
# 2. Types


class Phase(Enum):
    """The state of the conversation with the server."""

    ASKED = auto()  # never welcomed yet: the user answers the prompts
    JOINED = auto()  # welcomed
    AWAY = auto()  # the connection was lost: waiting for the next attempt, or connecting
    RETURNING = auto()  # connected again, not welcomed yet: the client answers the prompts


class Link:
    """One connection."""

    def __init__(self, sock: socket.socket | None) -> None:
        self.sock = sock
        self.sent = 0  # bytes of the outbox that were sent, but are not a complete line yet
        self.sent_all = False  # the input has ended, and we have ended our side
        self.broken = False  # sending has failed, or the server has reset the connection
        self.ended = sock is None  # closed by the server, or the attempt to reconnect has failed

        self.line = bytearray()  # the server's incomplete line, without prompts, up to LINE_KEPT
        self.cut = False  # it has more bytes than that
        self.last_line = ""  # its last complete line, likewise
        self.prompts = 0  # that it has sent
        self.asked = ""  # the last prompt
        self.answers: list[bytes] = []  # the first lines sent before the welcome

        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.held = ""  # a carriage return that may belong to a line end


class Client:
    """All state of the client."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.waiting: list[asyncio.Future[None]] = []  # tasks that wait in `until`
        self.tty = Terminal(self.own_prompt, self.moved)
        self.link = Link(None)
        self.phase = Phase.ASKED
        self.answers = options.name is not None  # --name answers the prompt, until it is refused

        self.typed = bytearray()  # an incomplete line
        self.outbox = bytearray()  # lines to send
        self.kept = bytearray()  # lines typed while there is no connection
        self.forgets = False  # drop the next line: it may be a password (BACK-10)
        self.typed_all = False  # the input has ended

        self.name = ""  # our name, or the last one; empty before the first welcome
        self.proven = ("", b"")  # the password that the server accepted last, and its name
        self.offered: list[bytes] = []  # the passwords in account commands without a reply yet

        self.tries = 0  # attempts to reconnect since the last welcome
        self.delay = 0.0  # seconds before the next one
        self.limit = asyncio.timeout(None)  # for the welcome when reconnecting

        self.saying: asyncio.Future[None] | None = None  # the last message on standard error
        self.over: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()

    # -----------------------------------------------------------------------------------------
    # 3. Screen

    def show(self, data: bytes, last: bool = False) -> None:
        """Show text from the server, sanitized (CLIENT-6).

        An incomplete character and a carriage return are held until more arrives; `last` says that
        nothing follows.
        """
        link = self.link
        text = link.held + link.decoder.decode(data, last)
        link.held = "\r" if text.endswith("\r") and not last else ""
        text = text.removesuffix(link.held).replace("\r\n", "\n")
        self.tty.print_above(CONTROL.sub("\ufffd", text))

    async def write_screen(self) -> None:
        """Write to standard output what is in `tty.out`, then draw the half-typed line below it."""
        while True:
            await self.until(self.has_to_write)
            if not self.tty.take() and not self.tty.may_show():
                continue
            if not self.tty.out:
                self.tty.draw()
            try:
                written = await asyncio.to_thread(os.write, 1, bytes(self.tty.out[:MAX_WAITING]))
            except BlockingIOError:
                await self.ready(1, writing=True)
            except OSError:
                self.end("", 1)  # CLIENT-10
                return
            else:
                del self.tty.out[:written]
            self.moved()

    def has_to_write(self) -> bool:
        """Whether there is something to write or draw. No line is drawn during a message."""
        speaks = self.saying is not None and not self.saying.done()
        waits = bool(self.tty.out) or (not speaks and self.tty.wants_drawing())
        return waits and self.tty.may_show()

    def own_prompt(self) -> str:
        """Return the client's own prompt (EDIT-2)."""
        away = "" if self.phase is Phase.JOINED else " (away)"
        return f"{self.name}{away}> " if self.name else ""

    def has_shown_all(self) -> bool:
        """Whether the screen has all text from the server, so that our messages may follow it."""
        return not self.tty.out and self.tty.may_show()

    async def flush(self) -> None:
        """Wait until everything is on the screen, but not for long: Ctrl+S may have stopped it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                self.moved()
                await self.until(lambda: not self.tty.out)

    async def announce(self, message: str) -> None:
        """Write a message to standard error, after everything else on the screen.

        While standard error has not accepted the last message, further ones are lost.
        """
        if self.saying is not None:
            _, late = await asyncio.wait({self.saying}, timeout=SAY_SECONDS)
            if late:
                return
        self.tty.take_off()
        self.saying = asyncio.ensure_future(self.say(message))
        await asyncio.wait({self.saying}, timeout=CLOSE_SECONDS + SAY_SECONDS)
        self.moved()

    async def say(self, message: str) -> None:
        """Write the message of `announce`."""
        await self.flush()
        try:
            await asyncio.to_thread(complain, message)
        except RuntimeError:  # no thread could be started
            complain(message)

    # -----------------------------------------------------------------------------------------
    # 4. Connection

    async def connect(self) -> socket.socket:
        """Connect to the first address of the host that answers.

        Where one fails or does not answer soon, the next one is tried in parallel (CLIENT-7).
        """
        loop, host = asyncio.get_running_loop(), os.fsencode(self.options.host)
        tries: set[asyncio.Task[socket.socket]] = set()
        try:
            async with asyncio.timeout(TRY_SECONDS):
                found = await loop.getaddrinfo(host, self.options.port, type=socket.SOCK_STREAM)
                while True:
                    if found:
                        tries.add(asyncio.create_task(self.connect_to(*found.pop(0))))
                    patience = NEXT_SECONDS if found else None
                    done, tries = await asyncio.wait(
                        tries, timeout=patience, return_when=asyncio.FIRST_COMPLETED
                    )
                    made = [task.result() for task in done if not task.exception()]
                    for sock in made[1:]:
                        sock.close()
                    if made:
                        return made[0]
                    if not (found or tries):
                        return done.pop().result()  # raises the reason
        except RuntimeError as error:  # no thread could be started for the name look-up
            raise OSError(errno.EAGAIN, str(error)) from None
        finally:
            for task in tries:
                task.cancel()

    @staticmethod
    async def connect_to(
        family: int, kind: int, protocol: int, _name: str, address: tuple[object, ...]
    ) -> socket.socket:
        """Connect to one address. A connection to ourselves counts as refused (CLIENT-9)."""
        sock = socket.socket(family, kind, protocol)
        try:
            Client.prepare(sock)
            await asyncio.get_running_loop().sock_connect(sock, address)
            if sock.getsockname() == sock.getpeername():
                raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        except BaseException:
            sock.close()
            raise
        return sock

    @staticmethod
    def prepare(sock: socket.socket) -> None:
        """Send small lines without delay (FRAME-9), and notice a server that has vanished."""
        sock.setblocking(False)
        with suppress(OSError):  # they are not essential
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 120_000)

    @staticmethod
    def reason(error: OSError) -> str:
        """Return the text of an error, without the address that asyncio adds."""
        number = errno.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno or 0
        return os.strerror(number) if number > 0 else str(error.strerror)

    async def send_typed(self) -> None:
        """Send the outbox; after the end of the input, end our side."""
        link = self.link
        assert link.sock is not None
        with suppress(OSError):
            while not link.sent_all:
                await self.until(lambda: len(self.outbox) > link.sent or self.has_said_all())
                if len(self.outbox) == link.sent:
                    link.sock.shutdown(socket.SHUT_WR)
                    link.sent_all = True
                    return
                try:
                    link.sent += link.sock.send(self.outbox[link.sent :])
                except BlockingIOError:
                    await self.ready(link.sock.fileno(), writing=True)
                self.forget_sent()
                self.moved()
        link.broken = True  # what the server has sent can still be received

    def has_said_all(self) -> bool:
        """Whether all input was sent, so that our side can end."""
        return self.typed_all and not self.outbox and not self.kept and not self.is_away()

    def forget_sent(self) -> None:
        """Remove the lines that were sent from the outbox.

        A line that was sent only in part stays, to be sent again on the next connection. Of a line
        that is too long, the beginning is enough: the server will refuse it again.
        """
        link = self.link
        whole = self.outbox.rfind(b"\n", 0, link.sent) + 1
        del self.outbox[:whole]
        link.sent -= whole
        if link.sent > MAX_LINE + 1:
            del self.outbox[MAX_LINE + 1 : link.sent]
            link.sent = MAX_LINE + 1

    async def close_in_order(self) -> None:
        """End our side, and discard input until the server ends its side.

        Closing a connection with unread input would reset it (CLIENT-2).
        """
        sock, loop = self.link.sock, asyncio.get_running_loop()
        if sock is None:
            return
        with suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(CLOSE_SECONDS):
                while await loop.sock_recv(sock, READ_SIZE):
                    pass
        sock.close()

    # -----------------------------------------------------------------------------------------
    # 5. From the server

    async def hear(self) -> None:
        """Receive from the server, until it ends or an attempt to reconnect has failed."""
        link, loop = self.link, asyncio.get_running_loop()
        if link.sock is None:
            return
        sender = asyncio.create_task(self.send_typed())
        try:
            while not link.ended:
                await self.until(self.may_hear)
                try:
                    data = await loop.sock_recv(link.sock, READ_SIZE)
                except OSError:
                    data, link.broken = b"", True
                await self.receive(data)
                self.moved()
        finally:
            sender.cancel()
            await asyncio.wait({sender})

    def may_hear(self) -> bool:
        """Whether there is space for more text from the server."""
        return self.tty.may_show() and len(self.tty.out) < MAX_WAITING

    async def receive(self, data: bytes) -> None:
        """Handle what the server has sent, line by line; no data is its end."""
        link = self.link
        for piece in PIECES.findall(data):
            if not link.ended:
                await self.on_server(piece)
        if data:
            return
        link.ended = True
        self.show(b"", last=True)
        if self.phase is Phase.ASKED:
            self.show_typing()

    async def on_server(self, piece: bytes) -> None:
        """Show and handle a line, or a piece of one; when reconnecting, handle it first."""
        link = self.link
        if self.phase is not Phase.RETURNING:
            self.show(piece)
        prompted = self.keep_piece(piece.removesuffix(b"\n"))
        if piece.endswith(b"\n"):
            link.last_line = link.line.removesuffix(b"\r").decode(errors="replace")
            link.line.clear()
            await self.on_line(link.last_line)
            link.cut = False
        elif prompted and not link.line:
            self.on_prompt()

    def keep_piece(self, piece: bytes) -> bool:
        """Keep a piece of the server's line; return whether there was a prompt in front of it.

        When reconnecting, what is too long to be kept, and so is no prompt, is shown as it comes.
        """
        link = self.link
        space = 0 if link.cut else LINE_KEPT - len(link.line)
        link.line += piece[:space]
        prompted = self.phase is not Phase.JOINED and self.take_prompts()
        more = piece[space:]
        if more and self.phase is Phase.RETURNING:
            self.show(more if link.cut else bytes(link.line) + more)
        link.cut = link.cut or bool(more)
        return prompted

    def take_prompts(self) -> bool:
        """Remove the prompts from the front of the line; return whether there was one.

        A prompt has no line end, so the server's next text follows on the same line. No message of
        a user can look like a prompt, because the name Password is reserved (JOIN-3).
        """
        link = self.link
        before = link.prompts
        for prompt in (PROMPT, PASSWORD_PROMPT):
            while link.line.startswith(prompt.encode()):
                del link.line[: len(prompt)]
                link.prompts += 1
                link.asked = prompt
        return link.prompts > before

    def on_prompt(self) -> None:
        """Answer the pending prompt where the client can; hide the typing of a password."""
        if self.phase is Phase.RETURNING and self.name:
            self.answer_prompt()
            return
        if self.phase is Phase.RETURNING:  # lost before the first welcome (BACK-10)
            self.phase = Phase.ASKED
            self.show(self.link.asked.encode())
        self.forgets = False
        if self.link.asked == PASSWORD_PROMPT:
            self.tty.hide_typing()
            return
        self.show_typing()
        if self.answers:
            self.give_name()

    def give_name(self) -> None:
        """Answer the first prompt of a connection with --name, until it is refused (CLIENT-8)."""
        if self.link.prompts > 1:
            self.answers = False
            return
        answer = os.fsencode(f"{self.options.name}\n")
        self.pass_on(answer)
        self.show(answer)

    def show_typing(self, welcomed: bool = False) -> None:
        """Show typing again. Drop a half-typed password, unless we are welcomed (HIDE-2)."""
        if self.tty.hidden and not welcomed:
            self.tty.drop_typed()
            self.typed.clear()
        self.tty.show_typing()

    async def on_line(self, line: str) -> None:
        """Handle a complete line from the server."""
        found = WELCOME.match(line)
        welcomed = found[1] if found else ""
        if self.phase is Phase.RETURNING:
            await self.come_back(line, welcomed)
        elif self.phase is Phase.ASKED and welcomed:
            self.enter(welcomed)
        elif self.phase is Phase.JOINED:
            self.follow_name(line)
            self.follow_others(line)

    def enter(self, name: str) -> None:
        """Handle the welcome: remember the password that was accepted, and send the kept lines.

        Lines sent ahead of the welcome that answered no prompt may be account commands.
        """
        link = self.link
        answered = min(link.prompts, len(link.answers))
        self.name = name
        if self.phase is Phase.ASKED and link.asked == PASSWORD_PROMPT and answered == link.prompts:
            self.proven = (name, link.answers[answered - 1])
        self.phase = Phase.JOINED
        for line in link.answers[answered:]:
            self.remember(line)
        link.answers.clear()
        self.answers, self.tries = False, 0
        self.show_typing(welcomed=True)
        kept, self.kept = bytes(self.kept), bytearray()
        self.pass_on(kept)

    def follow_name(self, line: str) -> None:
        """Notice a new name or password of ours. The server replies to commands in order."""
        renamed = RENAMED.fullmatch(line)
        is_renamed = renamed is not None and renamed[1] == self.name
        changed = line in ("Password changed", f"Registered {self.name}")
        removed = line == f"Unregistered {self.name}"
        if renamed and is_renamed:
            self.name = renamed[2]
        if changed and self.offered:
            self.proven = (self.name, self.offered[0])
        if removed:
            self.proven = ("", b"")
        if is_renamed or changed or removed or REFUSAL.match(line):
            del self.offered[:1]

    def follow_others(self, line: str) -> None:
        """Notice who is in the room, for TAB (EDIT-6)."""
        if found := ONLINE.fullmatch(line):
            for name in found[1].split(", "):
                self.tty.know(name)
        elif found := RENAMED.fullmatch(line):
            self.tty.forget(found[1])
            self.tty.know(found[2])
        elif (found := NAMED.fullmatch(line)) and found[2]:
            self.tty.forget(found[1])
        elif found and found[1] not in ("server", "Commands"):
            self.tty.know(found[1])

    def ending(self) -> tuple[str, int] | None:
        """Decide from the server's last line whether the program ends or reconnects (CLIENT-5).

        Returns the final message and the exit status, or None to reconnect.
        """
        link, last = self.link, self.link.last_line
        if last == SHUTDOWN or (GOODBYE.fullmatch(last) and not self.is_away()):
            return "Disconnected\n", 0
        if SENT_AWAY.fullmatch(last) and not self.is_away():
            return "Disconnected\n", 1
        if link.sent_all and not link.broken:
            return "", 0
        if self.options.retries == 0 or link.sent_all or self.has_no_answer():
            self.end_row()
            return "Connection lost\n", 1
        return None

    # -----------------------------------------------------------------------------------------
    # 6. From the keyboard

    async def read(self) -> None:
        """Read standard input until it ends."""
        while not self.typed_all:
            await self.until(self.may_read)
            await self.ready(0)
            data = self.tty.read() if self.tty.take() and self.may_read() else None
            if data is not None:
                await self.on_input(data)
                self.moved()

    def may_read(self) -> bool:
        """Whether there is space for more input, and --name was sent (CLIENT-8)."""
        link = self.link
        full = len(self.outbox) + len(self.kept) >= MAX_WAITING
        early = link.broken or link.ended or (self.answers and link.prompts == 0)
        return self.tty.ours and not full and (self.is_away() or not early)

    async def on_input(self, data: bytes) -> None:
        """Handle input, which is keys or lines; no data is its end.

        An incomplete last line gets a line end (CLIENT-1).
        """
        if data and self.tty.is_editing():
            if not await self.tty.read_line(data, self.on_edited):
                return
            data = b""
        self.typed += data
        if not data:
            self.typed_all = True
            self.tty.end_editing()
            self.typed += b"\n" if self.typed else b""
        whole = self.typed.rfind(b"\n") + 1
        if whole == 0 and len(self.typed) >= MAX_WAITING:
            whole = len(self.typed) - 1  # the last byte waits for the line end
        for line in PIECES.findall(self.typed[:whole]):
            self.on_typed(line)
        del self.typed[:whole]
        if self.is_away() and self.has_no_answer():
            self.end("Connection lost\n", 1)

    def on_edited(self, text: str) -> bool:
        """Handle an edited line; return whether the history may keep it (HIDE-3)."""
        line = text.encode(errors="replace")
        found = ACCOUNT_COMMAND.fullmatch(line)
        keep = self.name != "" and not (found and found[1])
        self.on_typed(line + b"\n")
        self.moved()
        return keep

    def on_typed(self, line: bytes) -> None:
        """Send a typed line, keep it while there is no connection, or drop it."""
        if self.forgets:
            self.forgets = False
        elif self.is_away() and QUIT.match(line):
            self.end("Disconnected\n", 0)
        elif self.is_away():
            self.kept += line
        else:
            self.pass_on(line)

    def pass_on(self, lines: bytes) -> None:
        """Append lines to the outbox."""
        self.outbox += lines
        for line in PIECES.findall(lines):
            if line.endswith(b"\n"):
                self.remember(line.removesuffix(b"\n").removesuffix(b"\r"))

    def remember(self, line: bytes) -> None:
        """Remember a line that may have a password, until the server's reply to it.

        A line that the server refuses by FRAME-4 to FRAME-6 gets another reply.
        """
        if self.phase is Phase.ASKED and len(self.link.answers) < MAX_ANSWERS:
            self.link.answers.append(line[:MAX_LINE])
        found = ACCOUNT_COMMAND.fullmatch(line) if self.is_good(line) else None
        if found and self.phase is Phase.JOINED and len(self.offered) < MAX_OFFERS:
            self.offered.append((found[1] and found[2]) or b"")

    @staticmethod
    def is_good(line: bytes) -> bool:
        """Whether a server accepts a line (FRAME-4 to FRAME-6)."""
        try:
            return len(line) <= MAX_LINE and not CONTROL.search(line.decode())
        except UnicodeDecodeError:
            return False

    def has_no_answer(self) -> bool:
        """Whether a prompt for the name cannot be answered: the input has ended."""
        return self.typed_all and not self.name and not self.answers

    # -----------------------------------------------------------------------------------------
    # 7. Away and back

    def is_away(self) -> bool:
        """Whether the connection was lost and we are not welcomed again: typed lines are kept."""
        return self.phase in (Phase.AWAY, Phase.RETURNING)

    async def lose(self) -> tuple[str, int] | None:
        """Wait for the next attempt (BACK-1), or give up after the last one (BACK-6)."""
        await self.close_in_order()
        self.end_row()
        self.keep_unsent()
        self.phase = Phase.AWAY
        self.link = Link(None)
        if self.tries == self.options.retries:
            return f"Giving up after {self.tries} attempts\n", 1
        self.tries += 1
        delay = self.options.retry_delay if self.tries == 1 else self.delay * 2
        self.delay = min(delay, MAX_RETRY_SECONDS)
        shown = f"{self.delay:.9f}".rstrip("0").rstrip(".")
        count = f"{self.tries} of {self.options.retries}"
        await self.announce(f"Connection lost, retrying in {shown} s ({count})\n")
        await asyncio.sleep(self.delay)
        return None

    def end_row(self) -> None:
        """End the server's incomplete line, but not a prompt for a name that is being typed."""
        if self.tty.begun != PROMPT:
            self.tty.end_row()

    def keep_unsent(self) -> None:
        """Keep the lines that were not sent, unless they answered prompts.

        If a password was asked for and not typed yet, drop the next line (BACK-10).
        """
        link = self.link
        if self.phase is Phase.JOINED:
            self.kept += self.outbox
            self.offered.clear()
            self.tty.names.clear()
        elif self.phase is Phase.ASKED:
            asked = link.asked == PASSWORD_PROMPT and link.prompts > len(link.answers)
            self.forgets = asked or bool(self.typed)
            self.typed.clear()
        self.outbox.clear()

    async def try_again(self) -> None:
        """Connect again, and receive; the time until the welcome is limited (BACK-5)."""
        try:
            sock = await self.connect()
        except OSError:
            return
        self.tty.forget_row()
        self.link = Link(sock)
        self.phase = Phase.RETURNING
        try:
            async with asyncio.timeout(TRY_SECONDS) as self.limit:
                await self.hear()
        except TimeoutError:
            self.refuse()

    def answer_prompt(self) -> None:
        """Answer each prompt once for the user; at any further prompt, the attempt fails."""
        link, password = self.link, self.find_password()
        if link.prompts == 1 and link.asked == PROMPT:
            self.outbox += f"{self.name}\n".encode()
        elif link.prompts == 2 and link.asked == PASSWORD_PROMPT and password:
            self.outbox += password + b"\n"
        else:
            self.refuse()

    def find_password(self) -> bytes:
        """Return the password for our name; empty where there is none (BACK-3)."""
        name, password = self.proven
        return password if name.lower() == self.name.lower() else b""

    async def come_back(self, line: str, welcomed: str) -> None:
        """Handle a line when reconnecting: the welcome, a refusal, or a line to show."""
        if welcomed and welcomed == self.name:
            self.limit.reschedule(None)
            self.enter(welcomed)  # first: what is typed during the announcement is for the server
            await self.announce(f"Reconnected as {welcomed}\n")
            return
        if self.link.cut:
            self.show(b"\n")
        elif line and not welcomed:
            self.show(f"{line}\n".encode())
        if welcomed or line.startswith("! "):
            self.refuse()

    def refuse(self) -> None:
        """End a failed attempt to reconnect (BACK-5)."""
        self.link.ended = True

    async def give_up(self, words: str) -> None:
        """Restore the terminal; print the lines that were not sent (BACK-9), and the message."""
        self.tty.end_editing()
        lines = [os.fsdecode(line.removesuffix(b"\n")) for line in PIECES.findall(self.kept)]
        message = "".join(f"not sent: {line}\n" for line in lines) + words
        if message:
            await self.announce(message)
        await self.flush()

    # -----------------------------------------------------------------------------------------
    # 8. Loop

    async def run(self) -> int:
        """Run the client; return the exit status."""
        self.catch_signals()
        talk = asyncio.create_task(self.talk())
        await asyncio.wait({talk, self.over}, return_when=asyncio.FIRST_COMPLETED)
        if not self.over.done():
            self.over.set_result(talk.result())
        talk.cancel()
        await asyncio.wait({talk})
        words, status = self.over.result()
        await self.give_up(words)
        await self.close_in_order()
        return status

    async def talk(self) -> tuple[str, int]:
        """Serve one connection after the other; return the final message and the exit status."""
        try:
            self.link = Link(await self.connect())
        except OSError as error:
            words = f"cannot connect to {self.options.address}: {self.reason(error)}\n"
            return words, 1
        self.tty.take()
        parts = (self.read(), self.write_screen(), self.tty.edit(), self.look())
        self.tasks = [asyncio.create_task(self.attend(part)) for part in parts]
        await self.hear()
        while True:
            await self.until(self.has_shown_all)
            if ending := self.ending() or await self.lose():
                return ending
            await self.try_again()

    async def attend(self, part: Coroutine[None, None, None]) -> None:
        """Run a task beside `talk`; an error in it ends the program."""
        try:
            await part
        except Exception as error:
            if not self.over.done():
                self.over.set_exception(error)

    def end(self, words: str, status: int) -> None:
        """End the program, with a final message."""
        if not self.over.done():
            self.over.set_result((words, status))

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds. Code that may change one calls `moved`."""
        while not condition():
            future = asyncio.get_running_loop().create_future()
            self.waiting.append(future)
            await future

    def moved(self) -> None:
        """Let all tasks in `until` check their conditions again."""
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    @staticmethod
    async def ready(descriptor: int, writing: bool = False) -> None:
        """Wait until a descriptor is readable or writable."""
        loop = asyncio.get_running_loop()
        event = asyncio.Event()
        add, remove = loop.add_reader, loop.remove_reader
        if writing:
            add, remove = loop.add_writer, loop.remove_writer
        add(descriptor, event.set)
        try:
            await event.wait()
        finally:
            remove(descriptor)

    async def look(self) -> None:
        """Check periodically whether we are in the foreground again: no signal reports it."""
        while True:
            await self.until(lambda: not self.tty.ours)
            await asyncio.sleep(LOOK_SECONDS)
            self.tty.take()
            self.moved()

    # -----------------------------------------------------------------------------------------
    # 9. Start and stop

    def catch_signals(self) -> None:
        """Let the first signal end the program in order, and a second one at once.

        Blocked signals are unblocked; ignored ones stay ignored, except SIGTERM (PROG-10).
        """
        loop = asyncio.get_running_loop()
        ending = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
        timers = (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGXCPU)
        for number in (*ending, *timers, signal.SIGTERM):
            if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self.on_signal)
        if self.tty.exists:
            signal.signal(signal.SIGTTIN, signal.SIG_IGN)  # do not stop in the background (EDIT-5)
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            loop.add_signal_handler(signal.SIGCONT, self.tty.go_on)
            if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
                loop.add_signal_handler(signal.SIGTSTP, lambda: loop.create_task(self.stop()))
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    def on_signal(self) -> None:
        """End the program in order; at a second signal or after END_SECONDS, at once."""
        if self.over.done():
            self.quit()
        self.end("", 0)
        asyncio.get_running_loop().call_later(END_SECONDS, self.quit)

    def quit(self) -> None:
        """End the program at once."""
        self.tty.restore()
        os._exit(0)

    async def stop(self) -> None:
        """Stop the program (Ctrl+Z), after everything is on the screen."""
        self.tty.leave()
        self.tty.stops = True
        await self.flush()
        self.tty.stop()


def open_standard_files() -> None:
    """If one of the descriptors 0 to 2 was closed, a connection could get its number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


async def start(options: Options) -> int:
    """Run the client; return the exit status."""
    client = Client(options)
    try:
        return await client.run()
    finally:
        client.tty.restore()


def main() -> int:
    """Run the program; return the exit status."""
    try:
        open_standard_files()
        options = parse_options(sys.argv[1:])
        # Unlike epoll, poll accepts a file as standard input.
        loop = asyncio.SelectorEventLoop(selectors.PollSelector())
    except OSError as error:
        complain(f"cannot start: {error.strerror}\n")
        os._exit(1)  # without the cleanup of an incomplete loop, which would print errors, too
    return loop.run_until_complete(start(options))


if __name__ == "__main__":
    os._exit(main())  # without waiting for threads
