"""The command line: what it may hold, and what --help and --version print (PROG-2, PROG-4, PROG-7).

Offers: Options, parse_options, complain.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

VERSION = "0.1.0"


class Options:
    """What the command line says, or the default of what it leaves out."""

    def __init__(self) -> None:
        self.host: str = "localhost"
        self.port: int = 8080
        self.name: str | None = None  # answers the prompt for the name
        self.retries: int = 10
        self.retry_delay: float = 1.0  # seconds

    @property
    def address(self) -> str:
        """Where the server is; a host of IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


USAGE = """\
usage: chat-client [--host HOST] [--port PORT] [--name NAME]
                   [--retries N] [--retry-delay SECONDS] [--help] [--version]
"""

HELP = f"""{USAGE}
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
        name, equals, value = word.partition("=")
        if word == "--help":
            answer(HELP)
        elif word == "--version":
            answer(f"chat-client {VERSION} (Python, protocol 1)\n")
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
    before, point, after = text.partition(".")
    if not is_number(before) or (point and not is_number(after)) or float(text) == 0:
        raise ValueError(text)
    return float(text)


VALUES: dict[str, Callable[[str], object]] = {
    "--host": host,
    "--port": lambda text: whole(text, 1, 65535),
    "--name": name,
    "--retries": lambda text: whole(text, 0),
    "--retry-delay": seconds,
}


def answer(text: str) -> NoReturn:
    """Print what --help or --version asks for."""
    with suppress(OSError):
        os.write(1, text.encode())
    sys.exit(0)


def usage_error(message: str) -> NoReturn:
    """End the program for a command line that is wrong."""
    complain(f"{USAGE}chat-client: error: {message}\n")
    sys.exit(2)


def complain(message: str) -> None:
    """Say something on standard error. Where that fails, nothing can be said about it."""
    data = os.fsencode(message)
    with suppress(OSError):
        while data:
            data = data[os.write(2, data) :]
