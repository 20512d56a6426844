#!/usr/bin/env python3
"""A chat server: one room, many users, lines of text over TCP. PROTOCOL.md is its contract.

    python server.py                       listens on 127.0.0.1:8080
    python server.py --help                tells the rest

The way of a message, and of the file:

    socket -> inbox -> line -> action -> the room's stream / a user's queue -> socket

What holds everywhere:

 1. Only the section "Sockets" receives from, sends to, or closes a connection.
 2. To speak is to append: to the room's stream, which all users read, or to one user's queue.
    Nothing is sent from a handler.
 3. Nobody is freed inside a handler: a user is marked, and reaped at the end of the round.
 4. Names are unique, case aside, among those in the room.
 5. Text is bytes. It is decoded once, to be checked, and relayed as it came.
 6. A worker touches nothing but its job and the accounts file.

One loop, and no work for those who are silent: a round costs what was said in it. Only what takes
long, hashing passwords, is done beside it, by workers that take no time that the loop wants.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import selectors
import signal
import socket
import stat
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import Enum, auto
from functools import partial
from heapq import heappop, heappush
from io import BufferedIOBase
from itertools import chain, islice, takewhile

TYPE_CHECKING = False  # as in typing, which is slow to import
if TYPE_CHECKING:
    from queue import SimpleQueue
    from typing import NoReturn

# ---------------------------------------------------------------------------------------------
# 1. Limits
# ---------------------------------------------------------------------------------------------

VERSION = "0.1.0"
PORT = 8080
MAX_NAME = 32  # bytes of a name
MAX_LINE = 1024  # bytes of a line from a client, its end not counted
WHO_LINE = 1024  # bytes of a line of /who, its end not counted
MAX_CLIENTS = 10_000  # connections; one more is told that the server is full
MAX_QUEUE = 1024 * 1024  # bytes that may wait for one user; beyond, it is dropped
MAX_REFUSALS = 5  # refused names on one connection; the last ends it
MIN_PASSWORD = 8  # bytes of a new password
MAX_PASSWORD = 72  # bytes of a password that bcrypt heeds
MAX_WRONG_PASSWORDS = 3  # on one connection; the last ends it
HASH_COST = 10  # of new hashes: 2 ** 10 rounds, some hundredths of a second
WORKER_NICENESS = 15  # others who wake up break in, and it has a thirtieth of their share
JOIN_SECONDS = 60.0  # to give a good name, and its password
LINGER_SECONDS = 1.0  # for a connection that the server ends: its queue, and its last words
DRAIN_SECONDS = 10.0  # for one whose client has ended its side: its lines and its queue
FINISH_SECONDS = 0.5  # for what was received before a signal; a moment, but for a flood
ACCEPT_PAUSE = 0.1  # seconds without accepting, when the descriptors have run out
ACCEPT_BATCH = 64  # connections accepted in one round, so that a rush holds up nobody
TCP_CLOSE_WAIT = 8  # state of a connection that its other side has ended, as TCP_INFO has it
BACKLOG = 4096  # connections that may wait to be accepted
BLOCK_SIZE = 64 * 1024  # bytes of a block of the stream
READ_SIZE = 64 * 1024  # bytes received from one user in one go
MAX_HELD = 64 * 1024  # bytes of one user's input that wait to be taken up
MAX_PENDING = 1024 * 1024  # bytes that may wait for standard output, and for the log
PENDING_SECONDS = 0.25  # for them, before the process ends
ROUND_SIZE = 256 * 1024  # bytes taken up and said in a round, before everybody is sent them
LINE_WORK = 64  # what a line adds to that beyond its bytes, for the time it takes
SETTLE_SECONDS = 1.0  # after a change of a file: it may go on, and leave no trace in its times
LOCK_SECONDS = 2.0  # that the accounts file may stay locked by another server
LOCK_PAUSE = 0.01  # seconds between attempts to lock it
SWITCH_SECONDS = 0.0005  # that a worker may run Python while the loop waits to
MAX_SLEEP = 3600.0  # seconds; the system takes no wait beyond some weeks
MAX_PIECES = 64  # pieces of memory handed to the kernel in one call

PROMPT = b"Enter your screen name: "
PASSWORD_PROMPT = b"Password: "
SHUTDOWN = b"Server is shutting down\n"

# ---------------------------------------------------------------------------------------------
# 2. Types
# ---------------------------------------------------------------------------------------------


class Phase(Enum):
    """Where a connection is in its life."""

    NAMING = auto()  # asked for a name
    PASSWORD = auto()  # asked for the password of the name that it gave
    CHATTING = auto()  # in the room
    LEAVING = auto()  # out of the room: its queue goes out, what still comes is discarded
    LINGERING = auto()  # our side is ended: what still comes is discarded until its side ends
    GONE = auto()  # to be reaped


class Block:
    """A stretch of the stream. It links only forward, so what all have read frees itself."""

    def __init__(self, start: int) -> None:
        self.start = start  # offset in the stream of its first byte
        self.data: memoryview = memoryview(bytearray(BLOCK_SIZE))
        self.next: Block | None = None


class Splice:
    """At the offset `at` of the stream put in `text`, then leave out the next `skip` bytes."""

    def __init__(self, at: int, text: bytearray, skip: int = 0) -> None:
        self.at = at
        self.text = text
        self.skip = skip


class Sink:
    """Where lines go that must hold up nobody: what it does not take at once waits, or is lost."""

    def __init__(
        self, name: str, descriptor: int, write: Callable[[int, bytes], int] = os.write
    ) -> None:
        self.name = name
        self.descriptor = descriptor
        self.write = write  # to it; never blocks
        self.pending: bytearray = bytearray()
        self.torn: int = 0  # bytes that were written of a line whose rest waits
        self.blocked: bool = False  # it takes no more for now; the selector tells when it does
        self.lost: bool = False  # lines were lost, and that was said


class Task(Enum):
    """What a worker is to do."""

    CHECK = auto()  # whether a password is the right one
    REGISTER = auto()  # make an account
    PASSWD = auto()  # change its password
    UNREGISTER = auto()  # take it away


class Job:
    """Work for a worker, with all that it needs; what comes of it is put in here too."""

    def __init__(
        self, task: Task, user: User, name: bytes, password: bytes = b"", hash: bytes = b""
    ) -> None:
        self.task = task
        self.user = user
        self.name = name  # the account's, as the user has it
        self.password = password
        self.hash = hash  # of the right password, or of the new one
        self.right: bool = False  # CHECK: it is that one
        self.hashes: dict[bytes, bytes] | None = None  # the accounts after a change
        self.data: bytes = b""  # what the file holds then
        self.known: Held | None = None  # the file that we know: the last one, then the changed one
        self.seen: Stamp | None = None  # of the file that was to be changed
        self.refusal: bytes = b""  # what the user is told where there was no change
        self.error: str = ""  # why not, for the log


class Pool:
    """Workers of one kind. What waits only the loop knows; who is free is handed the next job."""

    todo: SimpleQueue[Job]  # to the workers; made with the first of them
    done: SimpleQueue[Job]  # from them

    def __init__(self) -> None:
        self.workers: int = 0  # threads
        self.running: int = 0  # jobs that they have
        self.waiting: OrderedDict[User, Job] = OrderedDict()  # for a worker
        self.wake: int = -1  # descriptor that can be read once a job is done


# What tells a file that was changed from what it was: device, inode, mtime, size, ctime.
Stamp = tuple[int, int, int, int, int]

# A file as it was, held open: so nobody else's new one is given its inode, and taken for it.
Held = tuple[BufferedIOBase, Stamp]


class Accounts:
    """The accounts file, as it was when it was last good."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.hashes: dict[bytes, bytes] = {}  # by lower name
        self.data: bytes = b""  # what the file held; only where that is another it is parsed anew
        self.stamp: Stamp | None = None  # of what was last read; none where it may have changed
        self.known: Held | None = None  # what was last taken over, or written by ourselves
        self.bad: tuple[Stamp | None, str] | None = None  # last found wrong, to log it once


class User:
    """One connection.

    Its queue is not stored: it is the stream from `sent` to the end, with its splices. So a
    message is kept once for all who get it, and costs its sender (who does not) one `skip`.
    """

    def __init__(self, sock: socket.socket, addr: str) -> None:
        self.sock = sock
        self.phase: Phase = Phase.NAMING
        self.name: bytes = b""  # or the one that it wants, while asked for its password
        self.inbox: bytearray = bytearray()  # received, and not yet acted on
        self.refusals: int = 0
        self.wrong: int = 0  # wrong passwords
        self.verified: frozenset[bytes] = frozenset()  # lower names whose passwords it gave or made
        self.job: Job | None = None  # what is done for it by a worker; its lines wait meanwhile
        self.block: Block | None = None  # where in the stream it reads; none outside the room
        self.sent: int = 0  # offset of the next byte of the stream to send to it
        self.splices: deque[Splice] = deque()
        self.extra: int = 0  # bytes of text in its splices, less those that they skip
        self.reply: int = 0  # bytes that the last line of its own brought it
        self.allowance: float = 0.0  # for --rate: lines it may say at once, when last reckoned
        self.reckoned: float = 0.0  # when that was
        self.due: float | None = None  # when its next line is taken up, while it is throttled
        self.addr = addr  # its address, for the log
        self.ended: bool = False  # its client has ended its side
        self.events: int = selectors.EVENT_READ  # what the selector waits for


class Options:
    """The command line."""

    def __init__(self) -> None:
        self.host: str = "127.0.0.1"
        self.port: int = PORT
        self.max_clients: int = MAX_CLIENTS
        self.max_queue: int = MAX_QUEUE
        self.join_timeout: float = JOIN_SECONDS
        self.rate: int | None = None
        self.accounts: str | None = None
        self.members_only: bool = False
        self.log: str | None = None
        self.quiet: bool = False


# Users and when their time is up. All in one queue wait equally long, so that the first is always
# the next. (A plain dict would look for its first item past all those that were removed.)
Deadlines = OrderedDict[User, float]


class Server:
    """Everything.

    A connection is in exactly one of joining, users, draining and lingering; only one of the first
    two whose client has ended its side, while lines of its own are held back, is in draining too.
    """

    def __init__(
        self,
        options: Options,
        listener: socket.socket,
        wake: int,
        address: str,
        output: Sink,
        log: Sink | None,
        accounts: Accounts | None,
    ) -> None:
        self.options = options
        self.listener = listener
        self.wake = wake  # descriptor that can be read once a signal has come
        self.address = address  # that it listens on
        self.output = output  # standard output
        self.log = log

        self.accounts = accounts
        self.hashers: Pool = Pool()
        self.clerk: Pool = Pool()  # one worker, who changes the accounts file

        self.joining: Deadlines = OrderedDict()  # NAMING, PASSWORD
        self.users: dict[bytes, User] = {}  # CHATTING: the room, by lower name
        self.draining: Deadlines = OrderedDict()  # mostly LEAVING: the client ended it
        self.lingering: Deadlines = OrderedDict()  # LEAVING, LINGERING: we ended it
        self.gone: list[User] = []  # GONE

        self.tail: Block = Block(0)  # the last block of the stream
        self.end: int = 0  # offset of the end of the stream
        self.flushed: int = 0  # the end of the stream when all were last sent it
        self.flushed_block: Block = self.tail  # where it lay then
        self.work: int = 0  # bytes that were taken up and said since then

        self.turns: OrderedDict[User, None] = OrderedDict()  # may have lines for us
        self.throttled: list[tuple[float, int, User]] = []  # a heap, by `due`
        self.pending: dict[User, None] = {}  # to be flushed, room or not
        self.console: bytearray = bytearray()  # from standard input
        self.console_is_file: bool = False  # a file is always ready, and selectors refuse it

        self.selector: selectors.BaseSelector = selectors.DefaultSelector()
        self.accept_at: float | None = None  # when to accept again, while descriptors have run out
        self.accept_fails: bool = False  # it did at the last attempt; so much is logged once
        self.stopping: bool = False  # a signal or the operator wants it to end
        self.stop_at: float | None = None  # when it does, at the latest, once all were told
        self.buffer: memoryview = memoryview(bytearray(READ_SIZE))


# ---------------------------------------------------------------------------------------------
# 3. Output to the operator
# ---------------------------------------------------------------------------------------------


def print_line(server: Server, line: bytes) -> None:
    """Put a line on standard output, at the end of the round."""
    sink_put(server, server.output, line)


def sink_put(server: Server, sink: Sink, line: bytes) -> None:
    """Put a line in a sink, whole, or lose it where too much waits there."""
    if len(sink.pending) + len(line) > MAX_PENDING and not sink.blocked:
        sink_flush(server, sink)
    if len(sink.pending) + len(line) > MAX_PENDING:
        report_loss(sink, "not read")
    else:
        sink.pending += line


def sink_flush(server: Server, sink: Sink) -> None:
    """Write what waits in a sink, as far as it is taken; an error loses it.

    But the rest of a line that was begun stays first: once the disk has room again, it is whole.
    """
    try:
        while sink.pending:
            count = sink.write(sink.descriptor, bytes(sink.pending[:BLOCK_SIZE]))
            last = sink.pending.rfind(b"\n", 0, count)
            sink.torn = sink.torn + count if last < 0 else count - last - 1
            del sink.pending[:count]
    except BlockingIOError:
        watch_sink(server, sink, True)
        return
    except OSError as error:
        mend(sink)
        del sink.pending[sink.pending.find(b"\n") + 1 if sink.torn else 0 :]
        report_loss(sink, str(error.strerror))
    watch_sink(server, sink, False)


def mend(sink: Sink) -> None:
    """Cut off a file the line that was written in part, so that it holds whole ones alone."""
    with suppress(OSError):
        file = os.fstat(sink.descriptor)
        if stat.S_ISREG(file.st_mode) and file.st_size >= sink.torn:
            os.ftruncate(sink.descriptor, file.st_size - sink.torn)
            sink.torn = 0


def watch_sink(server: Server, sink: Sink, blocked: bool) -> None:
    """Wait for a sink to take more, if it is blocked."""
    if blocked and not sink.blocked:
        handler = partial(sink_flush, sink=sink)
        server.selector.register(sink.descriptor, selectors.EVENT_WRITE, handler)
    elif sink.blocked and not blocked:
        server.selector.unregister(sink.descriptor)
    sink.blocked = blocked


def flush_sinks(server: Server) -> None:
    """Write what was said in this round, in one call for many lines."""
    for sink in (server.log, server.output):
        if sink is not None and sink.pending and not sink.blocked:
            sink_flush(server, sink)


def finish_sinks(server: Server) -> None:
    """Write what still waits before the process ends, for a moment at the most."""
    end = time.monotonic() + PENDING_SECONDS
    for sink in (server.log, server.output):
        while sink is not None and sink.blocked and (left := end - time.monotonic()) > 0:
            waiter = select.poll()
            waiter.register(sink.descriptor, select.POLLOUT)
            waiter.poll(left * 1000)
            sink_flush(server, sink)


def report_loss(sink: Sink, reason: str) -> None:
    """Say on standard error that lines are lost: once, and if that cannot be said, so be it."""
    if not sink.lost:
        sink.lost = True
        text = f"chat-server: lines for {sink.name} are lost: {reason}\n"
        with suppress(OSError):
            write_if_ready(2, os.fsencode(text))


def open_output() -> Sink:
    """Make a sink of standard output.

    A file never blocks. All else is opened anew, so as not to block: to change the descriptor that
    there is would change it for all processes that share it.
    """
    name = "standard output"
    if stat.S_ISREG(os.fstat(1).st_mode):
        return Sink(name, 1)
    try:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
        return Sink(name, os.open("/proc/self/fd/1", flags))
    except OSError:  # a socket, or a pipe or a terminal of another user's
        return Sink(name, 1, write_if_ready)


def write_if_ready(descriptor: int, data: bytes) -> int:
    """Write to a descriptor that blocks only as much as it is sure to take at once."""
    if not select.select([], [descriptor], [], 0)[1]:
        raise BlockingIOError
    return os.write(descriptor, data[: select.PIPE_BUF])


def write_all(descriptor: int, data: bytes) -> None:
    """Write to standard output or error; that it is closed or broken ends nothing."""
    with suppress(OSError):
        while data:
            data = data[os.write(descriptor, data) :]


# ---------------------------------------------------------------------------------------------
# 4. Log
# ---------------------------------------------------------------------------------------------

LEVELS = {"refuse": "WARN", "error": "ERROR"}  # of events; of all others, INFO


def log_event(server: Server, event: str, **fields: bytes | str) -> None:
    """Log an event, where there is a log, as a line of JSON (LOG-2)."""
    if server.log is None:
        return
    import json  # late, for without a log the program starts more quickly without it

    record = {"time": utc_now(), "level": LEVELS.get(event, "INFO"), "msg": event}
    for name, value in fields.items():
        record[name] = value.decode() if isinstance(value, bytes) else value
    line = json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
    sink_put(server, server.log, line.encode(errors="replace"))  # a path may hold any bytes


def utc_now() -> str:
    """Write the time as RFC 3339 does, in UTC, to the millisecond."""
    seconds, millis = divmod(time.time_ns() // 1_000_000, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{millis:03}Z"


def open_log(path: str) -> int:
    """Open the log, at its end."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY
    return os.open(path, flags, 0o600)


def reopen_log(server: Server, log: Sink) -> None:
    """Go on in a new file at the log's path: logrotate has moved the old one away."""
    sink_flush(server, log)
    try:
        descriptor = open_log(log.name)
    except OSError as error:
        log_event(server, "error", error=f"cannot open log {log.name}: {error.strerror}")
        return
    watch_sink(server, log, False)
    with suppress(OSError):  # a full disk far away may be known only now
        os.close(log.descriptor)
    log.descriptor = descriptor
    if log.torn:  # and never will be whole
        del log.pending[: log.pending.find(b"\n") + 1]
        log.torn = 0


# ---------------------------------------------------------------------------------------------
# 5. Lines
# ---------------------------------------------------------------------------------------------

TOO_LONG = b"! line too long (limit %d bytes)\n" % MAX_LINE
NOT_UTF8 = b"! not valid UTF-8\n"
HAS_CONTROL = b"! control characters are not allowed\n"

# C0 except TAB, DEL and C1, and what breaks a line or turns its direction on the screen.
CONTROL_RANGES = ((0, 0x08), (0x0A, 0x1F), (0x7F, 0x9F), (0x2028, 0x202E), (0x2066, 0x2069))
CONTROL = {chr(code) for first, last in CONTROL_RANGES for code in range(first, last + 1)}


def take_line(inbox: bytearray) -> bytes | None:
    """Take the first whole line, without its end, or None where there is none yet.

    Of a line that is too long only so much is kept as shows that it is: it cannot fill memory.
    """
    end = inbox.find(b"\n")
    if end < 0:
        del inbox[MAX_LINE + 2 :]
        return None
    line = bytes(inbox[:end])
    del inbox[: end + 1]
    return line.removesuffix(b"\r")


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
    """Tell whether a text is empty, or only spaces and tabs."""
    return not text.strip(b" \t")


# ---------------------------------------------------------------------------------------------
# 6. Queues
# ---------------------------------------------------------------------------------------------


def stream_append(server: Server, line: bytes) -> None:
    """Append a line to the stream; it may go on in a new block."""
    server.work += len(line)
    while line:
        at = server.end - server.tail.start
        if at == BLOCK_SIZE:
            server.tail.next = Block(server.end)
            server.tail = server.tail.next
            at = 0
        part = line[: BLOCK_SIZE - at]
        server.tail.data[at : at + len(part)] = part
        server.end += len(part)
        line = line[len(part) :]


def stream_skip(server: Server, user: User, length: int) -> None:
    """Leave out for a user the last `length` bytes of the stream."""
    at = server.end - length
    user.extra -= length
    if user.splices and user.splices[-1].at + user.splices[-1].skip == at:
        user.splices[-1].skip += length
    else:
        user.splices.append(Splice(at, bytearray(), length))


def queue_text(server: Server, user: User, text: bytes) -> None:
    """Put in a text for one user, after all that the room has said."""
    at = user.sent if user.block is None else server.end
    user.extra += len(text)
    server.work += len(text)
    if user.splices and user.splices[-1].at == at:  # then it cannot skip yet: the stream ends here
        user.splices[-1].text += text
    else:
        user.splices.append(Splice(at, bytearray(text)))


def behind(server: Server, user: User) -> int:
    """Count the bytes of the stream that a user keeps in memory, its own lines too."""
    return 0 if user.block is None else server.end - user.sent


def waiting(server: Server, user: User) -> int:
    """Count the bytes that wait to be sent to a user."""
    return behind(server, user) + user.extra


def pieces(server: Server, user: User) -> Iterator[memoryview]:
    """Give what waits for a user, in order, without taking it."""
    at = user.sent
    for splice in user.splices:
        yield from stream_pieces(user.block, at, splice.at)
        if splice.text:
            yield memoryview(splice.text)
        at = splice.at + splice.skip
    yield from stream_pieces(user.block, at, server.end)


def stream_pieces(block: Block | None, at: int, end: int) -> Iterator[memoryview]:
    """Give the stream from `at` to `end`; `block` is one that does not begin after `at`."""
    while block is not None and at < end:
        stop = min(end, block.start + BLOCK_SIZE)
        if at < stop:
            yield block.data[at - block.start : stop - block.start]
            at = stop
        block = block.next


def advance(user: User, count: int) -> None:
    """Move a user's place past `count` bytes that were sent, and past all that it skips there."""
    while user.splices:
        splice = user.splices[0]
        step = min(count, splice.at - user.sent)
        user.sent += step
        count -= step
        taken = min(count, len(splice.text))
        del splice.text[:taken]
        user.extra -= taken
        count -= taken
        if splice.text or user.sent < splice.at:
            break
        user.sent += splice.skip
        user.extra += splice.skip
        user.splices.popleft()
    user.sent += count
    while user.block and user.block.next and user.block.next.start <= user.sent:
        user.block = user.block.next


def attach(server: Server, user: User) -> None:
    """Let a user read the stream from here on; what waited for it comes first."""
    user.block, user.sent = server.tail, server.end
    for splice in user.splices:
        splice.at = server.end


def detach(server: Server, user: User) -> None:
    """Give a user who leaves a copy of what waits, lest it keep in memory all that follows."""
    text = bytearray(b"".join(pieces(server, user)))
    forget_queue(user)
    if text:
        user.extra = len(text)
        user.splices.append(Splice(0, text))


def forget_queue(user: User) -> None:
    """Throw away what waits for a user, and its place in the stream."""
    user.block, user.sent, user.extra = None, 0, 0
    user.splices.clear()


# ---------------------------------------------------------------------------------------------
# 7. Room
# ---------------------------------------------------------------------------------------------

NAME_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
RESERVED = (b"server", b"password")
BAD_NAME = b'! invalid name: use 1 to %d letters, digits, "_" or "-"\n' % MAX_NAME


def find(server: Server, name: bytes) -> User | None:
    """Find who has a name, case aside."""
    return server.users.get(name.lower())


def broadcast(server: Server, line: bytes, sender: User | None = None) -> None:
    """Say a line to everyone in the room but its sender, and to the operator."""
    stream_append(server, line)
    if sender is not None:
        stream_skip(server, sender, len(line))
    if not server.options.quiet:
        print_line(server, line)


def tell(server: Server, user: User, text: bytes) -> None:
    """Say something to one user alone."""
    queue_text(server, user, text)
    server.pending[user] = None


def name_is_valid(name: bytes) -> bool:
    """Tell whether a name is made as JOIN-2 wants it."""
    return 0 < len(name) <= MAX_NAME and not name.translate(None, NAME_BYTES)


def name_error(server: Server, user: User, name: bytes) -> bytes | None:
    """Say why a user cannot have a name, if so (JOIN-2, JOIN-3, ACCT-3; for /nick too)."""
    if not name_is_valid(name):
        return BAD_NAME
    owner = find(server, name)
    recased = owner is user and name != user.name
    if name.lower() in RESERVED or (owner is not None and not recased):
        return b"! name in use: %s\n" % name
    if server.options.members_only and not is_registered(server, name):
        return b"! name not registered: %s\n" % name
    return None


def enter(server: Server, user: User, name: bytes) -> None:
    """Let a user into the room. The notice is said before it can hear: it is for the others."""
    broadcast(server, b"%s has joined the chat\n" % name)
    del server.joining[user]
    user.phase, user.name = Phase.CHATTING, name
    user.allowance = server.options.rate or 0
    user.reckoned = time.monotonic()
    server.users[name.lower()] = user
    attach(server, user)
    text = b"Welcome, %s (%d online). Type /help for commands.\n"
    tell(server, user, text % (name, len(server.users)))
    log_event(server, "join", name=name, addr=user.addr)


def leave(server: Server, user: User, reason: str) -> None:
    """Take a user out of the room: its name is free, and the others are told."""
    del server.users[user.name.lower()]
    detach(server, user)
    broadcast(server, b"%s has left the chat\n" % user.name)
    log_event(server, "leave", name=user.name, addr=user.addr, reason=reason)


# ---------------------------------------------------------------------------------------------
# 8. Accounts
# ---------------------------------------------------------------------------------------------

# The file: read by the loop when a name is given, changed by workers.

HASH = rb"\$2[aby]\$(0[4-9]|1[0-7])\$[./A-Za-z0-9]{53}"
ALREADY = b"! already registered: %s\n"
NOT_REGISTERED = b"! not registered: %s\n"
UNCHANGED = b"! accounts cannot be changed now\n"
IN_USE = "somebody else is changing it"


class BadAccounts(OSError):
    """What the file holds cannot be used; that is told as the system's errors are."""

    def __init__(self, reason: str) -> None:
        super().__init__(0, reason)


def parse_accounts(data: bytes) -> dict[bytes, bytes]:
    """Read the accounts from what the file holds (ACCT-1)."""
    hashes: dict[bytes, bytes] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        if line and not line.startswith(b"#"):
            name, colon, secret = line.partition(b":")
            problem = account_problem(hashes, name, secret) if colon else "not NAME:HASH"
            if problem is not None:
                raise BadAccounts(f"line {number}: {problem}")
            hashes[name.lower()] = secret
    return hashes


def account_problem(hashes: dict[bytes, bytes], name: bytes, secret: bytes) -> str | None:
    """Say what is wrong with a line of the file, if anything is."""
    import re  # late, for without accounts the program starts more quickly without it

    if not name_is_valid(name):
        return "invalid name"
    if not re.fullmatch(HASH, secret):
        return "not a bcrypt hash"
    return "name given twice" if name.lower() in hashes else None


def open_accounts(path: str) -> BufferedIOBase:
    """Open the file; were it a pipe, that must not wait until somebody writes to it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadAccounts("not a regular file")
    return os.fdopen(descriptor, "rb")


def load_accounts(accounts: Accounts, at_start: bool = False) -> set[bytes]:
    """Read the file, good or bad, once nobody is at it. Gives what names are gone.

    At the start it is read as it is; what has changed only just now is read again later.
    """
    file = open_accounts(accounts.path)
    found = os.fstat(file.fileno())
    data = file.read()
    settled = is_settled(found) and stamp_of(found) == stamp_of(os.fstat(file.fileno()))
    if not settled and not at_start:
        return set()
    accounts.stamp = stamp_of(found) if settled else None
    hashes = accounts.hashes if data == accounts.data else parse_accounts(data)
    accounts.known, accounts.bad = (file, stamp_of(found)), None
    return replace_accounts(accounts, hashes, data)


def replace_accounts(accounts: Accounts, hashes: dict[bytes, bytes], data: bytes) -> set[bytes]:
    """Put other accounts in the place of those that there were. Gives what names are gone."""
    gone = accounts.hashes.keys() - hashes.keys()
    accounts.hashes, accounts.data = hashes, data
    return gone


def stamp_of(file: os.stat_result) -> Stamp:
    """Give the stamp of a file: another change to it gives another one."""
    return file.st_dev, file.st_ino, file.st_mtime_ns, file.st_size, file.st_ctime_ns


def is_settled(file: os.stat_result) -> bool:
    """Tell whether a file is not just being changed. (A time yet to come tells nothing of that.)

    htpasswd writes into the file, and half of it may look like a good one.
    """
    return not 0 <= time.time_ns() - file.st_ctime_ns < SETTLE_SECONDS * 1e9


def is_being_written(known: Held | None, found: os.stat_result) -> bool:
    """Tell whether the file that we know was written into just now. Another mode is no matter."""
    if known is None or is_settled(found):
        return False
    before, now = known[1], stamp_of(found)
    return before[:2] == now[:2] and before[:4] != now[:4]


def refresh_accounts(server: Server) -> None:
    """Read the accounts anew where the file has changed; has it gone bad, the old ones hold."""
    accounts = server.accounts
    if accounts is None:
        return
    stamp = None
    try:
        found = os.stat(accounts.path)
        stamp = stamp_of(found)
        if stamp != accounts.stamp and is_settled(found):
            forget_verified(server, load_accounts(accounts))
    except OSError as error:
        text = unreadable(accounts.path, error)
        log_bad_accounts(server, (stamp, str(error.strerror)), text)


def log_bad_accounts(server: Server, bad: tuple[Stamp | None, str], text: str) -> None:
    """Log what is wrong with the file, once for each state of it."""
    if server.accounts is not None and server.accounts.bad != bad:
        server.accounts.bad = bad
        log_event(server, "error", error=text)


def forget_verified(server: Server, gone: set[bytes]) -> None:
    """See to it that a password given for an account that is gone opens no later one."""
    if gone:
        for user in chain(server.joining, server.users.values()):
            user.verified -= gone


def unreadable(path: str, error: OSError) -> str:
    """Say why the accounts cannot be read."""
    return f"cannot read accounts {path}: {error.strerror}"


def is_registered(server: Server, name: bytes) -> bool:
    """Tell whether a name is an account."""
    return server.accounts is not None and name.lower() in server.accounts.hashes


def owns_account(server: Server, user: User) -> bool:
    """Tell whether a user's name is an account, and the user has shown that it is its own."""
    return is_registered(server, user.name) and user.name.lower() in user.verified


def change_accounts(path: str, job: Job) -> None:
    """Make, change or take away one account in the file, in one step (ACCT-5).

    The lock is for other servers; in this one the clerk alone changes the file.
    """
    path = os.path.realpath(path)
    job.seen = stamp_of(os.stat(path))
    with lock_accounts(path) as file:
        found = os.fstat(file.fileno())
        job.seen = stamp_of(found)
        if is_being_written(job.known, found):
            raise BadAccounts(IN_USE)
        data = file.read()
        if (job.name.lower() in parse_accounts(data)) is (job.task is Task.REGISTER):
            job.refusal = (ALREADY if job.task is Task.REGISTER else NOT_REGISTERED) % job.name
            return
        data = edit_accounts(data, job.name, job.hash)
        job.known = replace_file(path, job.seen, data)
    job.hashes, job.data = parse_accounts(data), data


def lock_accounts(path: str) -> BufferedIOBase:
    """Open the file as the only one who may change it: anew, if meanwhile it was replaced."""
    end = time.monotonic() + LOCK_SECONDS
    while True:
        file = open_accounts(path)
        if lock(file) and os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
            return file
        file.close()
        if time.monotonic() >= end:
            raise BadAccounts(IN_USE)
        time.sleep(LOCK_PAUSE)


def lock(file: BufferedIOBase) -> bool:
    """Lock a file, unless somebody else has."""
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def edit_accounts(data: bytes, name: bytes, secret: bytes) -> bytes:
    """Give a name another hash, or none; all other lines stay as they are, in their order."""
    lines = data.removesuffix(b"\n").split(b"\n") if data else []
    for at, line in enumerate(lines):
        owner, _, _ = line.partition(b":")
        if owner.lower() == name.lower():
            lines[at : at + 1] = [owner + b":" + secret] if secret else []
            break
    else:
        lines.append(name + b":" + secret)
    return b"".join(line + b"\n" for line in lines)


def replace_file(path: str, old: Stamp, data: bytes) -> Held:
    """Write a file beside the old one, and put it in its place once it is on the disk."""
    new = path + ".new"
    with suppress(FileNotFoundError):  # left over from a crash
        os.unlink(new)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        file = os.fdopen(os.open(new, flags, 0o600), "wb")
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        if stamp_of(os.stat(path)) != old:  # by one who does not heed the lock
            raise BadAccounts(IN_USE)
        os.rename(new, path)
    except OSError:
        with suppress(OSError):
            os.unlink(new)
        raise
    with suppress(OSError):  # it is in place; were it said to have failed, that would be wrong
        sync_folder(os.path.dirname(path))
    return file, stamp_of(os.fstat(file.fileno()))


def sync_folder(path: str) -> None:
    """Flush to the disk which names a folder has."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# The work pool: what takes long is done by workers, for one connection one job at a time. Hashing
# and writing have workers of their own. Those who hash give way to everybody, and hold the
# interpreter, which the loop may wait for, only for moments; the clerk does not give way: he may
# hold it longer. He may wait for a lock or a disk without holding up a check.


def start_workers(server: Server, path: str) -> None:
    """Start as many hashers as there are processors for this process, and the clerk."""
    sys.setswitchinterval(SWITCH_SECONDS)
    for _ in os.sched_getaffinity(0):
        start_worker(server, server.hashers, hash_passwords)
    start_worker(server, server.clerk, partial(keep_accounts, path))


def start_worker(server: Server, pool: Pool, task: Callable[[Pool], None]) -> None:
    """Start one worker; the first one makes the pool one that wakes the loop."""
    import threading  # late, for without accounts the program starts more quickly without them
    from queue import SimpleQueue

    if not pool.workers:
        pool.todo, pool.done = SimpleQueue(), SimpleQueue()
        pool.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        server.selector.register(pool.wake, selectors.EVENT_READ, partial(finish_jobs, pool=pool))
    try:
        threading.Thread(target=task, args=(pool,), daemon=True).start()
    except RuntimeError as error:
        fail(1, f"cannot start workers: {error}\n")
    pool.workers += 1


def hash_passwords(pool: Pool) -> None:
    """Hash for whoever waits; whoever else wakes up takes the processor first."""
    os.nice(WORKER_NICENESS)  # of this thread alone
    work(pool, hash_password)


def keep_accounts(path: str, pool: Pool) -> None:
    """Change the accounts file for whoever waits."""
    work(pool, partial(change_accounts, path))


def work(pool: Pool, do: Callable[[Job], None]) -> NoReturn:
    """Do one job after the other. Nothing but its outcome comes of an error in one."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        job = pool.todo.get()
        try:
            do(job)
        except Exception as error:
            job.refusal = UNCHANGED
            job.error = str(error.strerror if isinstance(error, OSError) else error)
        job.password = b""  # it is kept no longer than it is needed
        pool.done.put(job)
        os.eventfd_write(pool.wake, 1)


def hash_password(job: Job) -> None:
    """Check a password, or hash a new one as `htpasswd -B` does: it calls `$2b$` `$2y$`."""
    import bcrypt

    if job.task is Task.CHECK:
        with suppress(ValueError):  # a hash that no password has
            job.right = bcrypt.checkpw(job.password, job.hash)
    else:
        secret = bcrypt.hashpw(job.password, bcrypt.gensalt(HASH_COST))
        job.hash = b"$2y$" + secret.removeprefix(b"$2b$")


def start_job(server: Server, job: Job) -> None:
    """Let a job be done when its turn has come; the user's next lines wait for it."""
    job.user.job = job
    enqueue(server, server.clerk if job.task is Task.UNREGISTER else server.hashers, job)


def enqueue(server: Server, pool: Pool, job: Job) -> None:
    """Put a job behind all others."""
    pool.waiting[job.user] = job
    hand_out_jobs(server, pool)


def hand_out_jobs(server: Server, pool: Pool) -> None:
    """Give the workers that are free the jobs that have waited longest."""
    while pool.waiting and pool.running < pool.workers:
        _, job = pool.waiting.popitem(last=False)
        job.known = server.accounts.known if server.accounts is not None else None
        pool.running += 1
        pool.todo.put(job)


def finish_jobs(server: Server, pool: Pool) -> None:
    """Take the jobs that are done back from their workers; for a new hash the clerk is next."""
    os.eventfd_read(pool.wake)
    while not pool.done.empty():
        job = pool.done.get()
        pool.running -= 1
        if pool is server.clerk or job.task is Task.CHECK or job.error:
            finish_job(server, job)
        elif job.user.job is job:
            enqueue(server, server.clerk, job)
    hand_out_jobs(server, pool)


def finish_job(server: Server, job: Job) -> None:
    """Act on what came of a job. Its user may be gone: then the file alone has changed."""
    user = job.user
    if job.task is not Task.CHECK:
        note_change(server, job)
    if user.job is not job:
        return
    user.job = None
    before = user.extra
    if job.task is Task.CHECK:
        password_checked(server, job)
    else:
        account_changed(server, job)
    user.reply = max(0, user.extra - before)
    hear_again(server, user)


def forget_job(server: Server, user: User) -> None:
    """Forget a user's job; if a worker has it already, its outcome is for nobody."""
    if user.job is not None:
        server.hashers.waiting.pop(user, None)
        server.clerk.waiting.pop(user, None)
        user.job = None


def note_change(server: Server, job: Job) -> None:
    """Take over the accounts as a worker left them, and log what it did or could not do."""
    accounts = server.accounts
    if job.hashes is not None and accounts is not None:
        forget_verified(server, replace_accounts(accounts, job.hashes, job.data))
        accounts.stamp = None  # it may have changed again since
        accounts.known, accounts.bad = job.known, None
        log_event(server, "account", name=job.name, reason=job.task.name.lower())
    elif job.error:
        text = f"cannot change accounts {server.options.accounts}: {job.error}"
        log_bad_accounts(server, (job.seen, job.error), text)


# ---------------------------------------------------------------------------------------------
# 9. Commands
# ---------------------------------------------------------------------------------------------

HELP = b"Commands: /help, /who, /msg NAME TEXT, /nick NAME, /quit (// to begin a message with /)\n"
ACCOUNT_HELP = HELP.replace(b"/quit", b"/register PASSWORD, /passwd PASSWORD, /unregister, /quit")


def cmd_help(server: Server, user: User, _rest: bytes) -> None:
    """/help: the commands."""
    tell(server, user, HELP if server.accounts is None else ACCOUNT_HELP)


def cmd_who(server: Server, user: User, _rest: bytes) -> None:
    """/who: all in the room."""
    tell(server, user, who_lines(server))


def who_lines(server: Server) -> bytes:
    """List all in the room, on as many lines as that takes (CMD-2)."""
    head = b"Online (%d): " % len(server.users)
    lines = [head]
    for _, user in sorted(server.users.items()):
        if lines[-1] is head:
            lines[-1] = head + user.name
        elif len(lines[-1]) + len(b", ") + len(user.name) <= WHO_LINE:
            lines[-1] += b", " + user.name
        else:
            lines.append(head + user.name)
    return b"\n".join(lines) + b"\n"


def cmd_msg(server: Server, user: User, rest: bytes) -> None:
    """/msg NAME TEXT: for one other user only."""
    name, _, text = rest.lstrip(b" ").partition(b" ")
    text = text.lstrip(b" ")
    other = find(server, name)
    if not name or is_blank(text):
        tell(server, user, b"! usage: /msg NAME TEXT\n")
    elif other is None:
        tell(server, user, b"! no such user: %s\n" % name)
    elif other is user:
        tell(server, user, b"! cannot message yourself\n")
    else:
        tell(server, other, b"(private) %s: %s\n" % (user.name, text))
        log_event(server, "private", name=user.name, to=other.name)


def cmd_nick(server: Server, user: User, rest: bytes) -> None:
    """/nick NAME: another name."""
    name = rest.strip(b" \t")
    refresh_accounts(server)
    error = name_error(server, user, name)
    if error is None and is_registered(server, name) and name.lower() not in user.verified:
        error = b"! name registered: %s\n" % name
    if error is not None:
        tell(server, user, error)
        return
    del server.users[user.name.lower()]
    server.users[name.lower()] = user
    broadcast(server, b"%s is now known as %s\n" % (user.name, name))
    log_event(server, "rename", name=user.name, to=name)
    user.name = name


def cmd_register(server: Server, user: User, rest: bytes) -> None:
    """/register PASSWORD: the name becomes an account."""
    refresh_accounts(server)
    if is_registered(server, user.name):
        tell(server, user, ALREADY % user.name)
    else:
        set_password(server, user, Task.REGISTER, rest)


def cmd_passwd(server: Server, user: User, rest: bytes) -> None:
    """/passwd PASSWORD: another password for the account."""
    refresh_accounts(server)
    if not owns_account(server, user):
        tell(server, user, NOT_REGISTERED % user.name)
    else:
        set_password(server, user, Task.PASSWD, rest)


def set_password(server: Server, user: User, task: Task, rest: bytes) -> None:
    """Let a worker hash the password that follows a command, and put it in the file."""
    password = rest.lstrip(b" ")
    if MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        start_job(server, Job(task, user, user.name, password))
    else:
        text = b"! password must be %d to %d bytes\n"
        tell(server, user, text % (MIN_PASSWORD, MAX_PASSWORD))


def cmd_unregister(server: Server, user: User, _rest: bytes) -> None:
    """/unregister: the name is an account no more."""
    refresh_accounts(server)
    if not owns_account(server, user):
        tell(server, user, NOT_REGISTERED % user.name)
    else:
        start_job(server, Job(Task.UNREGISTER, user, user.name))


def account_changed(server: Server, job: Job) -> None:
    """Tell a user what came of its /register, /passwd or /unregister."""
    user = job.user
    if job.hashes is None:
        tell(server, user, job.refusal)
    elif job.task is Task.REGISTER:
        user.verified |= {job.name.lower()}
        tell(server, user, b"Registered %s\n" % job.name)
    elif job.task is Task.PASSWD:
        tell(server, user, b"Password changed\n")
    else:
        tell(server, user, b"Unregistered %s\n" % job.name)


def cmd_quit(server: Server, user: User, _rest: bytes) -> None:
    """/quit: the end."""
    tell(server, user, b"Goodbye, %s\n" % user.name)
    dismiss(server, user, "quit")


COMMANDS: dict[bytes, Callable[[Server, User, bytes], None]] = {
    b"help": cmd_help,
    b"who": cmd_who,
    b"msg": cmd_msg,
    b"nick": cmd_nick,
    b"quit": cmd_quit,
}

ACCOUNT_COMMANDS: dict[bytes, Callable[[Server, User, bytes], None]] = {
    b"register": cmd_register,
    b"passwd": cmd_passwd,
    b"unregister": cmd_unregister,
}


def split_command(line: bytes) -> tuple[bytes, bytes]:
    """Split `/WORD REST` into WORD and REST."""
    word, _, rest = line[1:].partition(b" ")
    return word, rest


def unknown_command(word: bytes) -> bytes:
    """Say that there is no such command."""
    return b"! unknown command: /%s (try /help)\n" % word


# ---------------------------------------------------------------------------------------------
# 10. Lines to actions
# ---------------------------------------------------------------------------------------------

TOO_MANY = b"! too many attempts\n"
WRONG = b"! wrong password\n"


def handle_line(server: Server, user: User, line: bytes) -> None:
    """Act on one line of a user's."""
    if user.phase is Phase.NAMING:
        handle_name(server, user, line)
    elif user.phase is Phase.PASSWORD:
        handle_password(server, user, line)
    else:
        handle_chat(server, user, line)


def handle_name(server: Server, user: User, line: bytes) -> None:
    """Take a line as the answer to the first prompt."""
    name = line.strip(b" \t")
    refresh_accounts(server)
    bad_line = check_line(line)
    error = bad_line or name_error(server, user, name)
    if error is not None:
        log_event(server, "refuse", addr=user.addr, reason="line" if bad_line else "name")
        refuse_name(server, user, error)
    elif is_registered(server, name):
        user.phase, user.name = Phase.PASSWORD, name
        tell(server, user, PASSWORD_PROMPT)
    else:
        enter(server, user, name)


def refuse_name(server: Server, user: User, error: bytes) -> None:
    """Say why a name will not do, and ask again, but not for ever (JOIN-7)."""
    user.refusals += 1
    if user.refusals < MAX_REFUSALS:
        tell(server, user, error + PROMPT)
    else:
        tell(server, user, error + TOO_MANY)
        dismiss(server, user)


def handle_password(server: Server, user: User, line: bytes) -> None:
    """Take a line as the answer to the second prompt. It is the password as it stands."""
    accounts = server.accounts
    secret = accounts.hashes.get(user.name.lower()) if accounts is not None else None
    error = check_line(line)
    if error is not None:
        refuse_password(server, user, error, "line")
    elif len(line) > MAX_PASSWORD or secret is None:  # none: the account is gone meanwhile
        refuse_password(server, user, WRONG, "password")
    else:
        start_job(server, Job(Task.CHECK, user, user.name, line, secret))


def password_checked(server: Server, job: Job) -> None:
    """Let a user in whose password was right, unless meanwhile it cannot have the name."""
    user, accounts = job.user, server.accounts
    secret = accounts.hashes.get(job.name.lower()) if accounts is not None else None
    if not job.right or secret != job.hash:  # another: what was checked is not the account's now
        refuse_password(server, user, WRONG, "password")
        return
    user.verified |= {job.name.lower()}
    error = name_error(server, user, job.name)
    if error is None:
        enter(server, user, job.name)
    else:
        user.phase = Phase.NAMING
        log_event(server, "refuse", addr=user.addr, reason="name")
        refuse_name(server, user, error)


def refuse_password(server: Server, user: User, error: bytes, reason: str) -> None:
    """Say that a password will not do, and ask again, but not for ever (ACCT-2)."""
    log_event(server, "refuse", addr=user.addr, reason=reason)
    user.wrong += 1
    if user.wrong < MAX_WRONG_PASSWORDS:
        tell(server, user, error + PASSWORD_PROMPT)
    else:
        tell(server, user, error + TOO_MANY)
        dismiss(server, user)


def handle_chat(server: Server, user: User, line: bytes) -> None:
    """Take a line as a message or a command."""
    error = check_line(line)
    if error is not None:
        log_event(server, "refuse", addr=user.addr, reason="line")
        tell(server, user, error)
    elif line.startswith(b"/") and not line.startswith(b"//"):
        handle_command(server, user, line)
    elif not is_blank(line):
        text = line[1:] if line.startswith(b"//") else line
        broadcast(server, b"%s: %s\n" % (user.name, text), sender=user)
        log_event(server, "message", name=user.name, text=text)


def handle_command(server: Server, user: User, line: bytes) -> None:
    """Carry out a command."""
    word, rest = split_command(line)
    command = COMMANDS.get(word.lower())
    if command is None and server.accounts is not None:
        command = ACCOUNT_COMMANDS.get(word.lower())
    if command is None:
        tell(server, user, unknown_command(word))
    else:
        command(server, user, rest)


def take_up(server: Server, user: User) -> None:
    """Act on a user's whole lines, while it and this round can bear what comes of them."""
    while may_speak(server, user) and not round_is_full(server):
        if user.job is not None or is_throttled(server, user):
            break
        line = take_line(user.inbox)
        if line is None:
            if user.ended:
                hang_up(server, user)
            return
        before = user.extra
        user.allowance -= 1
        server.work += len(line) + LINE_WORK
        handle_line(server, user, line)
        user.reply = max(0, user.extra - before)
    if may_speak(server, user) and not is_held(user):
        server.turns[user] = None
        server.turns.move_to_end(user, last=False)  # so that no more than one user waits halfway
    else:
        server.pending[user] = None  # after its flush it is seen whether it may go on


def may_speak(server: Server, user: User) -> bool:
    """Tell whether a user's lines are taken up.

    They are not while much waits for it: its own commands shall not drop it (LIMIT-1), and a user
    who does not read, but floods, shall not keep the stream in memory.
    """
    if user.phase in (Phase.NAMING, Phase.PASSWORD):
        return True
    half = server.options.max_queue // 2
    return (
        user.phase is Phase.CHATTING
        and waiting(server, user) <= half
        and behind(server, user) <= half
    )


def is_held(user: User) -> bool:
    """Tell whether a user's lines wait, for their turn or for a worker."""
    return user.due is not None or user.job is not None


def is_throttled(server: Server, user: User) -> bool:
    """Tell whether a user's next line waits for its turn; if so, see to it that it comes (LIMIT-5).

    A full allowance is that of one second; what is taken up is taken off, and grows again.
    """
    rate = server.options.rate
    if rate is None or user.phase is not Phase.CHATTING:
        return False
    if user.due is None:
        now = time.monotonic()
        user.allowance = min(rate, user.allowance + (now - user.reckoned) * rate)
        user.reckoned = now
        if user.allowance < 1 and b"\n" in user.inbox:
            user.due = now + (1 - user.allowance) / rate
            heappush(server.throttled, (user.due, id(user), user))
    return user.due is not None


def release_throttled(server: Server, now: float) -> None:
    """Hear again those whose next line is due."""
    while server.throttled and server.throttled[0][0] <= now:
        _, _, user = heappop(server.throttled)
        user.due = None
        hear_again(server, user)


def hear_again(server: Server, user: User) -> None:
    """Hear a user whose lines were held."""
    server.turns[user] = None
    if len(user.inbox) >= MAX_HELD:
        server.pending[user] = None  # after its flush more is received
        expect_end(server, user)


def round_is_full(server: Server) -> bool:
    """Tell whether this round has had its share of work, so that all must first be sent it.

    Without that one who reads well could be dropped, for having been given no chance to.
    """
    return server.work > min(ROUND_SIZE, server.options.max_queue // 2)


# ---------------------------------------------------------------------------------------------
# 11. Console
# ---------------------------------------------------------------------------------------------

OP_HELP = b"Commands: /help, /who, /kick NAME, /shutdown (// to begin an announcement with /)\n"


def op_help(server: Server, _rest: bytes) -> None:
    """/help: the operator's commands."""
    print_line(server, OP_HELP)


def op_who(server: Server, _rest: bytes) -> None:
    """/who: all in the room."""
    for line in who_lines(server).splitlines(keepends=True):
        print_line(server, line)


def op_kick(server: Server, rest: bytes) -> None:
    """/kick NAME: someone has to go."""
    name = rest.strip(b" \t")
    user = find(server, name)
    if not name:
        print_line(server, b"! usage: /kick NAME\n")
    elif user is None:
        print_line(server, b"! no such user: %s\n" % name)
    else:
        tell(server, user, b"! kicked by the operator\n")
        dismiss(server, user, "kick")


def op_shutdown(server: Server, _rest: bytes) -> None:
    """/shutdown: the end for all."""
    server.stopping = True


OP_COMMANDS: dict[bytes, Callable[[Server, bytes], None]] = {
    b"help": op_help,
    b"who": op_who,
    b"kick": op_kick,
    b"shutdown": op_shutdown,
}


def console_line(server: Server, line: bytes) -> None:
    """Act on one line of the operator's: an announcement or a command."""
    error = check_line(line)
    if error is not None:
        print_line(server, error)
    elif line.startswith(b"/") and not line.startswith(b"//"):
        console_command(server, line)
    elif not is_blank(line):
        text = line[1:] if line.startswith(b"//") else line
        broadcast(server, b"server: %s\n" % text)
        log_event(server, "message", name="server", text=text)


def console_command(server: Server, line: bytes) -> None:
    """Carry out a command of the operator's."""
    word, rest = split_command(line)
    command = OP_COMMANDS.get(word.lower())
    if command is None:
        print_line(server, unknown_command(word))
    else:
        command(server, rest)


def open_console(server: Server) -> None:
    """Listen to standard input too."""
    try:
        server.selector.register(0, selectors.EVENT_READ, read_console)
    except PermissionError:
        server.console_is_file = True


def read_console(server: Server) -> None:
    """Read from standard input, and act on the lines that have become whole."""
    try:
        data = os.read(0, MAX_LINE)
    except BlockingIOError:
        return
    except OSError:
        data = b""
    if not data:
        close_console(server)
    server.console += data
    while not server.stopping and (line := take_line(server.console)) is not None:
        console_line(server, line)


def close_console(server: Server) -> None:
    """Go on without standard input."""
    if server.console_is_file:
        server.console_is_file = False
    elif 0 in server.selector.get_map():
        server.selector.unregister(0)


# ---------------------------------------------------------------------------------------------
# 12. Sockets
# ---------------------------------------------------------------------------------------------


def accept_users(server: Server) -> None:
    """Accept those who wait at the door."""
    for _ in range(ACCEPT_BATCH):
        try:
            sock, address = server.listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:  # out of descriptors or memory: ask again later
            pause_accepting(server, str(error.strerror))
            return
        server.accept_fails = False
        greet(server, sock, show_address(*address[:2]) if server.log is not None else "")


def greet(server: Server, sock: socket.socket, addr: str) -> None:
    """Ask a newcomer for its name, if there is room."""
    configure(sock)
    user = User(sock, addr=addr)
    log_event(server, "connect", addr=addr)
    is_full = len(server.joining) + len(server.users) >= server.options.max_clients
    server.selector.register(sock, user.events, user)
    server.joining[user] = time.monotonic() + server.options.join_timeout
    if is_full:
        log_event(server, "refuse", addr=addr, reason="full")
        tell(server, user, b"! server full\n")
        dismiss(server, user)
    else:
        tell(server, user, PROMPT)


def configure(sock: socket.socket) -> None:
    """Make a connection one that never blocks, delays nothing, and notices a vanished peer."""
    sock.setblocking(False)
    with suppress(OSError):  # it may have been reset already
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 120_000)


def receive(server: Server, user: User) -> None:
    """Receive once from a user, and act on the lines that have become whole."""
    try:
        count = user.sock.recv_into(server.buffer, min(READ_SIZE, MAX_HELD - len(user.inbox)))
    except BlockingIOError:
        return
    except OSError:
        drop(server, user, "reset")
        return
    if count == 0:
        hang_up(server, user)
    elif user.phase in (Phase.NAMING, Phase.PASSWORD, Phase.CHATTING):
        user.inbox += server.buffer[:count]
        take_up(server, user)


def flush(server: Server, user: User) -> None:
    """Send what waits for a user, and see how it stands then."""
    if user.phase is Phase.GONE:
        return
    try:
        send(server, user)
    except OSError:
        drop(server, user, "reset")
        return
    left = waiting(server, user)
    if user.phase is Phase.LEAVING and not left:
        end_sending(server, user)
    elif user.phase is Phase.CHATTING and left > server.options.max_queue + user.reply:
        drop(server, user, "slow")  # LIMIT-1; but for what its own last line brought it
    watch(server, user)


def send_at_once(user: User, data: bytes) -> int:
    """Send what the kernel takes; after an error nothing, and what is sent next will tell."""
    try:
        return user.sock.send(data)
    except OSError:
        return 0


def send(server: Server, user: User) -> None:
    """Send what waits for a user in one call, as far as the kernel takes it."""
    sent = 0
    if waiting(server, user):
        with suppress(BlockingIOError):
            sent = user.sock.sendmsg(islice(pieces(server, user), MAX_PIECES))
    advance(user, sent)


def watch(server: Server, user: User) -> None:
    """Wait for what a user needs next; let one who had to pause go on with its lines."""
    if user.phase is Phase.GONE:
        return
    speaks = may_speak(server, user)
    hears = not user.ended and (user.phase is not Phase.CHATTING or speaks)
    if is_held(user) and len(user.inbox) >= MAX_HELD:
        hears = False
    events = selectors.EVENT_READ if hears else 0
    if waiting(server, user):
        events |= selectors.EVENT_WRITE
    if events != user.events:
        user.events = events
        server.selector.modify(user.sock, events, user)
    if speaks and not is_held(user) and b"\n" in user.inbox:
        server.turns[user] = None


def dismiss(server: Server, user: User, reason: str = "") -> None:
    """End a connection kindly: its queue goes out first (LEAVE-4). One in the room has a reason."""
    retire(server, user, reason)
    server.draining.pop(user, None)
    server.lingering[user] = time.monotonic() + LINGER_SECONDS


def hang_up(server: Server, user: User) -> None:
    """Take note that a client has ended its side: what waits is seen to first (LEAVE-2).

    Its lines are taken up before, so that some wait only where it is held; the last one of them
    leads here again, and so does a job.
    """
    user.ended = True
    if user.phase is Phase.LINGERING:
        drop(server, user)
    elif user.phase is not Phase.LEAVING:
        server.draining.setdefault(user, time.monotonic() + DRAIN_SECONDS)
        if b"\n" not in user.inbox and user.job is None:
            retire(server, user, "eof")
    server.pending[user] = None


def expect_end(server: Server, user: User) -> None:
    """See whether a client has ended its side, though not all that it sent was received yet."""
    state = user.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    if state == TCP_CLOSE_WAIT:
        server.draining.setdefault(user, time.monotonic() + DRAIN_SECONDS)


def retire(server: Server, user: User, reason: str) -> None:
    """Take a user out of the room, or from the prompt; nothing that it says counts any more."""
    forget_job(server, user)
    if user.phase is Phase.CHATTING:
        leave(server, user, reason)
    server.joining.pop(user, None)
    user.phase = Phase.LEAVING
    user.inbox.clear()
    server.pending[user] = None


def end_sending(server: Server, user: User) -> None:
    """End our side of a connection, now that its queue is out."""
    if user.ended:
        drop(server, user)
        return
    try:
        user.sock.shutdown(socket.SHUT_WR)
        user.phase = Phase.LINGERING
    except OSError:
        drop(server, user)


def drop(server: Server, user: User, reason: str = "") -> None:
    """End a connection now, whatever waits for it. One in the room has a reason."""
    if user.phase is Phase.GONE:
        return
    forget_queue(user)
    forget_job(server, user)
    if user.phase is Phase.CHATTING:
        leave(server, user, reason)
    user.phase = Phase.GONE
    user.inbox.clear()
    for queue in (server.joining, server.draining, server.lingering):
        queue.pop(user, None)
    server.gone.append(user)


def reap(server: Server) -> None:
    """Close the connections of those who are gone."""
    for user in server.gone:
        server.selector.unregister(user.sock)
        user.sock.close()
    server.gone.clear()


def pause_accepting(server: Server, reason: str) -> None:
    """Leave newcomers waiting for a moment (LIMIT-3)."""
    if not server.accept_fails:
        server.accept_fails = True
        log_event(server, "error", error=f"cannot accept connections: {reason}")
    server.selector.unregister(server.listener)
    server.accept_at = time.monotonic() + ACCEPT_PAUSE


def resume_accepting(server: Server) -> None:
    """Look at the door again."""
    server.accept_at = None
    server.selector.register(server.listener, selectors.EVENT_READ, accept_users)


# ---------------------------------------------------------------------------------------------
# 13. Loop
# ---------------------------------------------------------------------------------------------


def run(server: Server) -> None:
    """Serve until the server is stopped and everyone is gone, or the time for that is up."""
    while not is_over(server):
        one_round(server)


def is_over(server: Server) -> bool:
    """Tell whether all is done."""
    if server.stop_at is None:
        return False
    return not (server.draining or server.lingering) or time.monotonic() >= server.stop_at


def one_round(server: Server) -> None:
    """Wait for something to do, do it, and send everyone what came of it."""
    for key, events in server.selector.select(next_timeout(server)):
        if not isinstance(key.data, User):
            key.data(server)
            continue
        if events & selectors.EVENT_READ:
            server.turns[key.data] = None
        if events & selectors.EVENT_WRITE:
            server.pending[key.data] = None
        if not events:  # it is told of a reset even where nothing is awaited
            drop(server, key.data, "reset")
    if server.console_is_file:
        read_console(server)
    take_turns(server)
    if server.stopping and server.stop_at is None:
        stop(server)
    expire(server)
    flush_all(server)
    reap(server)
    flush_sinks(server)


def next_timeout(server: Server) -> float | None:
    """Tell how long nothing will happen of itself, in seconds; None is for ever."""
    if server.turns or server.console_is_file:
        return 0
    queues = (server.joining, server.draining, server.lingering)
    times = [next(iter(queue.values())) for queue in queues if queue]
    times += [due for due, _, _ in server.throttled[:1]]
    times += [at for at in (server.accept_at, server.stop_at) if at is not None]
    return min(max(0.0, min(times) - time.monotonic()), MAX_SLEEP) if times else None


def take_turns(server: Server) -> None:
    """Hear those who may have lines, one after the other; who is not reached is first next time."""
    while server.turns and not round_is_full(server):
        user, _ = server.turns.popitem(last=False)
        has_room = not user.ended and len(user.inbox) < MAX_HELD
        if not is_held(user) and (b"\n" in user.inbox or not has_room):
            take_up(server, user)
        elif user.phase is not Phase.GONE and has_room:
            receive(server, user)


def flush_all(server: Server) -> None:
    """Send to all for whom something waits: the room, where it spoke, and those in `pending`."""
    while server.pending or server.flushed < server.end:
        users, server.pending = server.pending, {}
        if server.flushed < server.end:
            users.update(dict.fromkeys(send_news(server)))
        server.work = 0
        for user in users:
            flush(server, user)


def send_news(server: Server) -> list[User]:
    """Send the room what it has heard in this round; list those who are to be flushed as well.

    They are few. All others have been sent all before it and are to be sent the same now: that
    is put together once, and takes but a few steps for each.
    """
    news = b"".join(stream_pieces(server.flushed_block, server.flushed, server.end))
    rest = []
    for user in server.users.values():
        sent = 0
        if user.sent == server.flushed and not user.splices and user.events == selectors.EVENT_READ:
            sent = send_at_once(user, news)
        if sent == len(news):
            user.sent, user.block = server.end, server.tail
        else:
            advance(user, sent)
            rest.append(user)
    server.flushed, server.flushed_block = server.end, server.tail
    return rest


def expire(server: Server) -> None:
    """See to those whose time is up."""
    now = time.monotonic()
    for user in overdue(server.joining, now):
        log_event(server, "refuse", addr=user.addr, reason="timeout")
        tell(server, user, after_prompt(user, b"! timed out\n"))
        dismiss(server, user)
    for user in overdue(server.draining, now):
        if user.phase is Phase.CHATTING:  # too many lines of its own are left, or a job
            dismiss(server, user, "eof")
        else:
            drop(server, user)
    for user in overdue(server.lingering, now):
        drop(server, user)
    release_throttled(server, now)
    if server.accept_at is not None and server.accept_at <= now:
        resume_accepting(server)


def after_prompt(user: User, text: bytes) -> bytes:
    """Put a text to one who has not joined on a line of its own: a prompt is pending, or a job."""
    return b"\n" + text if user.job is None else text


def overdue(queue: Deadlines, now: float) -> list[User]:
    """List the users in a queue whose time is up."""
    return [user for user, _ in takewhile(lambda item: item[1] <= now, queue.items())]


# ---------------------------------------------------------------------------------------------
# 14. Start and stop
# ---------------------------------------------------------------------------------------------

USAGE = """\
usage: chat-server [--host HOST] [--port PORT] [--max-clients N] [--max-queue BYTES]
                   [--join-timeout SECONDS] [--rate N] [--log FILE] [--accounts FILE]
                   [--members-only] [--quiet] [--help] [--version]
"""

OPTIONS_HELP = f"""{USAGE}
A chat server: one room, lines of text over TCP.
Nothing is encrypted, passwords neither. On a network that is not yours, put an SSH tunnel
or a TLS proxy before it (README.md tells how).

  --host HOST             address to listen on (default 127.0.0.1)
  --port PORT             port to listen on; 0 picks a free one (default {PORT})
  --max-clients N         connections at a time (default {MAX_CLIENTS})
  --max-queue BYTES       bytes that may wait for one user before it is dropped;
                          4096 or more (default {MAX_QUEUE})
  --join-timeout SECONDS  time to give a name, and its password (default {JOIN_SECONDS:g})
  --rate N                lines a second that are taken up from one user; more of them wait
                          (default: as many as come)
  --log FILE              append what happens to FILE, as lines of JSON; opened anew on
                          SIGHUP (default: no log)
  --accounts FILE         names that need a password: a file as `htpasswd -B` makes it
  --members-only          let in nobody else
  --quiet                 do not print what the room sees (default: print it)
  --help                  print this and exit
  --version               print the version and exit

Lines on standard input are announced to all; /help there lists the operator's commands.
"""

VERSION_LINE = f"chat-server {VERSION} (Python, protocol 1)\n"


def fail(status: int, message: str) -> NoReturn:
    """End the program before it has begun."""
    write_all(2, os.fsencode(message))
    sys.exit(status)


def usage_error(message: str) -> NoReturn:
    """End the program for a command line that is wrong."""
    fail(2, f"{USAGE}chat-server: error: {message}\n")


def answer(text: str) -> NoReturn:
    """Print what --help or --version asks for."""
    write_all(1, text.encode())
    sys.exit(0)


def is_number(text: str) -> bool:
    """Tell whether a text is one to nine digits."""
    return len(text) <= 9 and text.isascii() and text.isdigit()


def whole(text: str, low: int, high: int = 999_999_999) -> int:
    """Read a whole number of one to nine digits."""
    if not is_number(text) or not low <= int(text) <= high:
        raise ValueError(text)
    return int(text)


def seconds(text: str) -> float:
    """Read a time above 0."""
    before, point, after = text.partition(".")
    if not is_number(before) or (point and not is_number(after)) or float(text) == 0:
        raise ValueError(text)
    return float(text)


VALUES: dict[str, Callable[[str], object]] = {
    "--host": str,
    "--port": lambda text: whole(text, 0, 65535),
    "--max-clients": lambda text: whole(text, 1),
    "--max-queue": lambda text: whole(text, 4096),
    "--join-timeout": seconds,
    "--rate": lambda text: whole(text, 1),
    "--log": str,
    "--accounts": str,
}

FLAGS = ("--quiet", "--members-only")


def parse_options(words: list[str]) -> Options:
    """Read the command line; the first word that asks for help or is wrong ends the program."""
    options = Options()
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if word == "--help":
            answer(OPTIONS_HELP)
        elif word == "--version":
            answer(VERSION_LINE)
        elif word in FLAGS:
            setattr(options, field_name(word), True)
        elif name not in VALUES:
            usage_error(f"{'unknown option' if word.startswith('-') else 'not an option'}: {word}")
        else:
            set_option(options, name, value if equals else next(rest, None), equals or " ")
    check_options(options)
    return options


def set_option(options: Options, name: str, value: str | None, between: str) -> None:
    """Set the option that `name` stands for, or end the program for a bad value."""
    if value is None:
        usage_error(f"no value for {name}")
    try:
        setattr(options, field_name(name), VALUES[name](value))
    except ValueError:
        usage_error(f"bad value: {name}{between}{value}")


def field_name(option: str) -> str:
    """Give the name of the field of Options that an option is kept in."""
    return option.removeprefix("--").replace("-", "_")


def check_options(options: Options) -> None:
    """See whether the options go together, and whether what they need is there."""
    if options.members_only and options.accounts is None:
        usage_error("--members-only needs --accounts")
    if options.accounts is not None:
        try:
            import bcrypt  # noqa: F401
        except ImportError:
            usage_error("--accounts needs the package bcrypt: pip install bcrypt")


def listen_on(host: str, port: int) -> socket.socket:
    """Open the door, at the first IPv4 address that the host has, else at its first."""
    found = socket.getaddrinfo(os.fsencode(host), port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def show_address(host: str, port: int) -> str:
    """Write an address; one of IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def catch_signals() -> int:
    """Let the first signal wake the loop, and a second one end the process (STOP-5).

    Gives the descriptor to watch. Python writes a byte to it at once when a signal comes: a mere
    handler would run too late where the signal comes just before the loop goes to sleep.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)  # in the background, reading the terminal fails
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, restore_signals)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, restore_signals)
    return reader


def restore_signals(_number: int, _frame: object) -> None:
    """Leave the next signal to the system."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is restore_signals:
            signal.signal(number, signal.SIG_DFL)


def keep_signals(_number: int, _frame: object) -> None:
    """Let a signal only wake the loop, each time."""


def heed_signals(server: Server) -> None:
    """Do what the signals that came want: one for the log, all others the end."""
    for number in os.read(server.wake, READ_SIZE):
        if number == signal.SIGHUP and server.log is not None:
            reopen_log(server, server.log)
        else:
            server.stopping = True


def stop(server: Server) -> None:
    """Begin the end: say so to everyone, after all that was said before, and dismiss them."""
    close_door(server)
    close_console(server)
    finish_turns(server)
    server.stop_at = time.monotonic() + LINGER_SECONDS
    broadcast(server, SHUTDOWN)
    log_event(server, "shutdown", addr=server.address)
    for user in list(server.joining):
        tell(server, user, after_prompt(user, SHUTDOWN))
        dismiss(server, user)
    for user in server.users.values():
        user.phase = Phase.LEAVING  # first, for without leave() there are no leave notices
        dismiss(server, user)
    server.users.clear()


def finish_turns(server: Server) -> None:
    """Act on what was received before the signal: it comes before the notice (STOP-2)."""
    end = time.monotonic() + FINISH_SECONDS
    while server.turns and time.monotonic() < end:
        user, _ = server.turns.popitem(last=False)
        take_up(server, user)
        flush_all(server)


def close_door(server: Server) -> None:
    """Accept no more connections."""
    if server.accept_at is None:
        server.selector.unregister(server.listener)
    server.accept_at = None
    server.listener.close()


def open_standard_files() -> None:
    """Open what the caller left closed of descriptors 0 to 2, lest a connection become one."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def raise_descriptor_limit() -> None:
    """Raise the limit of open descriptors as far as it may be raised (LIMIT-2)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def start(options: Options, wake: int) -> Server:
    """Open accounts, log and door, or end the program saying why that cannot be."""
    accounts = log = None
    if options.accounts is not None:
        accounts = Accounts(options.accounts)
        try:
            load_accounts(accounts, at_start=True)
        except OSError as error:
            fail(1, f"{unreadable(options.accounts, error)}\n")
    if options.log is not None:
        signal.signal(signal.SIGHUP, keep_signals)
        try:
            log = Sink(options.log, open_log(options.log))
        except OSError as error:
            fail(1, f"cannot open log {options.log}: {error.strerror}\n")
    try:
        listener = listen_on(options.host, options.port)
    except OSError as error:
        address = show_address(options.host, options.port)
        fail(1, f"cannot listen on {address}: {error.strerror}\n")
    address = show_address(*listener.getsockname()[:2])
    return Server(options, listener, wake, address, open_output(), log, accounts)


def main() -> None:
    """Run the program."""
    open_standard_files()
    wake = catch_signals()
    options = parse_options(sys.argv[1:])
    raise_descriptor_limit()
    server = start(options, wake)
    server.selector.register(wake, selectors.EVENT_READ, heed_signals)
    resume_accepting(server)
    open_console(server)
    if server.accounts is not None:
        start_workers(server, server.accounts.path)
    log_event(server, "start", addr=server.address)
    print_line(server, f"Listening on {server.address}\n".encode())
    flush_sinks(server)
    run(server)
    log_event(server, "stop", addr=server.address)
    flush_sinks(server)
    finish_sinks(server)
    os._exit(0)  # whatever the workers do: a hash may take seconds, and nothing else is left


if __name__ == "__main__":
    main()
