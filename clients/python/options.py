"""The command line: what it may hold, and what --help and --version print (PROG-2, PROG-4, PROG-7).

Offers: Options, parse_options, complain.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from contextlib import suppress

VERSION = "0.1.0"


class Options:
    """What the command line says; here stands the default of what it leaves out."""

    host = "localhost"
    port = 8080
    name: str | None = None  # answers the prompt for the name
    retries = 10
    retry_delay = 1.0  # seconds

    @property
    def address(self) -> str:
        """Where the server is; a host of IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


HELP = """\
usage: chat-client [OPTION]...

A chat client. It shows what the server sends and sends each line of its input.
Nothing is encrypted, passwords neither. On a network that is not yours, use an SSH tunnel
or a TLS proxy (see README.md).

  --host HOST            where the server is (default localhost)
  --port PORT            its port (default 8080)
  --name NAME            the screen name to give (default: be asked for it)
  --retries N            how often a connection that was lost is tried again; 0: not at all
                         (default 10)
  --retry-delay SECONDS  before the first of these tries; it doubles with each, up to 30 s
                         (default 1)
  --help                 print this and exit
  --version              print the version and exit

In the chat, /help lists the commands. Ctrl+C ends the client; so does, once all is sent, Ctrl+D.
On a terminal, and with the package prompt_toolkit, a line can be edited; Up brings back those
typed before, and TAB completes commands and names.
"""


def parse_options(words: list[str]) -> Options:
    """Read the command line; the first word that asks for help or is wrong ends the program."""
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
    """Read the value of an option, or end the program for a bad one."""
    if text is None:
        raise usage_error(f"no value for {option}")
    try:
        return VALUES[option](text)
    except ValueError:
        raise usage_error(f"bad value for {option}: {text}") from None


def host(text: str) -> str:
    """Read a host. Nothing, or `*`, would be any address."""
    if text in ("", "*"):
        raise ValueError(text)
    return text


def name(text: str) -> str:
    """Read a name; whether it is a good one is for the server to say, if it is one line."""
    if any(unicodedata.category(letter) == "Cc" for letter in text):
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
    """Say what is wrong with the command line; to be raised."""
    return end(2, f"chat-client: {message} (try --help)\n")


def end(status: int, message: str) -> SystemExit:
    """Say the only words of a program that ends before it has begun; to be raised."""
    complain(message, 2 if status else 1)
    return SystemExit(status)


def complain(message: str, stream: int = 2) -> None:
    """Write a text. Where that fails, nothing can be said about it."""
    data = os.fsencode(message)
    with suppress(OSError):
        while data:
            data = data[os.write(stream, data) :]
