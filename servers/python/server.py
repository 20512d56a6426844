#!/usr/bin/env python3
"""A chat server: one room, many users, lines of text over TCP. PROTOCOL.md is its contract.

    python server.py                       listens on 127.0.0.1:8080
    python server.py --help                explains the options

The way of a message, and of the file:

    socket -> inbox -> line -> action -> the room's stream / a user's queue -> socket

What holds everywhere:

 1. Only the section "Sockets" receives from, sends to, or closes a connection.
 2. To speak is to append: to the room's stream, which all users read, or to one user's queue.
    Nothing is sent from a handler.
 3. No user is freed inside a handler: it is marked, and reaped at the end of the round.
 4. Names are unique, case aside, among those in the room.
 5. Text is bytes. It is decoded once, to be checked, and relayed as it came.
 6. Only `gate` decides whether a user's next line is taken up.

One loop, and no work for those who are silent: a round costs what was said in it. Only what takes
long, hashing passwords and writing their file, is done beside it, by the workers of accounts.py.
"""

from __future__ import annotations

import os
import resource
import selectors
import signal
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
MAX_LINE = 1024  # bytes of a line from a client, and of one of /who, the end not counted
MAX_REFUSALS = 5  # refused names on one connection; the last ends it
MAX_WRONG_PASSWORDS = 3  # on one connection; the last ends it
MIN_PASSWORD = 8  # bytes of a new password
MAX_PASSWORD = 72  # bytes of any password
MAX_INBOX = 64 * 1024  # bytes of one user's input that are held until they are taken up
LINGER_SECONDS = 1.0  # for a connection that the server ends: its queue, and its client's end
DRAIN_SECONDS = 10.0  # for one whose client has ended its side: its lines and its queue
FINISH_SECONDS = 0.5  # for what was received before a shutdown
ACCEPT_PAUSE = 0.1  # seconds without accepting, when the descriptors have run out
ACCEPT_BATCH = 64  # connections accepted in one round, so that a rush delays no user
BACKLOG = 4096  # connections that may wait to be accepted
ROUND_SIZE = 256 * 1024  # bytes taken up and said in a round, before all are sent them
LINE_WORK = 64  # what a line adds to that beyond its bytes, for the time it takes
SKIP_SIZE = 256  # empty lines that are passed in one step, at most
TICK = 0.01  # seconds at least between two sweeps
MAX_SLEEP = 3600.0  # seconds; the system takes no wait beyond some weeks
NEVER = float("inf")  # a time that does not come

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
    """Where a connection is in its life."""

    NAMING = auto()  # asked for a name
    PASSWORD = auto()  # asked for the password of the name that it gave
    CHATTING = auto()  # in the room
    LEAVING = auto()  # out of the room: its queue goes out, what still comes is discarded
    LINGERING = auto()  # our side is ended: what still comes is discarded until its side ends
    GONE = auto()  # to be reaped


class Gate(Enum):
    """Whether a user's next line is taken up now, and if not, why."""

    OPEN = auto()
    FULL = auto()  # much waits for the user: its own commands never drop it (LIMIT-6)
    THROTTLED = auto()  # it has said as much as --rate lets it (LIMIT-5)
    BUSY = auto()  # a worker has a job of its, or will have (ACCT-12)
    CLOSED = auto()  # it is leaving, or gone


class User:
    """One connection."""

    def __init__(self, sock: socket.socket, addr: str, stream: Stream) -> None:
        self.sock = sock
        self.addr = addr  # its address, for the log
        self.phase = Phase.NAMING
        self.name = b""  # or the one that it wants, while asked for its password
        self.inbox = bytearray()  # what was received, and is not taken up yet
        self.cursor = Cursor(stream)  # what waits to be sent to it
        self.refusals = 0
        self.wrong = 0  # wrong passwords
        self.proven: tuple[bytes, bytes | None] | None = None  # an account: lower name and hash
        self.job: Job | None = None  # what is done for it by a worker
        self.deadline = NEVER  # when the time for its phase is up
        self.left = 0.0  # seconds until then, while a job has set the deadline aside
        self.due = 0.0  # for --rate: when its next line may be taken up
        self.reply = 0  # bytes that its last command brought it, while they wait
        self.ended = False  # its client has ended its side
        self.events = selectors.EVENT_READ  # what the selector waits for


# ---------------------------------------------------------------------------------------------
# 3. Lines

# C0 except TAB, DEL and C1, and what breaks a line or turns its direction on the screen.
CONTROL_RANGES = ((0, 0x08), (0x0A, 0x1F), (0x7F, 0x9F), (0x2028, 0x202E), (0x2066, 0x2069))
CONTROL = {chr(code) for first, last in CONTROL_RANGES for code in range(first, last + 1)}


def take_line(inbox: bytearray) -> bytes | None:
    """Take the next whole line, without its end, or None where there is none yet."""
    end = inbox.find(b"\n")
    if end < 0:
        del inbox[MAX_LINE + 2 :]  # what is left shows that the line is too long
        return None
    line = bytes(inbox[:end])
    del inbox[: end + 1]
    return line.removesuffix(b"\r")


def skip_empty(inbox: bytearray) -> None:
    """Pass the empty lines that come next, many of them in one step."""
    ahead = inbox[:SKIP_SIZE]
    del inbox[: len(ahead) - len(ahead.lstrip(b"\n"))]


def check_line(line: bytes) -> bytes | None:
    """Say what is wrong with a line, if anything is (FRAME-4 to FRAME-6, in that order)."""
    if len(line) > MAX_LINE:
        return TOO_LONG
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return NOT_UTF8
    if text.replace("\t", "").isprintable():  # most are, and that is seen at once
        return None
    return None if CONTROL.isdisjoint(text) else HAS_CONTROL


def is_blank(text: bytes) -> bool:
    """Whether a text is empty, or only spaces and tabs."""
    return not text.strip(b" \t")


# ---------------------------------------------------------------------------------------------
# 4. Room

NAME_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
RESERVED = (b"server", b"password")


def name_is_valid(name: bytes) -> bool:
    """Whether a name is made as JOIN-2 wants it."""
    return 0 < len(name) <= MAX_NAME and not name.translate(None, NAME_BYTES)


class Server:
    """Everything: the room, those who are in it or want to be, and what connects them to it."""

    def __init__(self, options: Options, wake: int) -> None:
        self.options = options
        self.wake = wake  # descriptor that can be read once a signal has come
        self.selector = selectors.DefaultSelector()
        self.accounts = None if options.accounts is None else start_accounts(options.accounts)
        self.log = None if options.log is None else start_log(options.log, self.selector)
        self.output = open_output(self.selector)
        self.sinks = [self.output] if self.log is None else [self.log, self.output]
        self.listener = listen_on(options.host, options.port)
        self.address = show_address(*self.listener.getsockname()[:2])
        self.rate = options.rate
        self.half = options.max_queue // 2  # bytes; where more waits for a user, it adds none
        # Bytes of work, then all are sent what came of it. With more, a user who reads well could
        # be dropped, since it was given no chance to read.
        self.round_size = min(ROUND_SIZE, self.half)

        self.stream = Stream()  # what the room says
        self.news = Cursor(self.stream)  # what all are still to be sent of it
        self.news.attach()
        self.users: dict[bytes, User] = {}  # the room, by lower name
        self.connections: set[User] = set()  # all but those who are reaped
        self.lingering: set[User] = set()  # those of them that no longer count (LIMIT-2)
        self.gone: list[User] = []  # those to be reaped

        self.turns: OrderedDict[User, None] = OrderedDict()  # may have lines for us
        self.pending: set[User] = set()  # to be flushed, besides the room's news
        self.work = 0  # bytes that were taken up and said since all were last sent them
        self.now = time.monotonic()  # when the round began
        self.sweep_at = NEVER  # when the next user's time may be up
        self.accept_at = NEVER  # when to accept again, while descriptors have run out
        self.accept_fails = False  # it did at the last attempt, and that was logged
        self.stopping = False  # a signal or the operator wants it to end
        self.stop_at = NEVER  # when it does, at the latest, once the notice was sent
        self.console = bytearray()  # from standard input
        self.console_is_file = False  # a file is always ready, and selectors refuse it

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
        """Find who has a name, case aside."""
        return self.users.get(name.lower())

    def broadcast(self, line: bytes, sender: User | None = None) -> None:
        """Say a line to everyone in the room except its sender, and to the operator."""
        self.stream.append(line)
        self.work += len(line)
        if sender is not None:
            sender.cursor.skip(len(line))
        if not self.options.quiet:
            self.output.put(line)

    def tell(self, user: User, text: bytes) -> None:
        """Say something to one user alone."""
        user.cursor.insert(text)
        self.work += len(text)
        self.pending.add(user)

    def name_error(self, user: User, name: bytes) -> bytes | None:
        """Say why a user cannot have a name, if so (JOIN-2, JOIN-3, ACCT-6; for /nick too)."""
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
        """Give the hash of an account, or None where the name is none."""
        return None if self.accounts is None else self.accounts.hash_of(name)

    def has_proven(self, user: User, name: bytes) -> bool:
        """Whether a name is the account that the user has proven to be its own (ACCT-5)."""
        return user.proven == (name.lower(), self.hash_of(name))

    def enter(self, user: User, name: bytes) -> None:
        """Let a user into the room. The notice is said before it can hear: it is for the others."""
        self.broadcast(b"%s has joined the chat\n" % name)
        user.phase, user.name = Phase.CHATTING, name
        if not user.ended:
            user.deadline = NEVER
        self.users[name.lower()] = user
        user.cursor.attach()
        self.tell(user, WELCOME % (name, len(self.users)))
        log_event(self.log, "join", name=name, addr=user.addr)

    def leave(self, user: User, reason: str) -> None:
        """Take a user out of the room: its name is free, and the others hear of it."""
        del self.users[user.name.lower()]
        user.cursor.detach()
        self.broadcast(b"%s has left the chat\n" % user.name)
        log_event(self.log, "leave", name=user.name, addr=user.addr, reason=reason)

    # -----------------------------------------------------------------------------------------
    # 5. Commands

    def cmd_help(self, user: User, _rest: bytes) -> None:
        self.tell(user, HELP if self.accounts is None else ACCOUNT_HELP)

    def cmd_who(self, user: User, _rest: bytes) -> None:
        """/who: all in the room. That may be more than LIMIT-1 lets wait, and drops no one."""
        before = user.cursor.waiting
        self.tell(user, self.who_lines())
        user.reply = user.cursor.waiting - before

    def who_lines(self) -> bytes:
        """List all in the room, on as many lines as that takes (CMD-2)."""
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
        """/msg NAME TEXT: for one other user only."""
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
        """/nick NAME: another name."""
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
        """/register PASSWORD: the name becomes an account."""
        self.change_account(user, Task.REGISTER, rest.lstrip(b" "))

    def cmd_passwd(self, user: User, rest: bytes) -> None:
        """/passwd PASSWORD: another password for the account."""
        self.change_account(user, Task.PASSWD, rest.lstrip(b" "))

    def cmd_unregister(self, user: User, _rest: bytes) -> None:
        """/unregister: the name is an account no more."""
        self.change_account(user, Task.UNREGISTER, None)

    def change_account(self, user: User, task: Task, password: bytes | None) -> None:
        """Let a worker change the user's account; its next lines wait for the reply (ACCT-10)."""
        assert self.accounts is not None
        if task is Task.REGISTER and self.hash_of(user.name) is not None:
            self.tell(user, ALREADY % user.name)
        elif task is not Task.REGISTER and not self.has_proven(user, user.name):
            self.tell(user, NOT_REGISTERED % user.name)
        elif password is not None and not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            self.tell(user, BAD_PASSWORD)
        else:
            user.job = self.accounts.ask(task, user, user.name, password or b"")
            if user.job is None:  # too many changes wait (ACCT-13)
                self.tell(user, UNCHANGED)

    def account_changed(self, user: User, job: Job) -> None:
        """Tell a user what came of its /register, /passwd or /unregister."""
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
        """Whether a user's next line is taken up now, and if not, why."""
        if user.job is not None:
            return Gate.BUSY
        if user.phase is Phase.CHATTING:
            if user.cursor.waiting > self.half:
                return Gate.FULL
            return Gate.THROTTLED if self.rate and user.due > self.now else Gate.OPEN
        asked = user.phase is Phase.NAMING or user.phase is Phase.PASSWORD
        return Gate.OPEN if asked else Gate.CLOSED

    def take_up(self, user: User) -> None:
        """Act on a user's whole lines, as long as its gate is open and this round has room."""
        while (gate := self.gate(user)) is Gate.OPEN and self.work <= self.round_size:
            if user.inbox.startswith(b"\n") and user.phase is Phase.CHATTING and not self.rate:
                skip_empty(user.inbox)  # they mean nothing in the room (FRAME-7)
            line = take_line(user.inbox)
            if line is None:
                break
            self.work += len(line) + LINE_WORK
            if self.rate and user.phase is Phase.CHATTING:
                share = 1 / self.rate  # of a second; up to a second may be spent at once
                earliest = self.now - 1 + share - 1e-6  # so that rounding delays no line
                user.due = max(user.due, earliest) + share
            self.handle_line(user, line)
        self.pending.add(user)  # after its flush, `watch` decides how it goes on
        if gate is Gate.THROTTLED:
            self.sweep_at = min(self.sweep_at, user.due)
        if user.ended and gate not in (Gate.BUSY, Gate.CLOSED) and b"\n" not in user.inbox:
            self.retire(user, "eof")

    def handle_line(self, user: User, line: bytes) -> None:
        """Act on one line of a user's."""
        if user.phase is Phase.CHATTING:
            self.handle_chat(user, line)
        elif user.phase is Phase.NAMING:
            self.handle_name(user, line)
        else:
            self.handle_password(user, line)

    def handle_name(self, user: User, line: bytes) -> None:
        """Take a line as the answer to the first prompt."""
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
        """Say why a name is refused, and ask again, but not for ever (JOIN-7)."""
        user.refusals += 1
        last = user.refusals == MAX_REFUSALS
        self.refuse(user, reason, error + (TOO_MANY if last else PROMPT), last)

    def handle_password(self, user: User, line: bytes) -> None:
        """Take a line as the answer to the second prompt. It is the password as it stands."""
        error = check_line(line)
        if error is not None:
            self.refuse_password(user, error, "line")
        elif len(line) > MAX_PASSWORD or self.accounts is None:
            self.refuse_password(user, WRONG_PASSWORD, "password")
        else:
            if not user.ended:
                user.left, user.deadline = user.deadline - self.now, NEVER  # JOIN-8
            user.job = self.accounts.ask(Task.CHECK, user, user.name, line)

    def password_checked(self, user: User, job: Job) -> None:
        """Let a user in whose password was right, unless by now it cannot have the name."""
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
        """Say that a password is refused, and ask again, but not for ever (ACCT-2)."""
        user.wrong += 1
        last = user.wrong == MAX_WRONG_PASSWORDS
        self.refuse(user, reason, error + (TOO_MANY if last else PASSWORD_PROMPT), last)

    def refuse(self, user: User, reason: str, text: bytes, ends: bool = False) -> None:
        """Say and log that something is refused, which may end the connection."""
        log_event(self.log, "refuse", addr=user.addr, reason=reason)
        self.tell(user, text)
        if ends:
            self.dismiss(user)

    def handle_chat(self, user: User, line: bytes) -> None:
        """Take a line as a message or a command."""
        error = check_line(line)
        if error is not None:
            self.refuse(user, "line", error)
        elif line.startswith(b"/") and not line.startswith(b"//"):
            self.handle_command(user, line)
        elif not is_blank(line):
            text = line.removeprefix(b"/")
            self.broadcast(b"%s: %s\n" % (user.name, text), sender=user)
            log_event(self.log, "message", name=user.name, text=text)

    def handle_command(self, user: User, line: bytes) -> None:
        word, _, rest = line[1:].partition(b" ")
        command = self.commands.get(word.lower())
        if command is None:
            self.tell(user, UNKNOWN_COMMAND % word)
        else:
            command(user, rest)

    def jobs_done(self) -> None:
        """Act on what workers have done, also where the user is gone: the file has changed."""
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
        self.stopping = True

    def console_line(self, line: bytes) -> None:
        """Act on one line of the operator's: an announcement or a command."""
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
            text = line.removeprefix(b"/")
            self.broadcast(b"server: %s\n" % text)
            log_event(self.log, "message", name="server", text=text)

    def read_console(self) -> None:
        """Read from standard input, and act on the lines that have become whole."""
        try:
            data = os.read(0, MAX_LINE)
        except BlockingIOError:
            return
        except OSError:  # in the background, for one (OPER-2)
            data = b""
        if not data or self.stopping:  # go on without it
            if self.console_is_file:
                self.console_is_file = False
            else:
                self.selector.unregister(0)
        self.console += data
        while not self.stopping and (line := take_line(self.console)) is not None:
            self.console_line(line)

    # -----------------------------------------------------------------------------------------
    # 8. Sockets

    def accept_users(self) -> None:
        """Accept those who wait at the door."""
        for _ in range(ACCEPT_BATCH):
            try:
                sock, address = self.listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # out of descriptors or memory: they wait (LIMIT-3)
                if not self.accept_fails:
                    log_event(self.log, "error", error=f"cannot accept: {error.strerror}")
                self.accept_fails = True
                self.selector.modify(self.listener, 0, self.accept_users)
                self.accept_at = self.now + ACCEPT_PAUSE
                return
            self.accept_fails = False
            self.greet(sock, show_address(*address[:2]) if self.log is not None else "")

    def greet(self, sock: socket.socket, addr: str) -> None:
        """Ask a newcomer for its name, if there is room."""
        sock.setblocking(False)
        user = User(sock, addr, self.stream)
        log_event(self.log, "connect", addr=addr)
        try:
            self.selector.register(sock, user.events, user)
        except OSError as error:  # out of memory, or of what the system lets one user watch
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
        """Give a user so much time from now on."""
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
            user.inbox = user.inbox + data  # with += it would take more memory than it needs

    def flush(self, user: User) -> None:
        """Send what waits for a user in one call, and see how it stands then."""
        if user.phase is Phase.GONE:
            return
        pieces = user.cursor.pieces()
        try:
            sent = user.sock.sendmsg(pieces) if pieces else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self.drop(user, "reset")
            return
        user.cursor.advance(sent)
        left = user.cursor.waiting
        if left <= self.options.max_queue:
            user.reply = 0
        elif user.phase is Phase.CHATTING and left > self.options.max_queue + user.reply:
            self.drop(user, "slow")  # LIMIT-1
        if user.phase is Phase.LEAVING and not left:
            self.end_sending(user)
        self.watch(user)

    def watch(self, user: User) -> None:
        """Wait for what a user needs next; let one who had to pause go on with its lines."""
        if user.phase is Phase.GONE:
            return
        has_room = not user.ended and len(user.inbox) < MAX_INBOX
        events = selectors.EVENT_READ if has_room else 0
        if user.cursor.waiting:
            events |= selectors.EVENT_WRITE
        if events != user.events:
            user.events = events
            self.selector.modify(user.sock, events, user)
        if b"\n" in user.inbox and self.gate(user) is Gate.OPEN:
            self.turns[user] = None

    def dismiss(self, user: User, reason: str = "") -> None:
        """End a connection kindly: its queue goes out first (LEAVE-4)."""
        self.retire(user, reason)
        self.set_deadline(user, LINGER_SECONDS)

    def hang_up(self, user: User) -> None:
        """The client has ended its side: first come its lines and its queue (LEAVE-2)."""
        user.ended = True
        if user.phase is Phase.LINGERING:
            self.drop(user)
        elif user.phase is not Phase.LEAVING:
            self.set_deadline(user, DRAIN_SECONDS)

    def retire(self, user: User, reason: str) -> None:
        """Take a user out of the room, or from the prompt; what it still says is discarded."""
        if user.job is not None and self.accounts is not None:
            self.accounts.forget(user)
            user.job = None
        if user.phase is Phase.CHATTING:
            self.leave(user, reason)
        user.phase = Phase.LEAVING
        user.inbox.clear()
        self.pending.add(user)

    def end_sending(self, user: User) -> None:
        """End our side of a connection, now that its queue is out."""
        try:
            user.sock.shutdown(socket.SHUT_WR)
        except OSError:
            user.ended = True
        if user.ended:
            self.drop(user)
        else:
            user.phase = Phase.LINGERING
            self.lingering.add(user)

    def drop(self, user: User, reason: str = "") -> None:
        """End a connection now, whatever waits for it. One in the room has a reason."""
        if user.phase is Phase.GONE:
            return
        user.cursor.clear()
        self.retire(user, reason)
        user.phase = Phase.GONE
        self.gone.append(user)

    def reap(self) -> None:
        """Close the connections of those who are gone."""
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
        """Serve until the server is stopped and everyone is gone, or the time for that is up."""
        while self.now < self.stop_at and (self.connections or self.stop_at == NEVER):
            self.one_round()

    def one_round(self) -> None:
        """Wait for something to do, do it, and send everyone what came of it."""
        for sink in self.sinks:  # with what the last round printed and logged, in one call each
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
            if not events:  # the selector tells of a reset even where nothing is awaited
                self.drop(key.data, "reset")
        if self.console_is_file:
            self.read_console()
        self.take_turns()
        if self.stopping and self.stop_at == NEVER:
            self.stop()
        self.sweep()
        self.flush_all()
        self.reap()

    def next_timeout(self) -> float:
        """How many seconds nothing will happen of itself."""
        if self.turns or self.console_is_file:
            return 0
        next_time = min(self.sweep_at, self.accept_at, self.stop_at)
        return max(0, min(next_time - time.monotonic(), MAX_SLEEP))

    def take_turns(self) -> None:
        """Hear those who may have lines, one after the other; the rest are first next time."""
        while self.turns and self.work <= self.round_size:
            user, _ = self.turns.popitem(last=False)
            if not user.ended and len(user.inbox) < MAX_INBOX:
                self.receive(user)
            self.take_up(user)

    def flush_all(self) -> None:
        """Send to all for whom something waits: the room, if it spoke, and those in `pending`."""
        while self.pending or self.news.waiting:
            if self.news.waiting:
                self.send_news()
            users, self.pending = self.pending, set()
            for user in users:
                self.flush(user)
        self.work = 0

    def send_news(self) -> None:
        """Send its new text to all in the room who have been sent all before it.

        To them the same is to be sent: that is put together once, and takes one system call and a
        few steps for each. The others are few, and become pending.
        """
        start = self.news.at
        text = self.news.take()
        for user in self.users.values():
            sent = 0
            if user.cursor.is_at(start) and user.events == selectors.EVENT_READ:
                try:
                    sent = user.sock.send(text)
                except OSError:  # the next attempt, in flush, shows whether it is the end
                    sent = 0
            if sent == len(text):
                user.cursor.catch_up()
            else:
                user.cursor.at += sent
                self.pending.add(user)

    def sweep(self) -> None:
        """See to all whose time is up, and find out when the next one's is."""
        now = self.now
        if now >= self.accept_at:
            self.accept_at = NEVER
            self.selector.modify(self.listener, selectors.EVENT_READ, self.accept_users)
        if now < self.sweep_at:
            return
        self.sweep_at = NEVER
        for user in self.connections:
            if user.deadline <= now:
                self.time_is_up(user)
            elif user.deadline < self.sweep_at:
                self.sweep_at = user.deadline
            if self.rate and user.inbox:
                if user.due <= now:
                    self.turns[user] = None
                else:
                    self.sweep_at = min(self.sweep_at, user.due)
        self.sweep_at = max(self.sweep_at, now + TICK)

    def time_is_up(self, user: User) -> None:
        """End a connection that has had its time."""
        if user.phase in (Phase.LEAVING, Phase.LINGERING, Phase.GONE):
            self.drop(user)
        elif user.ended:  # too many lines of its own are left, or a job
            self.dismiss(user, "eof")
        else:
            self.refuse(user, "timeout", b"\n! timed out\n", ends=True)

    # -----------------------------------------------------------------------------------------
    # 10. Start and stop

    def start(self) -> None:
        """Watch all that may bring work, and say that the door is open."""
        self.selector.register(self.wake, selectors.EVENT_READ, self.heed_signals)
        self.selector.register(self.listener, selectors.EVENT_READ, self.accept_users)
        if self.accounts is not None:
            self.selector.register(self.accounts.wake, selectors.EVENT_READ, self.jobs_done)
        try:
            self.selector.register(0, selectors.EVENT_READ, self.read_console)
        except PermissionError:
            self.console_is_file = True
        log_event(self.log, "start", addr=self.address)
        self.output.put(f"Listening on {self.address}\n".encode())

    def heed_signals(self) -> None:
        """Do what the signals that came want: SIGHUP to read anew, all others the end."""
        for number in os.read(self.wake, MAX_INBOX):
            if number != signal.SIGHUP or (self.log is None and self.accounts is None):
                self.stopping = True
                continue
            if self.log is not None:
                reopen(self.log)
            if self.accounts is not None:
                self.accounts.ask(Task.RELOAD)

    def stop(self) -> None:
        """Begin the end: say so to everyone, after all that was said before, and dismiss them."""
        self.selector.unregister(self.listener)
        self.listener.close()
        self.accept_at = NEVER
        self.finish_turns()
        self.stop_at = self.now + LINGER_SECONDS
        self.broadcast(SHUTDOWN)
        log_event(self.log, "shutdown", addr=self.address)
        for user in self.connections:
            if user.phase is Phase.CHATTING:
                user.phase = Phase.LEAVING  # without leave(), so without a notice
                self.dismiss(user)
            elif user.phase in (Phase.NAMING, Phase.PASSWORD):
                self.tell(user, SHUTDOWN if user.job is not None else b"\n" + SHUTDOWN)
                self.dismiss(user)
        self.users.clear()

    def finish_turns(self) -> None:
        """Act on what was received before the signal: it comes before the notice (STOP-2)."""
        latest = time.monotonic() + FINISH_SECONDS
        self.flush_all()  # those whom this round left halfway get turns
        while self.turns and self.now < latest:
            user, _ = self.turns.popitem(last=False)
            self.take_up(user)
            self.flush_all()
            self.now = time.monotonic()


def listen_on(host: str, port: int) -> socket.socket:
    """Open the door, at the first IPv4 address that the host has, else at its first."""
    try:
        found = socket.getaddrinfo(os.fsencode(host), port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Its connections have these from it: no delay for small lines, a vanished peer is noticed.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 120_000)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        raise end(1, f"cannot listen on {show_address(host, port)}: {error.strerror}\n") from None
    listener.setblocking(False)
    return listener


def show_address(host: str, port: int) -> str:
    """Write an address as PROG-3 wants it."""
    if "." in host:
        host = host.removeprefix("::ffff:")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def catch_signals(hangup_reopens: bool) -> int:
    """Let the first signal wake the loop, and a second one end the process (STOP-5, PROG-10).

    Gives the descriptor to watch. Python writes a byte to it at once when a signal comes: a mere
    handler would run too late where the signal comes just before the loop goes to sleep.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)  # in the background, reading the terminal fails
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, restore_signals)
    if hangup_reopens:
        signal.signal(signal.SIGHUP, lambda *_: None)  # it only wakes the loop, each time
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    return reader


def restore_signals(_number: int, _frame: object) -> None:
    """Leave the next signal to the system."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is restore_signals:
            signal.signal(number, signal.SIG_DFL)


def start_log(path: str, selector: selectors.BaseSelector) -> Sink:
    """Open the log, or end the program saying why that cannot be."""
    try:
        return Sink(path, open_log(path), selector)
    except OSError as error:
        raise end(1, f"cannot open log {path}: {error.strerror}\n") from None


def start_accounts(path: str) -> Accounts:
    """Open the accounts, or end the program saying why that cannot be."""
    try:
        import bcrypt  # noqa: F401
    except ImportError:
        raise usage_error("--accounts needs the package bcrypt: pip install bcrypt") from None
    opened = open_accounts(path, name_is_valid)
    if isinstance(opened, str):
        raise end(1, f"{opened}\n")
    return opened


def main() -> None:
    """Run the program."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # of 0 to 2, some were closed: no connection may become one of them
    os.close(descriptor)
    options = parse_options(sys.argv[1:])
    wake = catch_signals(options.log is not None or options.accounts is not None)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # as far as it may be raised (LIMIT-3)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = Server(options, wake)
    server.start()
    server.run()
    log_event(server.log, "stop", addr=server.address)
    for sink in server.sinks:
        sink.finish()
    os._exit(0)  # whatever the workers do: a hash may take seconds, and nothing else is left


if __name__ == "__main__":
    main()
