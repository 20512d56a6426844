#!/usr/bin/env python3
"""A chat client for a terminal or a pipe. PROTOCOL.md is its contract.

    python client.py                       connects to localhost:8080
    python client.py --help                tells the rest

    keyboard -> outbox -> server
    server -> screen

and of a connection, where one that is lost is tried again:

    ASKED -> JOINED -> AWAY -> RETURNING -> JOINED

What holds everywhere:

 1. Nothing but `wait` ever waits, once there was a connection, but for a while where a connection
    is made or ended: a server that does not read, or a terminal that is held up, does not keep
    the other direction, or Ctrl+C, from working.
 2. What waits is bounded: where it is too much, its source is not read.
 3. Nothing from the server reaches the screen unless it was made harmless (`show`).
 4. A typed line leaves the outbox once all of it is sent, and what was typed while there was no
    connection (`kept`) enters it once the server has welcomed us: never at a prompt.

Exit status: 0 ended by the user, or by the server in peace; 1 the connection failed or was
refused; 2 the command line is wrong.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import NoReturn

# ---------------------------------------------------------------------------------------------
# 1. Limits
# ---------------------------------------------------------------------------------------------

VERSION = "0.1.0"
HOST = "localhost"
PORT = 8080
MAX_WAITING = 64 * 1024  # bytes that may wait in one direction before its source is not read
READ_SIZE = 64 * 1024  # bytes read in one go
LINE_KEPT = 128  # bytes kept of a line of the server's: more than any that has a meaning for us
LONG_LINE = 1025  # bytes that no server takes as one line
MAX_ANSWERS = 8  # to prompts on one connection: no server asks more often
CLOSE_SECONDS = 1.0  # for the server to end its side, once we have ended ours
TRY_SECONDS = 30.0  # for an address to answer; and for the welcome, on the way back
RETRIES = 10
RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 30.0

PROMPT = b"Enter your screen name: "
PASSWORD_PROMPT = b"Password: "
WELCOME = re.compile(rb"Welcome, ([A-Za-z0-9_-]+) \(")
RENAMED = re.compile(rb"([A-Za-z0-9_-]+) is now known as ([A-Za-z0-9_-]+)")
PASSWORD_COMMAND = re.compile(rb"/(?:register|passwd) +(.+)", re.IGNORECASE)
PIECES = re.compile(rb"[^\n]*\n|[^\n]+")  # whole lines, and the beginning of one
GOODBYE = b"Goodbye, "  # and a name
GOOD_ENDING = b"Server is shutting down"
BAD_ENDINGS = (
    b"! too many attempts",
    b"! timed out",
    b"! server full",
    b"! kicked by the operator",
)

# ---------------------------------------------------------------------------------------------
# 2. Types
# ---------------------------------------------------------------------------------------------


class Phase(Enum):
    """Where the client is with the server."""

    ASKED = 1  # connected, and never welcomed yet: the user answers the prompts
    JOINED = 2  # welcomed
    AWAY = 3  # the connection is lost, and the next try is not due yet
    RETURNING = 4  # connected again: what we remember answers the prompts


@dataclass(slots=True)
class Options:
    """The command line."""

    host: str = HOST
    port: int = PORT
    name: bytes | None = None
    retries: int = RETRIES
    retry_delay: float = RETRY_SECONDS


@dataclass(slots=True)
class Link:
    """One connection, and what is known of it."""

    sock: socket.socket
    sent: int = 0  # bytes of the outbox: the beginning of a line
    sent_all: bool = False  # the input has ended, and so has, in order, our side
    broken: bool = False  # the server takes no more, or has reset the connection
    ended: bool = False  # nothing more comes from the server, or shall come

    line: bytearray = field(default_factory=bytearray)  # what the server's last line has so far
    last_line: bytes = b""  # its last whole one; both without prompts, and cut at LINE_KEPT
    prompts: int = 0  # how often it has asked
    asked: bytes = b""  # its last prompt
    answers: list[bytes] = field(default_factory=list)  # the first lines typed, until the welcome
    named: bool = False  # the answer that --name gives was given

    decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )
    held_return: str = ""  # a carriage return, until it is seen whether a line end follows


@dataclass(slots=True)
class Client:
    """Everything."""

    options: Options
    wake: int  # descriptor that can be read once a signal has come
    link: Link  # the connection; AWAY: the last one
    answer: bytes | None  # to the prompt for the name, by --name, until it is refused
    phase: Phase = Phase.ASKED

    outbox: bytearray = field(default_factory=bytearray)  # from the keyboard, for the server
    kept: bytearray = field(default_factory=bytearray)  # ... and typed while there was none
    typed: bytearray = field(default_factory=bytearray)  # the line that is passed on, cut
    unfinished: bool = False  # the last line of the input is not whole yet
    forgets: bool = False  # ... and is for nobody
    typed_all: bool = False  # the input has ended
    screen: bytearray = field(default_factory=bytearray)  # for standard output

    name: bytes | None = None  # the one we have, or last had; None before the first welcome
    password: bytes | None = None  # the one that was accepted, if any was
    offered: bytes | None = None  # one that a command has in it, until the server agrees
    tries: int = 0  # since the last welcome
    delay: float = 0.0  # before the next one
    deadline: float = 0.0  # AWAY: for the next try; RETURNING: for its end


# ---------------------------------------------------------------------------------------------
# 3. Screen
# ---------------------------------------------------------------------------------------------

# C0 except TAB and line end, DEL and C1, and what breaks a line or turns its direction.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def show(client: Client, data: bytes, final: bool = False) -> None:
    """Put what came on the screen, made harmless (CLIENT-6).

    What cannot be judged yet, the beginning of a character or a carriage return, is held back;
    `final` says that nothing more will come.
    """
    link = client.link
    text = link.held_return + link.decoder.decode(data, final)
    link.held_return = "\r" if text.endswith("\r") and not final else ""
    text = text.removesuffix(link.held_return).replace("\r\n", "\n")
    client.screen += CONTROL.sub("\ufffd", text).encode()


def write_screen(client: Client) -> None:
    """Write some of what waits for standard output.

    No more than PIPE_BUF, which is what may be written without waiting where `select` agrees.
    """
    with suppress(BlockingIOError):
        del client.screen[: os.write(1, client.screen[: select.PIPE_BUF])]


def complain(message: str) -> None:
    """Say something on standard error."""
    data = os.fsencode(message)
    with suppress(OSError):
        while data:
            data = data[os.write(2, data) :]


# ---------------------------------------------------------------------------------------------
# 4. Connection
# ---------------------------------------------------------------------------------------------


def connect_to(host: str, port: int, wake: int) -> socket.socket | None:
    """Connect to the first address of a host that answers; None where a signal comes first."""
    failure = OSError(0, "no address found")
    found = socket.getaddrinfo(os.fsencode(host), port, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, address in found:
        try:
            sock = socket.socket(family, kind, protocol)
            return sock if connect_one(sock, address, wake) else None
        except OSError as error:
            failure = error
    raise failure


def connect_one(sock: socket.socket, address: tuple[object, ...], wake: int) -> bool:
    """Connect to one address; False where a signal comes first."""
    sock.setblocking(False)
    prepare(sock)
    code = sock.connect_ex(address)
    if code == errno.EINPROGRESS:
        signalled, connected, _ = select.select([wake], [sock], [], TRY_SECONDS)
        if signalled:
            sock.close()
            return False
        failure = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        code = failure if connected else errno.ETIMEDOUT
    if code != 0:
        sock.close()
        raise OSError(code, os.strerror(code))
    return True


def prepare(sock: socket.socket) -> None:
    """Send small lines without delay; notice within two minutes that a server has vanished."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 120_000)


def send_typed(client: Client) -> None:
    """Send what was typed, as far as the kernel takes it; after the end of input, end our side."""
    link = client.link
    try:
        if has_unsent(client):
            link.sent += link.sock.send(client.outbox[link.sent :])
            forget_sent(client)
        if has_said_all(client):
            link.sock.shutdown(socket.SHUT_WR)
            link.sent_all = True
    except BlockingIOError:
        pass
    except OSError:  # what the server said before it went can still be read
        link.broken = True


def has_unsent(client: Client) -> bool:
    """Tell whether something waits that can be sent."""
    link = client.link
    may_send = not (client.phase is Phase.AWAY or link.broken or link.ended)
    return may_send and link.sent < len(client.outbox)


def has_said_all(client: Client) -> bool:
    """Tell whether it is time to end our side."""
    link = client.link
    may_end = not (is_away(client) or link.broken or link.ended or link.sent_all)
    return may_end and client.typed_all and not client.outbox and not client.kept


def forget_sent(client: Client) -> None:
    """Take out of the outbox the lines that are sent.

    A line of which only a part is sent stays: it is none for the server before its end comes.
    Of one that is too long the beginning is enough: it will be refused again.
    """
    link = client.link
    whole = client.outbox.rfind(b"\n", 0, link.sent) + 1
    del client.outbox[:whole]
    link.sent -= whole
    if link.sent > LONG_LINE:
        del client.outbox[LONG_LINE : link.sent]
        link.sent = LONG_LINE


def close_in_order(sock: socket.socket) -> None:
    """End our side, and discard what comes until the server ends its own.

    To close a connection with something unread in it would reset it.
    """
    end = time.monotonic() + CLOSE_SECONDS
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        while (left := end - time.monotonic()) > 0:
            ready, _, _ = select.select([sock], [], [], left)
            if ready and not sock.recv(READ_SIZE):
                break


# ---------------------------------------------------------------------------------------------
# 5. From the server
# ---------------------------------------------------------------------------------------------


def receive(client: Client) -> None:
    """Receive once from the server."""
    link = client.link
    try:
        data = link.sock.recv(READ_SIZE)
    except BlockingIOError:
        return
    except OSError:
        data, link.broken = b"", True
    for piece in PIECES.findall(data):
        if not link.ended:
            on_server(client, piece)
    if not data:
        link.ended = True
        show(client, b"", final=True)


def on_server(client: Client, piece: bytes) -> None:
    """Show a line, or a piece of one, and take its meaning; on the way back, that comes first."""
    link = client.link
    if client.phase is not Phase.RETURNING:
        show(client, piece)
    link.line += piece.removesuffix(b"\n")[: LINE_KEPT - len(link.line)]
    prompted = client.phase is not Phase.JOINED and take_prompts(link)
    if piece.endswith(b"\n"):
        link.last_line = bytes(link.line).removesuffix(b"\r")
        link.line.clear()
        on_line(client, link.last_line)
    elif prompted and not link.line:
        on_prompt(client)


def take_prompts(link: Link) -> bool:
    """Take the prompts off the front of the line; tell whether there was one.

    The user's line end, which ends a prompt on the screen, is not sent back by the server. Nobody
    in the room can say what looks like a prompt: no one is called Password.
    """
    before = link.prompts
    for prompt in (PROMPT, PASSWORD_PROMPT):
        while link.line.startswith(prompt):
            del link.line[: len(prompt)]
            link.prompts += 1
            link.asked = prompt
    return link.prompts > before


def on_prompt(client: Client) -> None:
    """See to it that the prompt that is pending is answered."""
    if client.phase is Phase.RETURNING and client.name is not None:
        answer_prompt(client)
        return
    if client.phase is Phase.RETURNING:  # the name is asked anew
        client.phase = Phase.ASKED
        show(client, client.link.asked)
    if client.answer is not None and client.link.asked == PROMPT:
        give_name(client, client.answer)


def give_name(client: Client, name: bytes) -> None:
    """Answer as --name says, the first time on each connection, until it is refused (CLIENT-8)."""
    if client.link.named:
        client.answer = None
        return
    client.link.named = True
    pass_on(client, name + b"\n")
    show(client, name + b"\n")


def on_line(client: Client, line: bytes) -> None:
    """Follow what happens to us by the server's whole lines."""
    welcome = WELCOME.match(line)
    if client.phase is Phase.RETURNING:
        come_back(client, line, welcome[1] if welcome else None)
    elif client.phase is Phase.ASKED and welcome:
        enter(client, welcome[1])
    elif client.phase is Phase.JOINED and client.name is not None:
        follow_name(client, client.name, line)


def follow_name(client: Client, name: bytes, line: bytes) -> None:
    """Learn of a new name, or a new password, of ours."""
    renamed = RENAMED.fullmatch(line)
    if renamed and renamed[1] == name:
        client.name = renamed[2]
    elif line in (b"Password changed", b"Registered " + name):
        client.password = client.offered


def enter(client: Client, name: bytes) -> None:
    """Be welcomed: remember what let us in, and send what was kept."""
    link = client.link
    if client.phase is Phase.ASKED and link.asked == PASSWORD_PROMPT and is_answered(link):
        client.password = link.answers[link.prompts - 1]
    link.answers.clear()
    client.name = name
    client.answer = None
    client.phase = Phase.JOINED
    client.tries = 0
    kept, client.kept = bytes(client.kept), bytearray()
    pass_on(client, kept)


def is_answered(link: Link) -> bool:
    """Tell whether a line was typed for the last prompt, as for those before it."""
    return link.prompts <= len(link.answers)


def ending(client: Client) -> int | None:
    """See how it ended, as the server's last line tells (CLIENT-5).

    Gives the exit status, or none where the connection is tried again.
    """
    link, last = client.link, client.link.last_line
    if last == GOOD_ENDING or (last.startswith(GOODBYE) and not is_away(client)):
        complain("Disconnected\n")
        return 0
    if last in BAD_ENDINGS and not is_away(client):
        complain("Disconnected\n")
        return 1
    if link.sent_all and not link.broken:
        return 0
    if client.options.retries == 0 or link.sent_all or nobody_to_ask(client):
        complain("Connection lost\n")
        return 1
    return lose(client)


# ---------------------------------------------------------------------------------------------
# 6. From the keyboard
# ---------------------------------------------------------------------------------------------


def on_keyboard(client: Client) -> None:
    """Pass on what was typed, as it comes; an unfinished last line gets its end (CLIENT-1)."""
    try:
        data = os.read(0, READ_SIZE)
    except BlockingIOError:
        return
    except OSError:
        data = b""
    client.typed_all = not data
    if not data and client.unfinished:
        data = b"\n"
    client.unfinished = not data.endswith(b"\n") and not client.typed_all
    for piece in PIECES.findall(data):
        on_typed(client, piece)
    if is_away(client) and nobody_to_ask(client):
        client.link.ended = True


def on_typed(client: Client, piece: bytes) -> None:
    """Put a line, or a piece of one, where it belongs."""
    if client.forgets:
        client.forgets = not piece.endswith(b"\n")
    elif is_away(client) or (client.kept and not client.kept.endswith(b"\n")):
        client.kept += piece
    else:
        pass_on(client, piece)


def pass_on(client: Client, data: bytes) -> None:
    """Send lines, or a piece of one; remember those that may turn out to be a password."""
    client.outbox += data
    for piece in PIECES.findall(data):
        client.typed += piece.removesuffix(b"\n")[: LINE_KEPT - len(client.typed)]
        if piece.endswith(b"\n"):
            remember(client, bytes(client.typed).removesuffix(b"\r"))
            client.typed.clear()


def remember(client: Client, line: bytes) -> None:
    """Keep a line for as long as it may turn out to be the password that is accepted."""
    if client.phase is Phase.ASKED and len(client.link.answers) < MAX_ANSWERS:
        client.link.answers.append(line)
    if command := PASSWORD_COMMAND.fullmatch(line):
        client.offered = command[1]


def nobody_to_ask(client: Client) -> bool:
    """Tell whether a prompt for the name would find no answer, as the input has ended."""
    return client.typed_all and client.name is None and client.answer is None


# ---------------------------------------------------------------------------------------------
# 7. Away and back
# ---------------------------------------------------------------------------------------------


def is_away(client: Client) -> bool:
    """Tell whether the connection was lost, and we are not back yet: what is typed is kept."""
    return client.phase in (Phase.AWAY, Phase.RETURNING)


def lose(client: Client) -> int | None:
    """Wait for the next try (CLIENT-7), or give the exit status where there was the last one."""
    client.link.sock.close()
    client.link.ended = False
    if client.tries == client.options.retries:
        complain(f"Giving up after {client.tries} attempts\n")
        return 1
    delay = client.delay * 2 if client.tries else client.options.retry_delay
    client.delay = min(delay, MAX_RETRY_SECONDS)
    client.tries += 1
    shown = f"{client.delay:.9f}".rstrip("0").rstrip(".")
    count = f"{client.tries} of {client.options.retries}"
    complain(f"Connection lost, retrying in {shown} s ({count})\n")
    keep_unsent(client)
    client.phase = Phase.AWAY
    client.deadline = time.monotonic() + client.delay
    return None


def keep_unsent(client: Client) -> None:
    """Keep what was typed and not sent, unless it was for prompts: they are not asked again.

    The same holds for the rest of an answer, or for a password, that has not been typed yet.
    """
    link = client.link
    if client.phase is Phase.JOINED:
        client.kept += client.outbox
    elif client.phase is Phase.ASKED:
        awaited = link.asked == PASSWORD_PROMPT and not is_answered(link)
        client.forgets = bool(client.typed) or awaited
    client.outbox.clear()
    client.typed.clear()


def try_again(client: Client) -> None:
    """Connect once more."""
    try:
        sock = connect_to(client.options.host, client.options.port, client.wake)
    except OSError:
        client.link.ended = True
        return
    if sock is not None:
        client.link = Link(sock)
        client.phase = Phase.RETURNING
        client.deadline = time.monotonic() + TRY_SECONDS


def answer_prompt(client: Client) -> None:
    """Answer in the user's place, each prompt once; any other makes it a failed try."""
    link = client.link
    if link.prompts == 1 and link.asked == PROMPT and client.name is not None:
        client.outbox += client.name + b"\n"
    elif link.prompts == 2 and link.asked == PASSWORD_PROMPT and client.password is not None:
        client.outbox += client.password + b"\n"
    else:
        refuse(client)


def come_back(client: Client, line: bytes, welcomed: bytes | None) -> None:
    """Take a line of the server's on the way back: the welcome, a refusal, or something to show."""
    if welcomed is not None and welcomed == client.name:
        complain(f"Reconnected as {welcomed.decode()}\n")
        enter(client, welcomed)
        return
    if line and welcomed is None:
        show(client, line + b"\n")
    if line.startswith(b"! ") or welcomed is not None:
        refuse(client)


def refuse(client: Client) -> None:
    """End a try that did not bring us back."""
    close_in_order(client.link.sock)
    client.link.ended = True


def on_deadline(client: Client) -> None:
    """Try again, or end a try that takes too long."""
    if client.phase is Phase.AWAY:
        try_again(client)
    else:
        refuse(client)


# ---------------------------------------------------------------------------------------------
# 8. Loop
# ---------------------------------------------------------------------------------------------


def run(client: Client) -> int:
    """Pass on what comes, both ways, until it ends for good; give the exit status."""
    status = None
    while status is None:
        readable, writable = wait(client)
        if client.wake in readable:
            close_in_order(client.link.sock)
            return 0
        if 1 in writable:
            write_screen(client)
        if client.link.sock in readable:
            receive(client)
        if 0 in readable:
            on_keyboard(client)
        if is_away(client) and not client.link.ended and time.monotonic() >= client.deadline:
            on_deadline(client)
        send_typed(client)
        if client.link.ended and not client.screen:
            status = ending(client)
    return status


def wait(client: Client) -> tuple[list[socket.socket | int], list[socket.socket | int]]:
    """Wait until something can be done; give what can be read, and written."""
    readers: list[socket.socket | int] = [client.wake]
    writers: list[socket.socket | int] = []
    if may_hear(client):
        readers.append(client.link.sock)
    if may_type(client):
        readers.append(0)
    if has_unsent(client):
        writers.append(client.link.sock)
    if client.screen:
        writers.append(1)
    left = max(0.0, client.deadline - time.monotonic()) if is_away(client) else None
    readable, writable, _ = select.select(readers, writers, [], left)
    return readable, writable


def may_hear(client: Client) -> bool:
    """Tell whether the server is read: on the way back, only where what we say comes last."""
    most = 1 if client.phase is Phase.RETURNING else MAX_WAITING
    return client.phase is not Phase.AWAY and not client.link.ended and len(client.screen) < most


def may_type(client: Client) -> bool:
    """Tell whether standard input is read: not before the name that --name gives was sent."""
    link = client.link
    if client.typed_all or link.ended or len(client.outbox) + len(client.kept) >= MAX_WAITING:
        return False
    return is_away(client) or (not link.broken and (client.answer is None or link.named))


# ---------------------------------------------------------------------------------------------
# 9. Start and stop
# ---------------------------------------------------------------------------------------------

USAGE = """\
usage: chat-client [--host HOST] [--port PORT] [--name NAME]
                   [--retries N] [--retry-delay SECONDS] [--help] [--version]
"""

OPTIONS_HELP = f"""{USAGE}
A chat client. It shows what the server sends and sends each line of its input.
The connection is not encrypted: whoever is on the way can read and change it.

  --host HOST            where the server is (default {HOST})
  --port PORT            its port (default {PORT})
  --name NAME            the screen name to give (default: be asked for it)
  --retries N            how often a connection that was lost is tried again; 0: not at all
                         (default {RETRIES})
  --retry-delay SECONDS  before the first of these tries; it doubles with each, up to
                         {MAX_RETRY_SECONDS:g} s (default {RETRY_SECONDS:g})
  --help                 print this and exit
  --version              print the version and exit

In the chat, /help lists the commands. Ctrl+C ends the client; so does, once all is sent, Ctrl+D.
"""

VERSION_LINE = f"chat-client {VERSION} (Python, protocol 1)\n"


def fail(status: int, message: str) -> NoReturn:
    """End the program before it has begun."""
    complain(message)
    sys.exit(status)


def usage_error(message: str) -> NoReturn:
    """End the program for a command line that is wrong."""
    fail(2, f"{USAGE}chat-client: error: {message}\n")


def answer(text: str) -> NoReturn:
    """Print what --help or --version asks for."""
    with suppress(OSError):
        os.write(1, text.encode())
    sys.exit(0)


def port_number(text: str) -> int:
    """Read a port."""
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= 65535:
        raise ValueError(text)
    return int(text)


def whole_number(text: str) -> int:
    """Read a number of tries."""
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError(text)
    return int(text)


def seconds(text: str) -> float:
    """Read a time above 0."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or float(text) == 0:
        raise ValueError(text)
    return float(text)


def screen_name(text: str) -> bytes:
    """Read a name; whether it is a good one is for the server to say, if it is one line."""
    if CONTROL.search(text) or "\n" in text:
        raise ValueError(text)
    return os.fsencode(text)


VALUES: dict[str, Callable[[str], object]] = {
    "--host": str,
    "--port": port_number,
    "--name": screen_name,
    "--retries": whole_number,
    "--retry-delay": seconds,
}


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
        elif name not in VALUES:
            usage_error(f"{'unknown option' if word.startswith('-') else 'not an option'}: {word}")
        else:
            set_option(options, name, value if equals else next(rest, None), equals or " ")
    return options


def set_option(options: Options, name: str, value: str | None, between: str) -> None:
    """Set the option that `name` stands for, or end the program for a bad value."""
    if value is None:
        usage_error(f"no value for {name}")
    try:
        setattr(options, name.removeprefix("--").replace("-", "_"), VALUES[name](value))
    except ValueError:
        usage_error(f"bad value: {name}{between}{value}")


def show_address(host: str, port: int) -> str:
    """Write an address; one of IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def catch_signals() -> int:
    """Let the first Ctrl+C or SIGTERM wake the loop, and a second one end the process.

    Gives the descriptor to watch. Python writes a byte to it at once when a signal comes: a mere
    handler would run too late where the signal comes just before the loop goes to sleep.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, restore_signals)
    return reader


def restore_signals(_number: int, _frame: object) -> None:
    """Leave the next signal to the system."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def open_standard_files() -> None:
    """Open what the caller left closed of descriptors 0 to 2, lest the connection become one."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def main() -> int:
    """Run the program; give its exit status."""
    open_standard_files()
    wake = catch_signals()
    options = parse_options(sys.argv[1:])
    try:
        sock = connect_to(options.host, options.port, wake)
    except OSError as error:
        address = show_address(options.host, options.port)
        fail(1, f"cannot connect to {address}: {error.strerror}\n")
    if sock is None:
        return 0
    try:
        return run(Client(options, wake, Link(sock), options.name))
    except OSError:
        return 1  # standard output is gone; an error of the connection does not come this far


if __name__ == "__main__":
    sys.exit(main())
