"""The command line (PROG-1, PROG-4 to PROG-8).

Exports: Options, parse_options, usage_error, end.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from log import write_all

VERSION = "0.1.0"


class Options:
    """The values of all options, and their defaults."""

    host = "127.0.0.1"
    port = 8080
    max_clients = 10_000  # connections
    max_queue = 1024 * 1024  # bytes in the queue of one user
    join_timeout = 60.0  # seconds
    rate: int | None = None  # lines a second; None for no limit
    accounts: str | None = None
    members_only = False
    log: str | None = None
    quiet = False


HELP = """\
usage: chat-server [OPTION]...

A chat server: one room, lines of text over TCP.
Nothing is encrypted, not even passwords. On a network that is not yours, put an SSH tunnel
or a TLS proxy before it (see docs/chat.md).

  --host HOST             address to listen on (default 127.0.0.1)
  --port PORT             port to listen on; 0 for any free one (default 8080)
  --max-clients N         limit of connections (default 10000)
  --max-queue BYTES       limit of unsent bytes for one user, who is dropped beyond it;
                          4096 or more (default 1048576)
  --join-timeout SECONDS  time to give a name and its password (default 60)
  --rate N                limit of lines a second from one user; further ones wait
                          (default: no limit)
  --log FILE              append events to FILE, as lines of JSON; SIGHUP reopens it
                          (default: no log)
  --accounts FILE         names with passwords, a file as `htpasswd -B` makes it;
                          SIGHUP reads it again (default: no accounts)
  --members-only          only registered names may join
  --quiet                 do not print the lines of the room
  --help                  print this and exit
  --version               print the version and exit

Lines on standard input are announced to all; /help there lists the operator's commands.
"""


def parse_options(words: list[str]) -> Options:
    """Read the command line. The first error, --help or --version ends the program."""
    options = Options()
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        field = name.removeprefix("--").replace("-", "_")  # of Options
        if word == "--help":
            raise end(0, HELP)
        if word == "--version":
            raise end(0, f"chat-server {VERSION} (Python, protocol 1)\n")
        if word in FLAGS:
            setattr(options, field, True)
        elif name in VALUES:
            setattr(options, field, read_value(name, value if equals else next(rest, None)))
        else:
            raise usage_error(f"not an option: {word}")
    if options.members_only and options.accounts is None:
        raise usage_error("--members-only needs --accounts")
    return options


def read_value(name: str, text: str | None) -> object:
    """Read the value of an option. A bad one ends the program."""
    if text is None:
        raise usage_error(f"no value for {name}")
    try:
        return VALUES[name](text)
    except ValueError:
        raise usage_error(f"bad value for {name}: {text}") from None


def host(text: str) -> str:
    """Read a host. An empty one, as from an unset shell variable, would mean all interfaces."""
    if text in ("", "*"):
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
    "--port": lambda text: whole(text, 0, 65535),
    "--max-clients": lambda text: whole(text, 1),
    "--max-queue": lambda text: whole(text, 4096),
    "--join-timeout": seconds,
    "--rate": lambda text: whole(text, 1),
    "--log": str,
    "--accounts": str,
}

FLAGS = ("--quiet", "--members-only")


def usage_error(message: str) -> SystemExit:
    """Print what is wrong with the command line; return the exception to raise."""
    return end(2, f"chat-server: {message} (try --help)\n")


def end(status: int, message: str) -> SystemExit:
    """Print the only message of a program that ends here; return the exception to raise."""
    write_all(2 if status else 1, os.fsencode(message))
    return SystemExit(status)
