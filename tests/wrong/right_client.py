"""A small chat client that keeps every rule of PROTOCOL.md but those of optional features.

Like the right server it is cut into small methods, so that a wrong client changes just one.
"""

from __future__ import annotations

import codecs
import os
import re
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import ClassVar

from wrong.options import CommandLine, Option, number

PROMPT = b"Enter your screen name: "
READ_SIZE = 64 * 1024
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
MAX_REMEMBERED = 4096  # of a line without end; all of it is shown
MAX_UNSENT = 64 * 1024
LINGER_SECONDS = 1.0
KEYBOARD, SCREEN = 0, 1


def is_name(text: str) -> bool:
    return not re.search("[\x00-\x1f\x7f]", text)


class Client:
    OPTIONS: ClassVar[dict[str, Option]] = {
        "--host": Option("localhost"),
        "--port": Option("8080", number(1, 65535)),
        "--name": Option("", is_name),
    }
    CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
    GOOD_ENDINGS = (b"Server is shutting down",)
    BAD_ENDINGS = (
        b"! too many attempts",
        b"! timed out",
        b"! server full",
        b"! kicked by the operator",
    )
    STATUS_AFTER_SIGNAL = 0
    STATUS_AFTER_BAD_ENDING = 1
    command_line: type[CommandLine] = CommandLine

    def __init__(self, options: dict[str, str]) -> None:
        self.name = os.fsencode(options["--name"])  # to be sent at the prompt; then empty
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self.return_held = ""  # a carriage return that may yet turn out to belong to a line end
        self.line = b""  # what has come of the line that is coming in
        self.last = b""  # the last whole line
        self.outbox = bytearray()
        self.last_typed = b"\n"
        self.keyboard_ended = False
        self.sending_ended = False
        self.sending_failed = False
        self.signalled = False
        self.selector = selectors.PollSelector()

    # From the server to the screen

    def on_server(self, data: bytes) -> None:
        self.show(data)
        self.follow(data)
        if self.name and self.line == PROMPT:
            self.answer_prompt()

    def answer_prompt(self) -> None:
        line, self.name = self.name + b"\n", b""
        self.send(line)
        self.show(line)

    def show(self, data: bytes, final: bool = False) -> None:
        text = self.return_held + self.decode(data, final)
        self.return_held = "\r" if text.endswith("\r") and not final else ""
        text = text.removesuffix(self.return_held).replace("\r\n", "\n")
        self.write(self.CONTROL.sub("\ufffd", text))

    def decode(self, data: bytes, final: bool) -> str:
        return self.decoder.decode(data, final)

    def write(self, text: str) -> None:
        left = text.encode()
        while left:
            left = left[os.write(SCREEN, left) :]

    def follow(self, data: bytes) -> None:
        *whole, rest = (self.line + data).split(b"\n")
        self.line = rest[:MAX_REMEMBERED]
        if whole:
            self.last = whole[-1].removesuffix(b"\r").removeprefix(PROMPT)

    # From the keyboard to the server

    def on_keyboard(self, data: bytes) -> None:
        self.last_typed = data
        self.send(data)

    def end_of_keyboard(self) -> None:
        self.keyboard_ended = True
        if not self.last_typed.endswith(b"\n"):
            self.send(b"\n")

    def send(self, data: bytes) -> None:
        if not self.sending_failed:
            self.outbox += data

    def flush(self) -> None:
        try:
            while self.outbox:
                del self.outbox[: self.sock.send(self.outbox)]
            if self.keyboard_ended and not self.sending_ended:
                self.sending_ended = True
                self.end_sending()
        except BlockingIOError:
            pass
        except OSError:  # it has closed; what it said before is still to be read
            self.outbox.clear()
            self.sending_failed = True

    def end_sending(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    # The connection and its end

    def connect(self, host: str, port: int) -> None:
        """Try each address that the host has; the last error counts."""
        error: OSError | None = None
        for family, kind, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            self.sock = socket.socket(family, kind)
            self.prepare()
            try:
                self.sock.connect(address)
            except OSError as failure:
                error = failure
                self.sock.close()
            else:
                self.sock.setblocking(False)
                return
        assert error
        raise error

    def prepare(self) -> None:
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def cannot_connect(self, host: str, port: int, error: Exception) -> int:
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.complain(f"cannot connect to {where}: {getattr(error, 'strerror', None) or error}")
        return 1

    def ended(self, in_order: bool) -> int:
        """What the last line says about why the server has closed."""
        self.show(b"", final=True)
        if self.last in self.GOOD_ENDINGS or self.last.startswith(b"Goodbye, "):
            self.complain("Disconnected")
            return 0
        if self.last in self.BAD_ENDINGS:
            self.complain("Disconnected")
            return self.STATUS_AFTER_BAD_ENDING
        if self.keyboard_ended and in_order:
            return 0
        return self.connection_lost()

    def connection_lost(self) -> int:
        self.complain("Connection lost")
        return 1

    def complain(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def leave(self) -> int:
        """After Ctrl+C: end our side, and discard what comes until the server ends its own."""
        deadline = time.monotonic() + LINGER_SECONDS
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
            self.sock.settimeout(LINGER_SECONDS)
            while self.sock.recv(READ_SIZE) and time.monotonic() < deadline:
                pass
        self.sock.close()
        return self.STATUS_AFTER_SIGNAL

    # The loop

    def run(self) -> int:
        while not self.signalled:
            self.watch(self.sock.fileno(), READ | (WRITE if self.outbox else 0))
            self.watch(KEYBOARD, READ if self.listens_to_keyboard() else 0)
            ready = {key.fd: events for key, events in self.selector.select()}
            if self.signalled:
                break
            if KEYBOARD in ready:
                self.read_keyboard()
            if ready.get(self.sock.fileno(), 0) & READ:
                try:
                    data = self.sock.recv(READ_SIZE)
                except BlockingIOError:
                    continue
                except OSError:
                    return self.ended(in_order=False)
                if not data:
                    return self.ended(in_order=True)
                self.on_server(data)
            self.flush()
        return self.leave()

    def read_keyboard(self) -> None:
        try:
            data = os.read(KEYBOARD, READ_SIZE)
        except OSError:
            data = b""
        if data:
            self.on_keyboard(data)
        else:
            self.end_of_keyboard()

    def listens_to_keyboard(self) -> bool:
        return not self.keyboard_ended and not self.name and len(self.outbox) <= MAX_UNSENT

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
            signal.signal(each, self.on_signal)

    def on_signal(self, which: int, frame: object) -> None:
        self.signalled = True
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)

    @classmethod
    def main(cls, arguments: list[str]) -> int:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda *_: os._exit(0))
        options = cls.command_line("chat-client", cls.OPTIONS).parse(arguments)
        keep_standard_files_open()
        client = cls(options)
        host, port = options["--host"], int(options["--port"])
        try:
            client.connect(host, port)
        except (OSError, UnicodeError) as error:  # a name may be none that can be looked up
            return client.cannot_connect(host, port, error)
        client.catch_signals()
        try:
            return client.run()
        except BrokenPipeError:  # nobody sees the screen any more
            return 1


def keep_standard_files_open() -> None:
    """A closed standard input must not become the number of the socket."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


if __name__ == "__main__":
    sys.exit(Client.main(sys.argv[1:]))
