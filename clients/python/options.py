"""The command line (PROG-2, PROG-4 to PROG-8).

Exports: Options, parse_options, complain.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

VERSION = "0.1.0"
MAX_NAME = 1024  # bytes of --name (PROG-7)


class Options:
    """The values of all options, and their defaults."""

    host = "localhost"
    port = 8080
    name: str | None = None  # answers the prompt for the name
    retries = 10
    retry_delay = 1.0  # seconds

    @property
    def address(self) -> str:
        """The host and port of the server, with an IPv6 address in brackets (CLIENT-4)."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


HELP = """\
usage: chat-client [OPTION]...

A chat client. It shows what the server sends, and sends each line of its input.
Nothing is encrypted, not even passwords. On a network that is not yours, use an SSH tunnel
or a TLS proxy (see docs/chat.md).

  --host HOST            host of the server (default localhost)
  --port PORT            port of the server (default 8080)
  --name NAME            answer to the server's prompt for a name (default: you answer it)
  --retries N            attempts to reconnect after the connection was lost; 0 for none
                         (default 10)
  --retry-delay SECONDS  delay before the first attempt; it doubles each time, up to 30 s
                         (default 1)
  --help                 print this and exit
  --version              print the version and exit

In the chat, /help lists the commands. Ctrl+C ends the client. Ctrl+D ends it after everything
was sent.
On a terminal, with the package prompt_toolkit, lines can be edited: Up recalls earlier lines,
and TAB completes commands and names.
"""


def parse_options(words: list[str]) -> Options:
    """Read the command line. The first error, --help or --version ends the program."""
    options = Options()
    rest = iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        if word == "--help":
            raise end(0, HELP)
        if word == "--version":
            raise end(0, f"chat-client {VERSION} (Python, protocol 1)\n")
        if option not in VALUES:
            raise usage_error(f"not an option: {word}")
        field = option.removeprefix("--").replace("-", "_")  # of Options
        setattr(options, field, read_value(option, value if equals else next(rest, None)))
    return options


def read_value(option: str, text: str | None) -> object:
    """Read the value of an option. A bad one ends the program."""
    if text is None:
        raise usage_error(f"no value for {option}")
    try:
        return VALUES[option](text)
    except ValueError:
        raise usage_error(f"bad value for {option}: {text}") from None


def host(text: str) -> str:
    """Read a host. An empty one, or `*`, would mean any address."""
    if text in ("", "*"):
        raise ValueError(text)
    return text


def name(text: str) -> str:
    """Read a name, which must be one line. The server decides whether it is valid."""
    if len(os.fsencode(text)) > MAX_NAME or not {"\r", "\n"}.isdisjoint(text):
        raise ValueError(text)
    return text


def is_number(text: str) -> bool:
    """Whether a text is one to nine digits."""
    return len(text) <= 9 and text.isascii() and text.isdigit()


def whole(text: str, low: int, high: int = 999_999_999) -> int:
    """Read a whole number."""
    if not is_number(text) or not low <= int(text) <= high:
        raise ValueError(text)
    return int(text)


def seconds(text: str) -> float:
    """Read a time above 0."""
    if not all(map(is_number, text.split(".", 1))) or float(text) == 0:
        raise ValueError(text)
    return float(text)


VALUES: dict[str, Callable[[str], object]] = {
    "--host": host,
    "--port": lambda text: whole(text, 1, 65535),
    "--name": name,
    "--retries": lambda text: whole(text, 0),
    "--retry-delay": seconds,
}


def usage_error(message: str) -> SystemExit:
    """Print what is wrong with the command line; return the exception to raise."""
    return end(2, f"chat-client: {message} (try --help)\n")


def end(status: int, message: str) -> SystemExit:
    """Print the only message of a program that ends here; return the exception to raise."""
    complain(message, 2 if status else 1)
    return SystemExit(status)


def complain(message: str, stream: int = 2) -> None:
    """Write a message; ignore an error, which could not be reported."""
    data = os.fsencode(message)
    with suppress(OSError):
        while data:
            data = data[os.write(stream, data) :]
