#!/usr/bin/env python3
"""A chat client for a terminal or a pipe. PROTOCOL.md is its contract.

    python client.py                       connects to localhost:8080
    python client.py --help                tells the rest

    keyboard -> outbox -> server
    server -> screen

What holds everywhere:

 1. Nothing but `wait` ever waits: a server that does not read, or a terminal that is held up,
    does not keep the other direction, or Ctrl+C, from working.
 2. What waits is bounded: where it is too much, its source is not read.
 3. Nothing from the server reaches the screen unless it was made harmless (`show`).

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
CLOSE_SECONDS = 1.0  # for the server to end its side, once the user has ended ours

PROMPT = b"Enter your screen name: "
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


@dataclass(slots=True)
class Options:
    """The command line."""

    host: str = HOST
    port: int = PORT
    name: bytes | None = None


@dataclass(slots=True)
class Client:
    """Everything."""

    sock: socket.socket
    wake: int  # descriptor that can be read once a signal has come
    name: bytes | None  # the answer to the prompt, until it is given

    outbox: bytearray = field(default_factory=bytearray)  # from the keyboard, for the server
    unfinished: bool = False  # the last line of the input is not whole yet
    typed_all: bool = False  # the input has ended
    sent_all: bool = False  # ... and so has, in order, our side of the connection
    broken: bool = False  # the server takes no more, or has reset the connection
    ended: bool = False  # nothing more comes from the server

    line: bytearray = field(default_factory=bytearray)  # what the server's last line has so far
    last_line: bytes = b""  # its last whole one; both are cut at LINE_KEPT
    decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )
    held_return: str = ""  # a carriage return, until it is seen whether a line end follows
    screen: bytearray = field(default_factory=bytearray)  # for standard output


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
    text = client.held_return + client.decoder.decode(data, final)
    client.held_return = "\r" if text.endswith("\r") and not final else ""
    text = text.removesuffix(client.held_return).replace("\r\n", "\n")
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
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    code = sock.connect_ex(address)
    if code == errno.EINPROGRESS:
        signalled, _, _ = select.select([wake], [sock], [])
        if signalled:
            return False
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code != 0:
        sock.close()
        raise OSError(code, os.strerror(code))
    return True


def send_typed(client: Client) -> None:
    """Send what was typed, as far as the kernel takes it; after the end of input, end our side."""
    try:
        if client.outbox:
            del client.outbox[: client.sock.send(client.outbox)]
        if client.typed_all and not client.outbox and not client.sent_all:
            client.sock.shutdown(socket.SHUT_WR)
            client.sent_all = True
    except BlockingIOError:
        pass
    except OSError:  # what the server said before it went can still be read
        client.broken = True
        client.outbox.clear()


def close_in_order(client: Client) -> None:
    """End our side, and discard what comes until the server ends its own.

    To close a connection with something unread in it would reset it.
    """
    end = time.monotonic() + CLOSE_SECONDS
    with suppress(OSError):
        client.sock.shutdown(socket.SHUT_WR)
        while (left := end - time.monotonic()) > 0:
            ready, _, _ = select.select([client.sock], [], [], left)
            if ready and not client.sock.recv(READ_SIZE):
                break


# ---------------------------------------------------------------------------------------------
# 5. From the server
# ---------------------------------------------------------------------------------------------


def receive(client: Client) -> None:
    """Receive once from the server."""
    try:
        data = client.sock.recv(READ_SIZE)
    except BlockingIOError:
        return
    except OSError:
        data, client.broken = b"", True
    client.ended = not data
    on_server(client, data)


def on_server(client: Client, data: bytes) -> None:
    """Show what came; give the name when it is first asked for (CLIENT-8)."""
    show(client, data, final=client.ended)
    follow(client, data)
    if client.name is not None and client.line == PROMPT and not client.ended:
        line = client.name + b"\n"
        client.outbox += line
        show(client, line)
        client.name = None


def follow(client: Client, data: bytes) -> None:
    """Keep the beginning of the line that the server is at, and of the last one before it."""
    lines, newline, rest = data.rpartition(b"\n")
    if newline:
        _, earlier, last = lines.rpartition(b"\n")
        begun = b"" if earlier else bytes(client.line)
        client.last_line = (begun + last)[:LINE_KEPT].removesuffix(b"\r")
        client.line.clear()
    client.line += rest[: LINE_KEPT - len(client.line)]


def ending(client: Client) -> int:
    """Say how it ended, as the server's last line tells (CLIENT-5); give the exit status."""
    last = client.last_line
    if last == GOOD_ENDING or last.startswith(GOODBYE):
        complain("Disconnected\n")
        return 0
    if last in BAD_ENDINGS:
        complain("Disconnected\n")
        return 1
    if client.sent_all and not client.broken:
        return 0
    complain("Connection lost\n")
    return 1


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
    if data:
        client.outbox += data
        client.unfinished = not data.endswith(b"\n")
    elif client.unfinished:
        client.outbox += b"\n"


# ---------------------------------------------------------------------------------------------
# 7. Loop
# ---------------------------------------------------------------------------------------------


def run(client: Client) -> int:
    """Pass on what comes, both ways, until either side ends it; give the exit status."""
    while not client.ended or client.screen:
        readable, writable = wait(client)
        if client.wake in readable:
            close_in_order(client)
            return 0
        if 1 in writable:
            write_screen(client)
        if client.sock in readable:
            receive(client)
        if 0 in readable:
            on_keyboard(client)
        if not (client.broken or client.ended):
            send_typed(client)
    return ending(client)


def wait(client: Client) -> tuple[list[socket.socket | int], list[socket.socket | int]]:
    """Wait until something can be done; give what can be read, and written."""
    readers: list[socket.socket | int] = [client.wake]
    writers: list[socket.socket | int] = []
    if not client.ended and len(client.screen) < MAX_WAITING:
        readers.append(client.sock)
    if may_type(client):
        readers.append(0)
    if client.outbox:
        writers.append(client.sock)
    if client.screen:
        writers.append(1)
    readable, writable, _ = select.select(readers, writers, [])
    return readable, writable


def may_type(client: Client) -> bool:
    """Tell whether standard input is read: not before the name that --name gives was sent."""
    at_work = not (client.typed_all or client.broken or client.ended)
    return at_work and client.name is None and len(client.outbox) < MAX_WAITING


# ---------------------------------------------------------------------------------------------
# 8. Start and stop
# ---------------------------------------------------------------------------------------------

USAGE = """\
usage: chat-client [--host HOST] [--port PORT] [--name NAME] [--help] [--version]
"""

OPTIONS_HELP = f"""{USAGE}
A chat client. It shows what the server sends and sends each line of its input.
The connection is not encrypted: whoever is on the way can read and change it.

  --host HOST    where the server is (default {HOST})
  --port PORT    its port (default {PORT})
  --name NAME    the screen name to give (default: be asked for it)
  --help         print this and exit
  --version      print the version and exit

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


def screen_name(text: str) -> bytes:
    """Read a name; whether it is a good one is for the server to say, if it is one line."""
    if CONTROL.search(text) or "\n" in text:
        raise ValueError(text)
    return os.fsencode(text)


VALUES: dict[str, Callable[[str], object]] = {
    "--host": str,
    "--port": port_number,
    "--name": screen_name,
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
        setattr(options, name.removeprefix("--"), VALUES[name](value))
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
        return run(Client(sock, wake, options.name))
    except OSError:
        return 1  # standard output is gone; an error of the connection does not come this far


if __name__ == "__main__":
    sys.exit(main())
