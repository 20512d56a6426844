#!/usr/bin/env python3
"""A chat server: one room, many users, lines of text over TCP. PROTOCOL.md is its contract.

    python server.py                       listens on 127.0.0.1:8080
    python server.py --help                explains the options

The path of a message:

    socket -> inbox -> line -> action -> the room's stream / a user's queue -> socket

Invariants:

 1. Only the section "Sockets" and `send_news` receive from, send to, or close a connection.
 2. Handlers never send. They append to the room's stream, which all users read, or to the queue
    of one user.
 3. Handlers never free a user. They mark it, and it is reaped at the end of the round.
 4. The names of the users in the room are unique, ignoring case.
 5. Text is bytes. It is decoded once, to check it, and relayed unchanged.
 6. Only `gate` decides whether a user's next line is processed.

One thread runs the loop, and silent users cost it nothing. Only slow work, which is hashing
passwords and writing the accounts file, is done by the worker threads of accounts.py.
"""

from __future__ import annotations

import os
import signal

if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # Ctrl+C during the other imports
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))

import resource
import selectors
import socket
import sys
import time
from collections import OrderedDict
from contextlib import suppress
from enum import Enum, auto

from accounts import Accounts, Job, Task, open_accounts
from log import Sink, log_event, open_log, open_output, reopen
from options import Options, end, parse_options, usage_error
from stream import Cursor, Stream

# ---------------------------------------------------------------------------------------------
# 1. Limits

MAX_NAME = 32  # bytes of a name
MAX_LINE = 1024  # bytes of a line from a client or of /who, without its end
MAX_REFUSALS = 5  # refused names on one connection; the last one ends it
MAX_WRONG_PASSWORDS = 3  # on one connection; the last one ends it
MIN_PASSWORD = 8  # bytes of a new password
MAX_PASSWORD = 72  # bytes of any password
MAX_INBOX = 64 * 1024 + 1  # bytes of one user's unprocessed input; the last one to notice its end
LINGER_SECONDS = 1.0  # limit after our side has ended
DRAIN_SECONDS = 10.0  # limit to send a queue before our side ends
FINISH_SECONDS = 0.5  # limit at a shutdown, to process what was received before
ACCEPT_PAUSE = 0.1  # seconds without accepting when there are no descriptors left
ACCEPT_BATCH = 64  # connections accepted in one round, so that a burst delays no user
BACKLOG = 4096  # connections that may wait to be accepted
ROUND_SIZE = 256 * 1024  # bytes processed and queued in a round before all queues are sent
LINE_WORK = 64  # bytes that a line counts in addition to its own, for the time it takes
SKIP_SIZE = 256  # the most empty lines that are skipped in one step
TICK = 0.01  # the least seconds between two sweeps
MAX_SLEEP = 3600.0  # seconds; the system refuses to wait for more than some weeks
NEVER = float("inf")  # a time that never comes

PROMPT = b"Enter your screen name: "
PASSWORD_PROMPT = b"Password: "
WELCOME = b"Welcome, %s (%d online). Type /help for commands.\n"
SHUTDOWN = b"Server is shutting down\n"
HELP = b"Commands: /help, /who, /msg NAME TEXT, /nick NAME, /quit (// to begin a message with /)\n"
ACCOUNT_HELP = HELP.replace(b"/quit", b"/register PASSWORD, /passwd PASSWORD, /unregister, /quit")
OP_HELP = b"Commands: /help, /who, /kick NAME, /shutdown (// to begin an announcement with /)\n"
TOO_LONG = b"! line too long (limit %d bytes)\n" % MAX_LINE
NOT_UTF8 = b"! not valid UTF-8\n"
HAS_CONTROL = b"! control characters are not allowed\n"
BAD_NAME = b'! invalid name: use 1 to %d letters, digits, "_" or "-"\n' % MAX_NAME
UNKNOWN_COMMAND = b"! unknown command: /%s (try /help)\n"
NO_SUCH_USER = b"! no such user: %s\n"
ALREADY = b"! already registered: %s\n"
NOT_REGISTERED = b"! not registered: %s\n"
BAD_PASSWORD = b"! password must be %d to %d bytes\n" % (MIN_PASSWORD, MAX_PASSWORD)
WRONG_PASSWORD = b"! wrong password\n"
UNCHANGED = b"! accounts cannot be changed now\n"
TOO_MANY = b"! too many attempts\n"

# ---------------------------------------------------------------------------------------------
# 2. Types


class Phase(Enum):
    """The state of a connection."""

    NAMING = auto()  # asked for a name
    PASSWORD = auto()  # asked for the password of the name that it gave
    CHATTING = auto()  # in the room
    LEAVING = auto()  # has left the room: its queue is sent, its input is discarded
    LINGERING = auto()  # our side has ended: its input is discarded until its side ends too
    GONE = auto()  # will be reaped


class Gate(Enum):
    """Whether a user's next line is processed now, and if not, why."""

    OPEN = auto()
    FULL = auto()  # its queue is half full: its own commands must not get it dropped (LIMIT-6)
    THROTTLED = auto()  # it has reached its --rate (LIMIT-5)
    BUSY = auto()  # it has a job, waiting or running (ACCT-12)
    CLOSED = auto()  # it is leaving or gone


class User:
    """One connection."""

    def __init__(self, sock: socket.socket, addr: str, stream: Stream) -> None:
        self.sock = sock
        self.addr = addr  # for the log
        self.phase = Phase.NAMING
        self.name = b""  # in the phase PASSWORD: the name that it asks for
        self.inbox = bytearray()  # received, and not processed yet
        self.cursor = Cursor(stream)  # its queue
        self.refusals = 0
        self.wrong = 0  # wrong passwords
        # The account that it has proven to own: lower-cased name and hash (ACCT-5).
        self.proven: tuple[bytes, bytes | None] | None = None
        self.job: Job | None = None  # what a worker does for it
        self.deadline = NEVER  # when the time for its phase ends
        self.left = 0.0  # seconds that were left when a password check suspended the deadline
        self.due = 0.0  # for --rate: when its next line may be processed
        self.reply = 0  # bytes that its last /who added to its queue, until they are sent
        self.ended = False  # the client has ended its side
        self.events = selectors.EVENT_READ  # that the selector waits for


# ---------------------------------------------------------------------------------------------
# 3. Lines

# C0 except TAB, DEL, C1, line and paragraph separators, and bidirectional controls (FRAME-6).
CONTROL_RANGES = ((0, 0x08), (0x0A, 0x1F), (0x7F, 0x9F), (0x2028, 0x202E), (0x2066, 0x2069))
CONTROL = {chr(code) for first, last in CONTROL_RANGES for code in range(first, last + 1)}


def take_line(inbox: bytearray) -> bytes | None:
    """Remove and return the next complete line, without its end; None where there is none."""
    end = inbox.find(b"\n")
    if end < 0:
        del inbox[MAX_LINE + 2 :]  # the rest is enough to see that the line is too long
        return None
    line = bytes(inbox[:end])
    del inbox[: end + 1]
    return line.removesuffix(b"\r")


def has_line(inbox: bytearray) -> bool:
    """Whether an inbox has a complete line, or is full of one that `take_line` must shorten."""
    return b"\n" in inbox or len(inbox) == MAX_INBOX


def skip_empty(inbox: bytearray) -> None:
    """Remove the empty lines at the front, many in one step."""
    ahead = inbox[:SKIP_SIZE]
    del inbox[: len(ahead) - len(ahead.lstrip(b"\n"))]


def check_line(line: bytes) -> bytes | None:
    """Return the error of a line, or None (FRAME-4 to FRAME-6, in that order)."""
    if len(line) > MAX_LINE:
        return TOO_LONG
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return NOT_UTF8
    if text.replace("\t", "").isprintable():  # true for most lines, and fast
        return None
    return None if CONTROL.isdisjoint(text) else HAS_CONTROL


def is_blank(text: bytes) -> bool:
    """Whether a text is empty or has only spaces and tabs."""
    return not text.strip(b" \t")


# ---------------------------------------------------------------------------------------------
# 4. Room

NAME_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
RESERVED = (b"server", b"password")


def name_is_valid(name: bytes) -> bool:
    """Whether a name has the form that JOIN-2 requires."""
    return 0 < len(name) <= MAX_NAME and not name.translate(None, NAME_BYTES)


class Server:
    """All state of the server."""

    def __init__(self, options: Options, wake: int) -> None:
        self.options = options
        self.wake = wake  # descriptor that becomes readable when a signal arrives
        self.selector = selectors.DefaultSelector()
        self.accounts = None if options.accounts is None else start_accounts(options.accounts)
        self.log = None if options.log is None else start_log(options.log, self.selector)
        self.output = open_output(self.selector)
        self.sinks = [self.output] if self.log is None else [self.log, self.output]
        self.listener = listen_on(options.host, options.port)
        self.address = show_address(*self.listener.getsockname()[:2])
        self.rate = options.rate
        self.half = options.max_queue // 2  # bytes in a user's queue that close its gate (LIMIT-6)
        # Bytes of work before all queues are sent. With more, the server could drop a user who
        # reads fast enough, but had no chance to read.
        self.round_size = min(ROUND_SIZE, self.half)

        self.stream = Stream()  # the lines of the room
        self.news = Cursor(self.stream)  # the part that was not sent to the room yet
        self.news.attach()
        self.users: dict[bytes, User] = {}  # in the room, by lower-cased name
        self.connections: set[User] = set()  # all that are not reaped
        self.lingering: set[User] = set()  # those that no longer count for LIMIT-2
        self.gone: list[User] = []  # those to reap

        self.turns: OrderedDict[User, None] = OrderedDict()  # users that may have lines to process
        self.pending: set[User] = set()  # users to flush, even if the room has no news
        self.load = 0  # bytes processed and queued since all queues were last sent
        self.now = time.monotonic()  # when the round began
        self.sweep_at = NEVER  # when the next deadline may pass
        self.accept_at = NEVER  # when to accept again after descriptors have run out
        self.accept_fails = False  # the last attempt failed, and this was logged
        self.stop_asked = False  # a signal or the operator has asked for a shutdown
        self.stop_at = NEVER  # the latest time for the shutdown to end
        self.console = bytearray()  # read from standard input, and not processed yet
        self.console_is_file = False  # selectors refuse a file, which is always ready

        self.op_commands = {
            b"help": self.op_help,
            b"who": self.op_who,
            b"kick": self.op_kick,
            b"shutdown": self.op_shutdown,
        }
        self.commands = {
            b"help": self.cmd_help,
            b"who": self.cmd_who,
            b"msg": self.cmd_msg,
            b"nick": self.cmd_nick,
            b"quit": self.cmd_quit,
        }
        if self.accounts is not None:
            self.commands |= {
                b"register": self.cmd_register,
                b"passwd": self.cmd_passwd,
                b"unregister": self.cmd_unregister,
            }

    def find(self, name: bytes) -> User | None:
        """Find the user with a name, ignoring case."""
        return self.users.get(name.lower())

    def broadcast(self, line: bytes, sender: User | None = None) -> None:
        """Queue a line for everyone in the room except its sender, and for the operator."""
        self.stream.append(line)
        self.load += len(line)
        if sender is not None:
            sender.cursor.skip(len(line))
        if not self.options.quiet:
            self.output.put(line)

    def say(self, name: bytes, line: bytes, sender: User | None = None) -> None:
        """Broadcast and log a message (CHAT-1, CHAT-5)."""
        text = line.removeprefix(b"/")
        self.broadcast(b"%s: %s\n" % (name, text), sender)
        log_event(self.log, "message", name=name, text=text)

    def tell(self, user: User, text: bytes) -> None:
        """Queue a text for one user."""
        user.cursor.insert(text)
        self.load += len(text)
        self.pending.add(user)

    def name_error(self, user: User, name: bytes) -> bytes | None:
        """Return why a user cannot have a name, or None (JOIN-2, JOIN-3, ACCT-6, CMD-4)."""
        if not name_is_valid(name):
            return BAD_NAME
        owner = self.find(name)
        recased = owner is user and name != user.name
        if name.lower() in RESERVED or (owner is not None and not recased):
            return b"! name in use: %s\n" % name
        if self.options.members_only and self.hash_of(name) is None:
            return b"! name not registered: %s\n" % name
        return None

    def hash_of(self, name: bytes) -> bytes | None:
        """Return the hash of an account, or None where the name is not registered."""
        return None if self.accounts is None else self.accounts.hash_of(name)

    def has_proven(self, user: User, name: bytes) -> bool:
        """Whether a name is the account that the user has proven to own (ACCT-5)."""
        return user.proven == (name.lower(), self.hash_of(name))

    def enter(self, user: User, name: bytes) -> None:
        """Let a user into the room. Its cursor starts after its own join notice."""
        self.broadcast(b"%s has joined the chat\n" % name)
        user.phase, user.name = Phase.CHATTING, name
        if not user.ended:
            user.deadline = NEVER
        self.users[name.lower()] = user
        user.cursor.attach()
        self.tell(user, WELCOME % (name, len(self.users)))
        log_event(self.log, "join", name=name, addr=user.addr)

    def leave(self, user: User, reason: str) -> None:
        """Take a user out of the room: free its name, and tell the others."""
        del self.users[user.name.lower()]
        user.cursor.detach()
        self.broadcast(b"%s has left the chat\n" % user.name)
        log_event(self.log, "leave", name=user.name, addr=user.addr, reason=reason)

    # -----------------------------------------------------------------------------------------
    # 5. Commands

    def cmd_help(self, user: User, _rest: bytes) -> None:
        self.tell(user, HELP if self.accounts is None else ACCOUNT_HELP)

    def cmd_who(self, user: User, _rest: bytes) -> None:
        """/who: its reply may exceed LIMIT-1, and must not get the user dropped (LIMIT-6)."""
        before = user.cursor.waiting
        self.tell(user, self.who_lines())
        user.reply = user.cursor.waiting - before

    def who_lines(self) -> bytes:
        """List the users in the room, on as many lines as needed (CMD-2)."""
        head = b"Online (%d): " % len(self.users)
        lines = [head]
        for _, user in sorted(self.users.items()):
            if lines[-1] is head:
                lines[-1] = head + user.name
            elif len(lines[-1]) + len(b", ") + len(user.name) <= MAX_LINE:
                lines[-1] += b", " + user.name
            else:
                lines.append(head + user.name)
        return b"\n".join(lines) + b"\n"

    def cmd_msg(self, user: User, rest: bytes) -> None:
        name, _, text = rest.lstrip(b" ").partition(b" ")
        text = text.lstrip(b" ")
        other = self.find(name)
        if not name or is_blank(text):
            self.tell(user, b"! usage: /msg NAME TEXT\n")
        elif other is None:
            self.tell(user, NO_SUCH_USER % name)
        elif other is user:
            self.tell(user, b"! cannot message yourself\n")
        else:
            self.tell(other, b"(private) %s: %s\n" % (user.name, text))
            log_event(self.log, "private", name=user.name, to=other.name)

    def cmd_nick(self, user: User, rest: bytes) -> None:
        name = rest.strip(b" \t")
        error = self.name_error(user, name)
        if error is None and self.hash_of(name) is not None and not self.has_proven(user, name):
            error = b"! name registered: %s\n" % name
        if error is not None:
            self.tell(user, error)
            return
        del self.users[user.name.lower()]
        self.users[name.lower()] = user
        self.broadcast(b"%s is now known as %s\n" % (user.name, name))
        log_event(self.log, "rename", name=user.name, to=name)
        user.name = name

    def cmd_quit(self, user: User, _rest: bytes) -> None:
        self.tell(user, b"Goodbye, %s\n" % user.name)
        self.dismiss(user, "quit")

    def cmd_register(self, user: User, rest: bytes) -> None:
        self.change_account(user, Task.REGISTER, rest.lstrip(b" "))

    def cmd_passwd(self, user: User, rest: bytes) -> None:
        self.change_account(user, Task.PASSWD, rest.lstrip(b" "))

    def cmd_unregister(self, user: User, _rest: bytes) -> None:
        self.change_account(user, Task.UNREGISTER, None)

    def change_account(self, user: User, task: Task, password: bytes | None) -> None:
        """Have a worker change the user's account; its next lines wait for the reply (ACCT-10)."""
        assert self.accounts is not None
        if task is Task.REGISTER and self.hash_of(user.name) is not None:
            self.tell(user, ALREADY % user.name)
        elif task is not Task.REGISTER and not self.has_proven(user, user.name):
            self.tell(user, NOT_REGISTERED % user.name)
        elif password is not None and not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            self.tell(user, BAD_PASSWORD)
        else:
            user.job = self.accounts.ask(task, user, user.name, password or b"")
            if user.job is None:  # too many changes are queued (ACCT-13)
                self.tell(user, UNCHANGED)

    def account_changed(self, user: User, job: Job) -> None:
        """Tell a user the result of its /register, /passwd or /unregister."""
        if job.error:
            self.tell(user, UNCHANGED)
        elif not job.done:
            self.tell(user, (ALREADY if job.task is Task.REGISTER else NOT_REGISTERED) % job.name)
        elif job.task is Task.UNREGISTER:
            self.tell(user, b"Unregistered %s\n" % job.name)
        else:
            user.proven = (job.name.lower(), job.new_hash)
            registered = job.task is Task.REGISTER
            self.tell(user, b"Registered %s\n" % job.name if registered else b"Password changed\n")

    # -----------------------------------------------------------------------------------------
    # 6. Lines to actions

    def gate(self, user: User) -> Gate:
        """Return whether a user's next line is processed now, and if not, why."""
        if user.job is not None:
            return Gate.BUSY
        if user.phase is Phase.CHATTING:
            if user.cursor.waiting > self.half:
                return Gate.FULL
            return Gate.THROTTLED if self.rate and user.due > self.now else Gate.OPEN
        asked = user.phase is Phase.NAMING or user.phase is Phase.PASSWORD
        return Gate.OPEN if asked else Gate.CLOSED

    def take_up(self, user: User) -> None:
        """Process a user's complete lines, as long as its gate is open and the round has room."""
        while (gate := self.gate(user)) is Gate.OPEN and self.load <= self.round_size:
            if user.inbox.startswith(b"\n") and user.phase is Phase.CHATTING and not self.rate:
                skip_empty(user.inbox)  # ignored in the room (FRAME-7)
            line = take_line(user.inbox)
            if line is None:
                break
            self.load += len(line) + LINE_WORK
            if self.rate and user.phase is Phase.CHATTING:
                share = 1 / self.rate  # seconds for each line; a burst may use a whole second
                earliest = self.now - 1 + share - 1e-6  # the margin keeps rounding harmless
                user.due = max(user.due, earliest) + share
            self.handle_line(user, line)
        self.pending.add(user)  # `flush` calls `watch`, which decides what happens next
        if gate is Gate.THROTTLED:
            self.sweep_at = min(self.sweep_at, user.due)
        if user.ended and gate not in (Gate.BUSY, Gate.CLOSED) and b"\n" not in user.inbox:
            self.retire(user, "eof")

    def handle_line(self, user: User, line: bytes) -> None:
        if user.phase is Phase.CHATTING:
            self.handle_chat(user, line)
        elif user.phase is Phase.NAMING:
            self.handle_name(user, line)
        else:
            self.handle_password(user, line)

    def handle_name(self, user: User, line: bytes) -> None:
        """Process a line as the answer to the prompt for a name."""
        name = line.strip(b" \t")
        bad_line = check_line(line)
        error = bad_line or self.name_error(user, name)
        if error is not None:
            self.refuse_name(user, error, "line" if bad_line else "name")
        elif self.hash_of(name) is not None:
            user.phase, user.name = Phase.PASSWORD, name
            self.tell(user, PASSWORD_PROMPT)
        else:
            self.enter(user, name)

    def refuse_name(self, user: User, error: bytes, reason: str) -> None:
        """Tell why a name is refused, and ask again, up to the fifth refusal (JOIN-7)."""
        user.refusals += 1
        last = user.refusals == MAX_REFUSALS
        self.refuse(user, reason, error + (TOO_MANY if last else PROMPT), last)

    def handle_password(self, user: User, line: bytes) -> None:
        """Process a line, unchanged, as the answer to the prompt for a password."""
        error = check_line(line)
        if error is not None:
            self.refuse_password(user, error, "line")
        elif len(line) > MAX_PASSWORD or self.accounts is None:
            self.refuse_password(user, WRONG_PASSWORD, "password")
        else:
            if not user.ended:
                # The check does not count as time for joining (JOIN-8).
                user.left, user.deadline = user.deadline - self.now, NEVER
            user.job = self.accounts.ask(Task.CHECK, user, user.name, line)

    def password_checked(self, user: User, job: Job) -> None:
        """Let a user in if its password was right and the name is still free (ACCT-3, ACCT-4)."""
        if not user.ended:
            self.set_deadline(user, user.left)
        if not job.done or self.hash_of(job.name) != job.hash:
            self.refuse_password(user, WRONG_PASSWORD, "password")
            return
        user.proven = (job.name.lower(), job.hash)
        error = self.name_error(user, job.name)
        if error is None:
            self.enter(user, job.name)
        else:
            user.phase = Phase.NAMING
            self.refuse_name(user, error, "name")

    def refuse_password(self, user: User, error: bytes, reason: str) -> None:
        """Tell that a password is refused, and ask again, up to the third refusal (ACCT-2)."""
        user.wrong += 1
        last = user.wrong == MAX_WRONG_PASSWORDS
        self.refuse(user, reason, error + (TOO_MANY if last else PASSWORD_PROMPT), last)

    def refuse(self, user: User, reason: str, text: bytes, ends: bool = False) -> None:
        """Log a refusal, and tell the user; `ends` also ends the connection."""
        log_event(self.log, "refuse", addr=user.addr, reason=reason)
        self.tell(user, text)
        if ends:
            self.dismiss(user)

    def handle_chat(self, user: User, line: bytes) -> None:
        """Process a line as a message or a command."""
        error = check_line(line)
        if error is not None:
            self.refuse(user, "line", error)
        elif line.startswith(b"/") and not line.startswith(b"//"):
            self.handle_command(user, line)
        elif not is_blank(line):
            self.say(user.name, line, user)

    def handle_command(self, user: User, line: bytes) -> None:
        word, _, rest = line[1:].partition(b" ")
        command = self.commands.get(word.lower())
        if command is None:
            self.tell(user, UNKNOWN_COMMAND % word)
        else:
            command(user, rest)

    def jobs_done(self) -> None:
        """Act on finished jobs. A change is logged even if its user is gone: it was made."""
        assert self.accounts is not None
        for job in self.accounts.finished():
            if job.error:
                log_event(self.log, "error", error=job.error)
            elif job.done and job.task is not Task.CHECK:
                log_event(self.log, "account", name=job.name, reason=job.task)
            user = job.owner
            if not isinstance(user, User) or user.job is not job:
                continue
            user.job = None
            if job.task is Task.CHECK:
                self.password_checked(user, job)
            else:
                self.account_changed(user, job)
            self.turns[user] = None

    # -----------------------------------------------------------------------------------------
    # 7. Console

    def op_help(self, _rest: bytes) -> None:
        self.output.put(OP_HELP)

    def op_who(self, _rest: bytes) -> None:
        self.output.put(self.who_lines())

    def op_kick(self, rest: bytes) -> None:
        name = rest.strip(b" \t")
        user = self.find(name)
        if not name:
            self.output.put(b"! usage: /kick NAME\n")
        elif user is None:
            self.output.put(NO_SUCH_USER % name)
        else:
            self.tell(user, b"! kicked by the operator\n")
            self.dismiss(user, "kick")

    def op_shutdown(self, _rest: bytes) -> None:
        self.stop_asked = True

    def console_line(self, line: bytes) -> None:
        """Process one line from the operator: an announcement or a command."""
        error = check_line(line)
        if error is not None:
            self.output.put(error)
        elif line.startswith(b"/") and not line.startswith(b"//"):
            word, _, rest = line[1:].partition(b" ")
            command = self.op_commands.get(word.lower())
            if command is None:
                self.output.put(UNKNOWN_COMMAND % word)
            else:
                command(rest)
        elif not is_blank(line):
            self.say(b"server", line)

    def read_console(self) -> None:
        """Read from standard input, and process the complete lines."""
        try:
            data = os.read(0, MAX_LINE)
        except BlockingIOError:
            return
        except OSError:  # such as EIO in the background of a terminal (OPER-2)
            data = b""
        if not data or self.stop_asked:  # continue without a console
            if self.console_is_file:
                self.console_is_file = False
            else:
                self.selector.unregister(0)
        self.console += data
        while not self.stop_asked and (line := take_line(self.console)) is not None:
            self.console_line(line)

    # -----------------------------------------------------------------------------------------
    # 8. Sockets

    def accept_users(self) -> None:
        """Accept new connections, up to ACCEPT_BATCH."""
        for _ in range(ACCEPT_BATCH):
            try:
                sock, address = self.listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptors or memory left: try again later (LIMIT-3)
                if not self.accept_fails:
                    log_event(self.log, "error", error=f"cannot accept: {error.strerror}")
                self.accept_fails = True
                self.selector.modify(self.listener, 0, self.accept_users)
                self.accept_at = self.now + ACCEPT_PAUSE
                return
            self.accept_fails = False
            self.greet(sock, show_address(*address[:2]) if self.log is not None else "")

    def greet(self, sock: socket.socket, addr: str) -> None:
        """Ask a new connection for its name, or refuse it where the server is full (LIMIT-2)."""
        sock.setblocking(False)
        user = User(sock, addr, self.stream)
        log_event(self.log, "connect", addr=addr)
        try:
            self.selector.register(sock, user.events, user)
        except OSError as error:  # no memory left, or the limit of epoll watches is reached
            log_event(self.log, "error", error=f"cannot serve {addr}: {error.strerror}")
            sock.close()
            return
        is_full = len(self.connections) - len(self.lingering) >= self.options.max_clients
        self.connections.add(user)
        self.set_deadline(user, self.options.join_timeout)
        if is_full:
            self.refuse(user, "full", b"! server full\n", ends=True)
        else:
            self.tell(user, PROMPT)

    def set_deadline(self, user: User, seconds: float) -> None:
        """Set when a user's time ends, in seconds from now."""
        user.deadline = self.now + seconds
        self.sweep_at = min(self.sweep_at, user.deadline)

    def receive(self, user: User) -> None:
        """Receive once from a user."""
        try:
            data = user.sock.recv(MAX_INBOX - len(user.inbox))
        except BlockingIOError:
            return
        except OSError:
            self.drop(user, "reset")
            return
        if not data:
            self.hang_up(user)
        elif self.gate(user) is not Gate.CLOSED:
            user.inbox = user.inbox + data  # += would over-allocate

    def flush(self, user: User) -> None:
        """Send a user's queue, as far as the kernel takes it, and act on what is left."""
        if user.phase is Phase.GONE:
            return
        try:
            while pieces := user.cursor.pieces():
                user.cursor.advance(user.sock.sendmsg(pieces))
        except BlockingIOError:
            pass
        except OSError:
            self.drop(user, "reset")
            return
        left = user.cursor.waiting
        if left <= self.options.max_queue:
            user.reply = 0
        elif user.phase is Phase.CHATTING and left > self.options.max_queue + user.reply:
            self.drop(user, "slow")  # LIMIT-1
        if user.phase is Phase.LEAVING and not left:
            self.end_sending(user)
        self.watch(user)

    def watch(self, user: User) -> None:
        """Update the events to wait for, and give a turn to a user with lines to process."""
        if user.phase is Phase.GONE:
            return
        has_room = not user.ended and len(user.inbox) < MAX_INBOX
        events = selectors.EVENT_READ if has_room else 0
        if user.cursor.waiting:
            events |= selectors.EVENT_WRITE
        if events != user.events:
            user.events = events
            self.selector.modify(user.sock, events, user)
        if has_line(user.inbox) and self.gate(user) is Gate.OPEN:
            self.turns[user] = None

    def dismiss(self, user: User, reason: str = "") -> None:
        """End a connection in order: its queue is sent first (LEAVE-4)."""
        self.retire(user, reason)
        if not user.ended:  # otherwise the time is running since then
            self.set_deadline(user, DRAIN_SECONDS)

    def hang_up(self, user: User) -> None:
        """The client has ended its side. Its lines and queue are handled first (LEAVE-2)."""
        user.ended = True
        if user.phase is Phase.LINGERING:
            self.drop(user)
        elif user.phase is not Phase.LEAVING:
            self.set_deadline(user, DRAIN_SECONDS)

    def retire(self, user: User, reason: str) -> None:
        """Take a user out of the room or away from its prompt; discard its further input."""
        if user.job is not None and self.accounts is not None:
            self.accounts.forget(user)
            user.job = None
        if user.phase is Phase.CHATTING:
            self.leave(user, reason)
        user.phase = Phase.LEAVING
        user.inbox.clear()
        self.pending.add(user)

    def end_sending(self, user: User) -> None:
        """End our side of a connection after its queue was sent."""
        try:
            user.sock.shutdown(socket.SHUT_WR)
        except OSError:
            user.ended = True
        if user.ended:
            self.drop(user)
        else:
            user.phase = Phase.LINGERING
            self.lingering.add(user)
            self.set_deadline(user, LINGER_SECONDS)

    def drop(self, user: User, reason: str = "") -> None:
        """End a connection now, and discard its queue. A user in the room needs a reason."""
        if user.phase is Phase.GONE:
            return
        user.cursor.clear()
        self.retire(user, reason)
        user.phase = Phase.GONE
        self.gone.append(user)

    def reap(self) -> None:
        """Close the connections of the users that are gone."""
        for user in self.gone:
            self.connections.remove(user)
            self.lingering.discard(user)
            self.turns.pop(user, None)
            self.selector.unregister(user.sock)
            user.sock.close()
        self.gone.clear()

    # -----------------------------------------------------------------------------------------
    # 9. Loop

    def run(self) -> None:
        """Serve until the server was stopped and all users are gone, or STOP-3's time is over."""
        while self.now < self.stop_at and (self.connections or self.stop_at == NEVER):
            self.one_round()

    def one_round(self) -> None:
        """Wait for events, handle them, and send all queues."""
        for sink in self.sinks:  # the output of the last round, in one call for each
            if sink.pending and not sink.blocked:
                sink.flush()
        ready = self.selector.select(self.next_timeout())
        self.now = time.monotonic()
        for key, events in ready:
            if not isinstance(key.data, User):
                key.data()
                continue
            if events & selectors.EVENT_READ:
                self.turns[key.data] = None
            if events & selectors.EVENT_WRITE:
                self.pending.add(key.data)
            if not events:  # a reset, which the selector reports even for no events
                self.drop(key.data, "reset")
        if self.console_is_file:
            self.read_console()
        self.take_turns()
        if self.stop_asked and self.stop_at == NEVER:
            self.stop()
        self.sweep()
        self.flush_all()
        self.reap()

    def next_timeout(self) -> float:
        """Return the seconds until the next timer."""
        if self.turns or self.console_is_file:
            return 0
        next_time = min(self.sweep_at, self.accept_at, self.stop_at)
        return max(0, min(next_time - time.monotonic(), MAX_SLEEP))

    def take_turns(self) -> None:
        """Process the lines of users in turn; who gets no turn now is first in the next round."""
        while self.turns and self.load <= self.round_size:
            user, _ = self.turns.popitem(last=False)
            if not user.ended and len(user.inbox) < MAX_INBOX:
                self.receive(user)
            self.take_up(user)

    def flush_all(self) -> None:
        """Send the news of the room, and flush the users in `pending`.

        A user who is dropped here adds a leave notice, so this repeats until no news is left.
        """
        while self.pending or self.news.waiting:
            if self.news.waiting:
                self.send_news()
            users, self.pending = self.pending, set()
            for user in users:
                self.flush(user)
        self.load = 0

    def send_news(self) -> None:
        """Send the room's new text to each user in it who was sent everything before.

        The text is the same for all of them, so it is joined once, and needs one system call for
        each. The other users, usually few, become pending.
        """
        start = self.news.at
        text = self.news.take()
        for user in self.users.values():
            sent = 0
            if user.cursor.is_at(start) and user.events == selectors.EVENT_READ:
                try:
                    sent = user.sock.send(text)
                except OSError:  # `flush` tries again, and handles the error
                    sent = 0
            if sent == len(text):
                user.cursor.catch_up()
            else:
                user.cursor.at += sent
                self.pending.add(user)

    def sweep(self) -> None:
        """Act on all deadlines that have passed, and find the next one."""
        now = self.now
        if now >= self.accept_at:
            self.accept_at = NEVER
            self.selector.modify(self.listener, selectors.EVENT_READ, self.accept_users)
        if now < self.sweep_at:
            return
        self.sweep_at = NEVER
        for user in self.connections:
            if user.deadline <= now:
                self.expire(user)
            elif user.deadline < self.sweep_at:
                self.sweep_at = user.deadline
            if self.rate and user.inbox:
                if user.due <= now:
                    self.turns[user] = None
                else:
                    self.sweep_at = min(self.sweep_at, user.due)
        self.sweep_at = max(self.sweep_at, now + TICK)

    def expire(self, user: User) -> None:
        """End a connection whose deadline has passed."""
        if user.phase in (Phase.LEAVING, Phase.LINGERING, Phase.GONE):
            self.drop(user)
        elif user.ended:  # its lines or its job took longer than DRAIN_SECONDS
            self.retire(user, "eof")
            self.set_deadline(user, LINGER_SECONDS)
        else:
            self.refuse(user, "timeout", b"\n! timed out\n", ends=True)

    # -----------------------------------------------------------------------------------------
    # 10. Start and stop

    def start(self) -> None:
        """Watch all sources of events, and print the ready line (PROG-3)."""
        self.selector.register(self.wake, selectors.EVENT_READ, self.read_signals)
        self.selector.register(self.listener, selectors.EVENT_READ, self.accept_users)
        if self.accounts is not None:
            self.selector.register(self.accounts.wake, selectors.EVENT_READ, self.jobs_done)
        try:
            self.selector.register(0, selectors.EVENT_READ, self.read_console)
        except PermissionError:
            self.console_is_file = True
        log_event(self.log, "start", addr=self.address)
        self.output.put(f"Listening on {self.address}\n".encode())

    def read_signals(self) -> None:
        """Act on signals: SIGHUP reopens the log and reloads the accounts, others shut down."""
        for number in os.read(self.wake, MAX_INBOX):
            if number != signal.SIGHUP or (self.log is None and self.accounts is None):
                self.stop_asked = True
                continue
            if self.log is not None:
                reopen(self.log)
            if self.accounts is not None:
                self.accounts.ask(Task.RELOAD)

    def stop(self) -> None:
        """Begin the shutdown: process earlier input, then notify and dismiss everyone (STOP-1)."""
        self.selector.unregister(self.listener)
        self.listener.close()
        self.accept_at = NEVER
        self.finish_turns()
        self.stop_at = self.now + LINGER_SECONDS
        self.broadcast(SHUTDOWN)
        log_event(self.log, "shutdown", addr=self.address)
        for user in self.connections:
            if user.phase is Phase.CHATTING:
                user.phase = Phase.LEAVING  # without `leave`: there are no notices now (STOP-2)
                self.dismiss(user)
            elif user.phase in (Phase.NAMING, Phase.PASSWORD):
                self.tell(user, SHUTDOWN if user.job is not None else b"\n" + SHUTDOWN)
                self.dismiss(user)
        self.users.clear()

    def finish_turns(self) -> None:
        """Process what was received before the signal: it precedes the notice (STOP-2)."""
        latest = time.monotonic() + FINISH_SECONDS
        self.flush_all()  # gives turns to users with lines left from this round
        while self.turns and self.now < latest:
            user, _ = self.turns.popitem(last=False)
            self.take_up(user)
            self.flush_all()
            self.now = time.monotonic()


def listen_on(host: str, port: int) -> socket.socket:
    """Listen on the first IPv4 address of the host, or else on its first address (PROG-1)."""
    listener = None
    try:
        found = socket.getaddrinfo(os.fsencode(host), port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit these: no delay (FRAME-9), vanished peers noticed (LEAVE-5).
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 120_000)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise end(1, f"cannot listen on {show_address(host, port)}: {error.strerror}\n") from None
    listener.setblocking(False)
    return listener


def show_address(host: str, port: int) -> str:
    """Format an address as PROG-3 requires."""
    if "." in host:
        host = host.removeprefix("::ffff:")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def catch_signals(hangup_reopens: bool) -> int:
    """Let the first signal wake the loop, and a second one end the process (STOP-5, PROG-10).

    Returns the descriptor to watch. Python writes a byte to it as soon as a signal arrives. A
    handler alone would run too late for a signal that arrives just before the loop waits.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)  # reading in the background fails (OPER-2)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # writing is allowed there (LOG-4)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, restore_signals)
    if hangup_reopens:
        signal.signal(signal.SIGHUP, lambda *_: None)  # only wakes the loop, every time
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    return reader


def restore_signals(_number: int, _frame: object) -> None:
    """Restore the default action, so that a second signal ends the process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is restore_signals:
            signal.signal(number, signal.SIG_DFL)


def start_log(path: str, selector: selectors.BaseSelector) -> Sink:
    """Open the log, or end the program with the reason."""
    try:
        return Sink(path, open_log(path), selector)
    except OSError as error:
        raise end(1, f"cannot open log {path}: {error.strerror}\n") from None


def start_accounts(path: str) -> Accounts:
    """Open the accounts, or end the program with the reason."""
    try:
        import bcrypt  # noqa: F401
    except ImportError:
        raise usage_error("--accounts needs the package bcrypt: pip install bcrypt") from None
    opened = open_accounts(path, name_is_valid)
    if isinstance(opened, str):
        raise end(1, f"{opened}\n")
    return opened


def prepare() -> Server:
    """Make a server that is ready to accept connections."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # if one of 0 to 2 was closed, a connection could get its number
    os.close(descriptor)
    options = parse_options(sys.argv[1:])
    wake = catch_signals(options.log is not None or options.accounts is not None)
    with suppress(OSError, ValueError):  # as far as allowed (LIMIT-3)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = Server(options, wake)
    server.start()
    return server


def main() -> None:
    """Run the program."""
    try:
        server = prepare()
    except OSError as error:  # no descriptors or memory left
        raise end(1, f"cannot start: {error.strerror}\n") from None
    server.run()
    log_event(server.log, "stop", addr=server.address)
    for sink in server.sinks:
        sink.finish()
    os._exit(0)  # without waiting for the workers: a hash may take seconds


if __name__ == "__main__":
    main()
