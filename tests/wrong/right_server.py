"""A small chat server that keeps all rules of PROTOCOL.md for the features that it has.

It consists of small methods, so that a wrong server can replace one of them. A single loop owns all
data: it handles input line by line, and appends replies to the outbox of each user. At the end of
each round, `settle` sends the outboxes, and drops and closes connections.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from typing import ClassVar

from wrong.accounts import Accounts, Bad, InUse, Pool, is_right
from wrong.options import CommandLine, Option, host, number, seconds
from wrong.sink import Log, Sink, standard_output

FEATURES = frozenset({"accounts", "log", "rate-limit"})
PROMPT = b"Enter your screen name: "
PASSWORD_PROMPT = b"Password: "
READ_SIZE = 64 * 1024
TCP_CLOSE_WAIT = 8  # the state of a connection after the other side has sent its end
CONSOLE = 0  # standard input
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
OUT_OF_DESCRIPTORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class User:
    """One connection."""

    def __init__(self, sock: socket.socket, address: str, deadline: float) -> None:
        self.sock = sock
        self.address = address
        self.name = b""
        self.joined = False
        self.refusals = 0
        self.claimed = b""  # the name whose password the server has asked for
        self.wrong_passwords = 0
        self.proven = (b"", b"")  # the account whose password the user has given: name and hash
        self.is_waiting = False  # for a thread; until then, no further line is handled
        self.left = inf  # seconds left to join, while it is waiting
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.allowance = 0.0  # number of lines that may be handled at once, at the time `reckoned`
        self.reckoned = 0.0  # when the allowance was computed
        self.due = inf  # when the next line may be handled, if the rate limit delays it
        self.events = selectors.EVENT_READ  # what the selector watches for
        self.deadline = deadline  # for joining; if `ending`, for the end of the connection
        self.drained = inf  # the latest time to leave after the other side has ended
        self.ending = False  # input is ignored: the outbox is sent, then our side ends
        self.ended = False  # our side has ended
        self.eof = False  # the other side has ended


class Server:
    OPTIONS: ClassVar[dict[str, Option]] = {
        "--host": Option("127.0.0.1", host),
        "--port": Option("8080", number(0, 65535)),
        "--max-clients": Option("10000", number(1)),
        "--max-queue": Option(str(1024 * 1024), number(4096)),
        "--join-timeout": Option("60", seconds),
        "--rate": Option("", number(1)),
        "--accounts": Option("", bool),
        "--members-only": Option("", is_flag=True),
        "--log": Option("", bool),
        "--quiet": Option("", is_flag=True),
    }
    MAX_LINE = 1024
    MAX_WHO_LINE = 1024
    MAX_REFUSALS = 5
    MAX_WRONG_PASSWORDS = 3
    MIN_PASSWORD = 8
    MAX_PASSWORD = 72
    MAX_HELD = 64 * 1024  # bytes of a user's unhandled input
    LINGER_SECONDS = 1.0
    DRAIN_SECONDS = 10.0
    STOP_SECONDS = 1.5
    ACCEPT_PAUSE = 0.1
    EXIT_STATUS = 0
    NAME = re.compile(rb"[A-Za-z0-9_-]{1,32}")
    RESERVED = frozenset({b"server", b"password"})
    CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
    command_line: type[CommandLine] = CommandLine
    log_type: type[Log] = Log
    accounts_type: type[Accounts] = Accounts

    def __init__(self, options: dict[str, str]) -> None:
        self.options = options
        self.rate = int(options["--rate"] or 0)  # 0: no limit
        self.log: Log | None = None
        self.accounts = self.accounts_type(options["--accounts"])
        self.members_only = bool(options["--members-only"])
        self.pool = Pool(self.wake_up)
        self.changer = Pool(self.wake_up)  # so that changes do not wait for checks
        self.changer.SIZE = 1
        self.finished: deque[Callable[[], None]] = deque()  # results of threads, for the loop
        self.output = standard_output()
        self.quiet = bool(options["--quiet"])
        self.max_queue = int(options["--max-queue"])
        self.users: dict[User, None] = {}  # a set, in the order of the connections
        self.room: dict[bytes, User] = {}  # joined users by lower-cased name
        self.dirty: set[User] = set()  # users with an outbox to send, or a connection to end
        self.pressed: set[User] = set()  # users to whom lines of others were queued
        self.console = bytearray()
        self.selector = selectors.PollSelector()
        self.accept_again = inf  # when to watch the listener again after descriptors ran out
        self.accept_fails = False  # the failure is logged already
        self.signalled = False
        self.hung_up = False  # SIGHUP has come, so the log must be reopened
        self.stopping = False
        self.commands: dict[bytes, Callable[[User, bytes], None]] = {
            b"/help": self.cmd_help,
            b"/who": self.cmd_who,
            b"/msg": self.cmd_msg,
            b"/nick": self.cmd_nick,
            b"/quit": self.cmd_quit,
        }
        if options["--accounts"]:
            self.commands |= self.account_commands()
        self.operator_commands: dict[bytes, Callable[[bytes], None]] = {
            b"/help": self.op_help,
            b"/who": self.op_who,
            b"/kick": self.op_kick,
            b"/shutdown": self.op_shutdown,
        }

    # Lines

    def next_line(self, inbox: bytearray) -> bytes | None:
        """Remove a whole line. Of a line that is too long, keep just enough to recognize it."""
        end = inbox.find(b"\n")
        if end < 0:
            del inbox[self.MAX_LINE + 2 :]
            return None
        line = bytes(inbox[:end])
        del inbox[: end + 1]
        return line.removesuffix(b"\r")

    def fault(self, line: bytes) -> bytes | None:
        if len(line) > self.MAX_LINE:
            return b"! line too long (limit 1024 bytes)"
        try:
            text = self.decode(line)
        except UnicodeDecodeError:
            return b"! not valid UTF-8"
        return b"! control characters are not allowed" if self.CONTROL.search(text) else None

    def decode(self, line: bytes) -> str:
        return line.decode()

    def is_blank(self, line: bytes) -> bool:
        return not line.strip(b" \t")

    # Speaking

    def queue(self, user: User, data: bytes) -> None:
        user.outbox += data
        self.dirty.add(user)

    def tell(self, user: User, line: bytes) -> None:
        self.queue(user, line + b"\n")

    def broadcast(self, line: bytes, but: User | None = None) -> None:
        if not self.quiet:
            self.print_line(line)
        for user in list(self.room.values()):
            if user is not but:
                self.deliver(user, line)

    def deliver(self, user: User, line: bytes) -> None:
        """Queue a line of another user; only such lines count against the limit of the queue."""
        self.tell(user, line)
        self.pressed.add(user)

    def print_line(self, line: bytes) -> None:
        self.output.put(line + b"\n")

    # The log

    def record(self, event: str, **fields: bytes | str) -> None:
        if self.log:
            texts = {k: v.decode() if isinstance(v, bytes) else v for k, v in fields.items()}
            self.log.record(event, texts)

    def open_log(self) -> None:
        if path := self.options["--log"]:
            self.log = self.log_type(path)

    def reopen_log(self) -> None:
        if not self.log:
            return
        self.watch_sink(self.log, False)
        try:
            self.log.reopen()
        except OSError as error:
            self.record("error", error=f"cannot open log {self.log.name}: {error.strerror}")

    def flush_sinks(self) -> None:
        for sink in self.sinks():
            sink.flush()
            self.watch_sink(sink, sink.is_blocked)

    def sinks(self) -> list[Sink]:
        return [self.output, *([self.log] if self.log else [])]

    def watch_sink(self, sink: Sink, waits: bool) -> None:
        with suppress(KeyError):
            self.selector.unregister(sink.descriptor)
        if waits:
            self.selector.register(sink.descriptor, selectors.EVENT_WRITE, lambda events: None)

    # Accounts

    def open_accounts(self) -> None:
        if self.options["--accounts"]:
            self.accounts.load()
            self.accounts.hold()

    def refresh_accounts(self) -> None:
        """Read the file again, after SIGHUP or a change; log an error."""
        if not self.options["--accounts"]:
            return
        try:
            self.accounts.load()
        except (OSError, Bad) as error:
            self.complain_of_accounts(accounts_error(self.accounts.path, error))

    def complain_of_accounts(self, trouble: str) -> None:
        self.record("error", error=trouble)

    def is_registered(self, name: bytes) -> bool:
        return self.key(name) in self.accounts.hashes

    def is_verified(self, user: User, name: bytes) -> bool:
        """Whether the user has given the current password of this account, or registered it."""
        hashed = self.accounts.hashes.get(self.key(name))
        return hashed is not None and user.proven == (self.key(name), hashed)

    def is_kept_out(self, name: bytes) -> bool:
        return self.members_only and not self.is_registered(name)

    def ask_password(self, user: User) -> None:
        self.queue(user, PASSWORD_PROMPT)

    def take_password(self, user: User, password: bytes) -> None:
        hashed = self.accounts.hashes.get(self.key(user.claimed), b"")
        if len(password) > self.MAX_PASSWORD:
            self.password_checked(user, hashed, False)
        else:
            work = partial(self.is_right, password, hashed)
            self.start_job(user, work, partial(self.password_checked, user, hashed))

    def is_right(self, password: bytes, hashed: bytes) -> bool:
        return is_right(password, hashed)

    def password_checked(self, user: User, hashed: bytes, right: bool) -> None:
        if right and hashed == self.accounts.hashes.get(self.key(user.claimed)):
            user.proven = self.key(user.claimed), hashed
            self.enter(user)
        else:
            self.record_refusal(user, "password", b"")
            self.refuse_password(user, b"! wrong password")

    def enter(self, user: User) -> None:
        """The password was right, but meanwhile another user may have taken the name."""
        name, user.claimed = user.claimed, b""
        if error := self.name_fault(name):
            self.record_refusal(user, "name", name)
            self.refuse(user, error)
        else:
            self.join(user, name)

    def refuse_password(self, user: User, error: bytes) -> None:
        self.tell(user, error)
        user.wrong_passwords += 1
        if user.wrong_passwords < self.MAX_WRONG_PASSWORDS:
            self.ask_password(user)
        else:
            self.tell(user, b"! too many attempts")
            self.end(user)

    def account_commands(self) -> dict[bytes, Callable[[User, bytes], None]]:
        return {
            b"/register": self.cmd_register,
            b"/passwd": self.cmd_passwd,
            b"/unregister": self.cmd_unregister,
        }

    def cmd_register(self, user: User, rest: bytes) -> None:
        password = self.password_in(rest)
        if self.is_registered(user.name):
            self.tell(user, b"! already registered: " + user.name)
        elif error := self.password_fault(password):
            self.tell(user, error)
        else:
            work = partial(self.accounts.add, user.name, password)
            self.start_change(user, work, "register")

    def cmd_passwd(self, user: User, rest: bytes) -> None:
        password = self.password_in(rest)
        if not self.is_own_account(user):
            self.tell(user, b"! not registered: " + user.name)
        elif error := self.password_fault(password):
            self.tell(user, error)
        else:
            work = partial(self.accounts.set, user.name, password, user.proven[1])
            self.start_change(user, work, "passwd")

    def cmd_unregister(self, user: User, rest: bytes) -> None:
        if not self.is_own_account(user):
            self.tell(user, b"! not registered: " + user.name)
        else:
            work = partial(self.accounts.remove, user.name, user.proven[1])
            self.start_change(user, work, "unregister")

    def start_change(self, user: User, work: Callable[[], object], what: str) -> None:
        self.run_in(self.changer, user, work, partial(self.account_changed, user, what))

    def is_own_account(self, user: User) -> bool:
        return self.is_verified(user, user.name)

    def password_in(self, rest: bytes) -> bytes:
        return rest.lstrip(b" ")

    def password_fault(self, password: bytes) -> bytes | None:
        if self.MIN_PASSWORD <= len(password) <= self.MAX_PASSWORD:
            return None
        return b"! password must be 8 to 72 bytes"

    def account_changed(self, user: User, what: str, done: bytes | Exception | None) -> None:
        """After a change: `done` is the new hash, an error, or None if the account has changed."""
        if isinstance(done, Exception):
            self.complain_of_accounts(f"cannot change accounts: {done}")
            self.tell(user, b"! accounts cannot be changed now")
        elif done is None:
            self.refresh_accounts()
            reply = b"! already registered: %s" if what == "register" else b"! not registered: %s"
            self.tell(user, reply % user.name)
        else:
            if done:
                user.proven = self.key(user.name), done
            self.refresh_accounts()
            self.record("account", name=user.name, reason=what)
            if not self.is_gone(user):
                self.tell_of_change(user, what)

    def tell_of_change(self, user: User, what: str) -> None:
        replies = {"register": b"Registered " + user.name, "unregister": b"Unregistered "}
        replies["unregister"] += user.name
        self.tell(user, replies.get(what, b"Password changed"))

    # Jobs for threads

    def start_job(self, user: User, work: Callable[[], object], then: Callable[..., None]) -> None:
        self.run_in(self.pool, user, work, then)

    def run_in(
        self, pool: Pool, user: User, work: Callable[[], object], then: Callable[..., None]
    ) -> None:
        user.is_waiting = True
        user.left = user.deadline - time.monotonic()
        user.deadline = inf
        pool.run(partial(self.do_job, user, work, then))

    def do_job(self, user: User, work: Callable[[], object], then: Callable[..., None]) -> None:
        """In a thread: pass the result to the loop."""
        try:
            found = work()
        except (OSError, Bad) as error:
            found = error
        self.finished.append(partial(self.job_done, user, then, found))

    def is_gone(self, user: User) -> bool:
        return user not in self.users or user.ending

    def job_done(self, user: User, then: Callable[..., None], found: object) -> None:
        """A change that was made counts, even if its user has gone."""
        user.is_waiting = False
        if self.is_gone(user) and isinstance(found, bytes):
            then(found)
        elif not self.is_gone(user):
            user.deadline = time.monotonic() + user.left
            then(found)
            self.take_up(user)
            self.dirty.add(user)

    # Joining and leaving

    def greet(self, user: User) -> None:
        self.queue(user, PROMPT)

    def take_name(self, user: User, name: bytes) -> None:
        if error := self.name_fault(name) or self.stranger_fault(name):
            self.record_refusal(user, "name", name)
            self.refuse(user, error)
        elif self.is_registered(name):
            user.claimed = name
            self.ask_password(user)
        else:
            self.join(user, name)

    def stranger_fault(self, name: bytes) -> bytes | None:
        return b"! name not registered: " + name if self.is_kept_out(name) else None

    def name_fault(self, name: bytes, own: bytes = b"") -> bytes | None:
        if not self.NAME.fullmatch(name):
            return b'! invalid name: use 1 to 32 letters, digits, "_" or "-"'
        key = self.key(name)
        mine = key == self.key(own) and name != own
        if not mine and (key in self.RESERVED or key in self.room):
            return b"! name in use: " + name
        return None

    def key(self, name: bytes) -> bytes:
        return name.lower()

    def record_refusal(self, user: User, reason: str, line: bytes) -> None:
        """Do not record the line itself: it may be a password."""
        self.record("refuse", addr=user.address, reason=reason)

    def refuse(self, user: User, error: bytes) -> None:
        self.tell(user, error)
        user.refusals += 1
        if user.refusals < self.MAX_REFUSALS:
            self.greet(user)
        else:
            self.tell(user, b"! too many attempts")
            self.end(user)

    def join(self, user: User, name: bytes) -> None:
        user.name, user.joined, user.deadline = name, True, inf
        self.welcome(user)
        self.broadcast(name + b" has joined the chat")
        self.room[self.key(name)] = user
        user.allowance, user.reckoned = self.rate, time.monotonic()
        self.record("join", name=name, addr=user.address)

    def welcome(self, user: User) -> None:
        words = b"Welcome, %s (%d online). Type /help for commands."
        self.tell(user, words % (user.name, len(self.room) + 1))

    def leave(self, user: User, reason: str = "") -> None:
        if user.joined:
            user.joined = False
            self.free_name(user)
            if not self.stopping:
                self.leave_notice(user)
                self.record("leave", name=user.name, addr=user.address, reason=reason)

    def free_name(self, user: User) -> None:
        del self.room[self.key(user.name)]

    def leave_notice(self, user: User) -> None:
        self.broadcast(user.name + b" has left the chat")

    # What users say

    def take_up(self, user: User) -> None:
        """Handle the whole lines that have come, while the user reads the replies."""
        while not (user.ending or user.is_waiting or self.is_held_up(user)):
            line = self.next_line(user.inbox)
            if line is None:
                break
            self.spend(user, line)
            self.handle_line(user, line)
        if user.eof and b"\n" not in user.inbox and not (user.ending or user.is_waiting):
            self.end_of_file(user)

    def is_held_up(self, user: User) -> bool:
        return self.is_stuck(user) or self.is_throttled(user)

    def is_throttled(self, user: User) -> bool:
        """Whether a whole line must wait for the rate limit, which allows bursts of one second."""
        user.due = inf
        if self.rate and user.joined and b"\n" in user.inbox:
            now = time.monotonic()
            user.allowance = self.grown(user.allowance, now - user.reckoned)
            user.reckoned = now
            if user.allowance < 1:
                self.throttle(user, now + (1 - user.allowance) / self.rate)
        return user.due < inf

    def grown(self, allowance: float, seconds: float) -> float:
        return min(self.rate, allowance + seconds * self.rate)

    def throttle(self, user: User, due: float) -> None:
        user.due = due

    def spend(self, user: User, line: bytes) -> None:
        user.allowance -= 1

    def release(self, user: User) -> None:
        """Continue after the rate limit; if the inbox is full, look for the other side's end."""
        info = user.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        if len(user.inbox) >= self.MAX_HELD and info[0] == TCP_CLOSE_WAIT:
            user.drained = min(user.drained, time.monotonic() + self.DRAIN_SECONDS)
        user.due = inf
        self.take_up(user)
        self.dirty.add(user)

    def is_stuck(self, user: User) -> bool:
        if len(user.outbox) > self.max_queue // 2:
            self.flush(user)
        return len(user.outbox) > self.max_queue // 2

    def handle_line(self, user: User, line: bytes) -> None:
        error = self.fault(line)
        if error:
            self.record_refusal(user, "line", line)
        if not user.joined:
            self.answer(user, line, error)
        elif error:
            self.tell(user, error)
        elif not self.is_blank(line):
            self.chat(user, line)

    def answer(self, user: User, line: bytes, error: bytes | None) -> None:
        """Handle the answer to a prompt."""
        if user.claimed and error:
            self.refuse_password(user, error)
        elif user.claimed:
            self.take_password(user, line)
        elif error:
            self.refuse(user, error)
        else:
            self.take_name(user, line.strip(b" \t"))

    def chat(self, user: User, line: bytes) -> None:
        if line.startswith(b"//"):
            self.say(user, line[1:])
        elif line.startswith(b"/"):
            self.command(user, line)
        else:
            self.say(user, line)

    def say(self, user: User, text: bytes) -> None:
        self.broadcast(b"%s: %s" % (user.name, text), but=user)
        self.record("message", name=user.name, text=text)

    def command(self, user: User, line: bytes) -> None:
        word, _, rest = line.partition(b" ")
        if command := self.commands.get(word.lower()):
            command(user, rest)
        else:
            self.tell(user, b"! unknown command: %s (try /help)" % word)

    def cmd_help(self, user: User, rest: bytes) -> None:
        commands = b"/help, /who, /msg NAME TEXT, /nick NAME, %s/quit" % self.account_help()
        self.tell(user, b"Commands: %s (// to begin a message with /)" % commands)

    def account_help(self) -> bytes:
        words = b"/register PASSWORD, /passwd PASSWORD, /unregister, "
        return words if self.options["--accounts"] else b""

    def cmd_who(self, user: User, rest: bytes) -> None:
        for line in self.who():
            self.tell(user, line)

    def who(self) -> list[bytes]:
        head = b"Online (%d): " % len(self.room)
        lines = [head]
        for name in self.names():
            between = b"" if lines[-1] == head else b", "
            if len(lines[-1] + between + name) > self.MAX_WHO_LINE:
                lines.append(head + name)
            else:
                lines[-1] += between + name
        return lines

    def names(self) -> list[bytes]:
        return [self.room[key].name for key in sorted(self.room)]

    def cmd_msg(self, user: User, rest: bytes) -> None:
        name, _, text = rest.lstrip(b" ").partition(b" ")
        text = text.lstrip(b" ")
        other = self.room.get(self.key(name))
        if not name or self.is_blank(text):
            self.tell(user, b"! usage: /msg NAME TEXT")
        elif not other:
            self.tell(user, b"! no such user: " + name)
        elif other is user:
            self.tell(user, b"! cannot message yourself")
        else:
            self.whisper(user, other, text)

    def whisper(self, user: User, other: User, text: bytes) -> None:
        self.deliver(other, b"(private) %s: %s" % (user.name, text))
        self.record("private", name=user.name, to=other.name)

    def cmd_nick(self, user: User, rest: bytes) -> None:
        name = rest.strip(b" \t")
        if error := self.name_fault(name, own=user.name) or self.claim_fault(user, name):
            self.tell(user, error)
        else:
            self.rename(user, name)

    def claim_fault(self, user: User, name: bytes) -> bytes | None:
        if self.is_registered(name) and not self.is_verified(user, name):
            return b"! name registered: " + name
        return self.stranger_fault(name)

    def rename(self, user: User, name: bytes) -> None:
        old = user.name
        del self.room[self.key(old)]
        user.name = name
        self.room[self.key(name)] = user
        self.broadcast(b"%s is now known as %s" % (old, name))
        self.record("rename", name=old, to=name)

    def cmd_quit(self, user: User, rest: bytes) -> None:
        self.tell(user, b"Goodbye, " + user.name)
        self.end(user, "quit")

    # The operator's console

    def read_console(self, events: int) -> None:
        try:
            data = os.read(CONSOLE, READ_SIZE)
        except OSError:
            data = b""
        if not data:
            self.end_of_console()
        self.console += data
        while not self.signalled and (line := self.next_line(self.console)) is not None:
            if error := self.fault(line):
                self.print_line(error)
            elif not self.is_blank(line):
                self.console_line(line)

    def end_of_console(self) -> None:
        self.selector.unregister(CONSOLE)

    def console_line(self, line: bytes) -> None:
        word, _, rest = line.partition(b" ")
        if not line.startswith(b"/"):
            self.announce(line)
        elif line.startswith(b"//"):
            self.announce(line[1:])
        elif command := self.operator_commands.get(word.lower()):
            command(rest)
        else:
            self.print_line(b"! unknown command: %s (try /help)" % word)

    def announce(self, text: bytes) -> None:
        self.broadcast(b"server: " + text)
        self.record("message", name="server", text=text)

    def op_help(self, rest: bytes) -> None:
        commands = b"/help, /who, /kick NAME, /shutdown"
        self.print_line(b"Commands: %s (// to begin an announcement with /)" % commands)

    def op_who(self, rest: bytes) -> None:
        for line in self.who():
            self.print_line(line)

    def op_kick(self, rest: bytes) -> None:
        name = rest.strip(b" \t")
        user = self.room.get(self.key(name))
        if not name:
            self.print_line(b"! usage: /kick NAME")
        elif not user:
            self.print_line(b"! no such user: " + name)
        else:
            self.tell(user, b"! kicked by the operator")
            self.end(user, "kick")

    def op_shutdown(self, rest: bytes) -> None:
        self.signalled = True

    # Connections

    def accept(self, events: int) -> None:
        try:
            sock, address = self.listener.accept()
        except OSError as error:
            if error.errno in OUT_OF_DESCRIPTORS:
                self.cannot_accept(error)
                self.pause_accepting()
            return
        self.accept_fails = False
        self.prepare(sock)
        deadline = time.monotonic() + float(self.options["--join-timeout"])
        user = User(sock, with_port(address), deadline)
        self.record("connect", addr=user.address)
        full = self.is_full()
        self.users[user] = None
        self.selector.register(sock, user.events, partial(self.serve, user))
        if full:
            self.record_refusal(user, "full", b"")
            self.tell(user, b"! server full")
            self.end(user)
        else:
            self.greet(user)

    def cannot_accept(self, error: OSError) -> None:
        if not self.accept_fails:
            self.accept_fails = True
            self.record("error", error=f"cannot accept: {error.strerror}")

    def pause_accepting(self) -> None:
        self.selector.unregister(self.listener)
        self.accept_again = time.monotonic() + self.ACCEPT_PAUSE

    def is_full(self) -> bool:
        return sum(not user.ended for user in self.users) >= int(self.options["--max-clients"])

    def prepare(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 120_000)

    def watch(self, user: User) -> None:
        """Read, unless enough lines wait already; write, if the outbox is not empty."""
        is_full = len(user.outbox) > self.max_queue // 2  # its end is noticed all the same
        most = self.MAX_HELD if user.due < inf or user.is_waiting or is_full else 1
        held = not user.ending and b"\n" in user.inbox and len(user.inbox) >= most
        reads = selectors.EVENT_READ if not user.eof and not held else 0
        writes = selectors.EVENT_WRITE if user.outbox else 0
        if user.events != reads | writes and user in self.users:
            user.events = reads | writes
            self.selector.modify(user.sock, user.events, partial(self.serve, user))

    def serve(self, user: User, events: int) -> None:
        if not events and user in self.users:  # poll reports a reset even if no event is watched
            self.connection_reset(user)
        if events & selectors.EVENT_READ and user in self.users:
            self.receive(user)
        self.dirty.add(user)

    def receive(self, user: User) -> None:
        try:
            data = user.sock.recv(self.room_for(user))
        except BlockingIOError:
            return
        except OSError:
            self.connection_reset(user)
            return
        if not data:
            user.eof = True
            user.drained = min(user.drained, time.monotonic() + self.DRAIN_SECONDS)
        elif not user.ending:
            self.store(user, data)
        self.take_up(user)

    def room_for(self, user: User) -> int:
        return max(1, min(READ_SIZE, self.MAX_HELD - len(user.inbox)))

    def store(self, user: User, data: bytes) -> None:
        user.inbox += data

    def end_of_file(self, user: User) -> None:
        self.end(user, "eof", user.drained)

    def connection_reset(self, user: User) -> None:
        self.drop(user, "reset")

    def flush(self, user: User) -> None:
        try:
            while user.outbox:
                del user.outbox[: user.sock.send(user.outbox)]
            if user.ending and not user.ended:
                user.ended = True
                user.deadline = min(user.deadline, time.monotonic() + self.LINGER_SECONDS)
                user.sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return
        except OSError:
            self.connection_reset(user)
            return
        if user.ended and user.eof:
            self.drop(user)

    def end(self, user: User, reason: str = "", deadline: float | None = None) -> None:
        """Send the outbox, end our side, and wait for a limited time until the other side ends."""
        self.leave(user, reason)
        user.ending = True
        user.deadline = deadline or time.monotonic() + self.DRAIN_SECONDS
        self.dirty.add(user)

    def drop(self, user: User, reason: str = "") -> None:
        if user in self.users:
            del self.users[user]
            self.leave(user, reason)
            user.ending = True
            self.selector.unregister(user.sock)
            user.sock.close()

    # The loop

    def settle(self) -> None:
        """At the end of a round: handle deadlines, send, and drop users who do not read."""
        now = time.monotonic()
        if self.accept_again <= now:
            self.accept_again = inf
            self.selector.register(self.listener, selectors.EVENT_READ, self.accept)
        for user in [user for user in self.users if min(user.deadline, user.drained) <= now]:
            self.time_up(user)
        for user in [user for user in self.users if user.due <= now]:
            self.release(user)
        while self.dirty:
            for user in take_all(self.dirty):
                if user in self.users:
                    self.flush(user)
                    self.take_up(user)
                    self.watch(user)
            for user in take_all(self.pressed):
                if self.is_too_slow(user):
                    self.drop(user, "slow")
        self.flush_sinks()

    def is_too_slow(self, user: User) -> bool:
        return len(user.outbox) > self.max_queue

    def time_up(self, user: User) -> None:
        if user.ending:
            self.drop(user)
        elif user.drained < user.deadline:  # the other side has ended long ago
            self.end_of_file(user)
        else:
            self.record_refusal(user, "timeout", b"")
            self.say_timed_out(user)
            self.end(user)

    def say_timed_out(self, user: User) -> None:
        self.tell(user, self.after_prompt(user) + b"! timed out")

    def after_prompt(self, user: User) -> bytes:
        return b"" if user.is_waiting else b"\n"

    def patience(self) -> float:
        """The seconds until the next deadline; at most an hour, since poll has a maximum."""
        times = [min(user.deadline, user.drained, user.due) for user in self.users]
        soonest = min([self.accept_again, *times])
        return max(0, min(soonest - time.monotonic(), 3600))

    def run(self) -> int:
        while self.users or not self.stopping:
            for key, events in self.selector.select(self.patience()):
                key.data(events)
            if self.hung_up:
                self.hung_up = False
                self.reopen_log()
                self.refresh_accounts()
            if self.signalled and not self.stopping:
                self.stop()
            self.settle()
        self.record("stop", addr=self.listening_on)
        for sink in self.sinks():
            sink.finish()
        return self.EXIT_STATUS

    # Start and stop

    def listen(self) -> None:
        at, port = self.options["--host"], int(self.options["--port"])
        found = socket.getaddrinfo(at, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
        self.listener = socket.socket(family, kind)
        self.reuse_address()
        self.listener.bind(address)
        self.listener.listen(4096)
        self.listener.setblocking(False)
        self.listening_on = with_port(self.listener.getsockname())
        self.selector.register(self.listener, selectors.EVENT_READ, self.accept)

    def reuse_address(self) -> None:
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def ready(self) -> None:
        self.print_line(self.ready_line().encode())

    def ready_line(self) -> str:
        return f"Listening on {self.listening_on}"

    def catch_signals(self) -> None:
        waker, wakened = socket.socketpair()
        for end in (waker, wakened):
            end.setblocking(False)
        self.waker, self.wakened = waker, wakened
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        self.selector.register(wakened, selectors.EVENT_READ, self.wake)
        for each in STOP_SIGNALS:
            if self.is_heard(each):
                signal.signal(each, self.on_signal)
        self.unblock()
        if self.options["--log"] or self.options["--accounts"]:
            signal.signal(signal.SIGHUP, self.on_hangup)
        signal.signal(signal.SIGTTIN, signal.SIG_IGN)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)

    def is_heard(self, number: int) -> bool:
        """A signal that was ignored at the start stays ignored, except SIGTERM."""
        return number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN

    def unblock(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    def wake(self, events: int) -> None:
        self.wakened.recv(READ_SIZE)
        while self.finished:
            self.finished.popleft()()

    def wake_up(self) -> None:
        """Called in a thread: wake up the loop."""
        with suppress(BlockingIOError):
            self.waker.send(b"\0")

    def on_signal(self, number: int, frame: object) -> None:
        self.signalled = True
        for each in STOP_SIGNALS:
            if signal.getsignal(each) == self.on_signal:
                signal.signal(each, signal.SIG_DFL)

    def on_hangup(self, number: int, frame: object) -> None:
        self.hung_up = True

    def stop(self) -> None:
        self.stopping = True
        self.record("shutdown", addr=self.listening_on)
        if self.accept_again == inf:
            self.selector.unregister(self.listener)
        self.accept_again = inf
        self.listener.close()
        with suppress(KeyError):
            self.selector.unregister(CONSOLE)
        self.say_farewell()
        deadline = time.monotonic() + self.STOP_SECONDS
        for user in self.users:
            if user.ending:
                user.deadline = min(user.deadline, deadline)
            else:
                self.end(user, deadline=deadline)

    def say_farewell(self) -> None:
        self.broadcast(b"Server is shutting down")
        for user in self.users:
            if not user.joined and not user.ending:
                self.tell(user, self.after_prompt(user) + b"Server is shutting down")

    @classmethod
    def main(cls, arguments: list[str]) -> int:
        command_line = cls.command_line("chat-server", cls.OPTIONS)
        options = command_line.parse(arguments)
        if options["--members-only"] and not options["--accounts"]:
            command_line.refuse("--members-only needs --accounts")
        keep_standard_files_open()
        server = cls(options)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        server.catch_signals()
        try:
            server.open_accounts()
        except InUse:
            print(
                f"cannot use accounts {options['--accounts']}: in use by another server",
                file=sys.stderr,
            )
            return 1
        except (OSError, Bad) as problem:
            print(accounts_error(options["--accounts"], problem), file=sys.stderr)
            return 1
        try:
            server.open_log()
        except OSError as error:
            print(f"cannot open log {options['--log']}: {error.strerror}", file=sys.stderr)
            return 1
        try:
            server.listen()
        except (OSError, UnicodeError) as error:  # the host may not be a valid name
            where = f"{bracketed(options['--host'])}:{options['--port']}"
            reason = getattr(error, "strerror", None) or error
            print(f"cannot listen on {where}: {reason}", file=sys.stderr)
            return 1
        server.selector.register(CONSOLE, selectors.EVENT_READ, server.read_console)
        server.record("start", addr=server.listening_on)
        server.ready()
        server.flush_sinks()
        return server.run()


def accounts_error(path: str, error: OSError | Bad) -> str:
    reason = error.strerror if isinstance(error, OSError) else error
    return f"cannot read accounts {path}: {reason}"


def take_all(users: set[User]) -> list[User]:
    taken = list(users)
    users.clear()
    return taken


def with_port(address: tuple[str, int]) -> str:
    host, port = address[:2]
    return f"{bracketed(host.removeprefix('::ffff:'))}:{port}"


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def keep_standard_files_open() -> None:
    """If a standard stream is closed, open /dev/null, so that no socket gets its number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


if __name__ == "__main__":
    sys.exit(Server.main(sys.argv[1:]))
