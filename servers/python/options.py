"""The command line: what it may hold, and what --help and --version print (PROG-1, PROG-4, PROG-7).

Offers: Options, parse_options, usage_error, fail.
"""

from __future__ import annotations

import os
import sys

from log import write_all

TYPE_CHECKING = False  # as in typing, which is slow to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

VERSION = "0.1.0"


class Options:
    """What the command line says, or the default of what it leaves out."""

    def __init__(self) -> None:
        self.host: str = "127.0.0.1"
        self.port: int = 8080
        self.max_clients: int = 10_000  # connections
        self.max_queue: int = 1024 * 1024  # bytes that may wait for one user
        self.join_timeout: float = 60.0  # seconds
        self.rate: int | None = None  # lines a second
        self.accounts: str | None = None
        self.members_only: bool = False
        self.log: str | None = None
        self.quiet: bool = False


USAGE = """\
usage: chat-server [--host HOST] [--port PORT] [--max-clients N] [--max-queue BYTES]
                   [--join-timeout SECONDS] [--rate N] [--log FILE] [--accounts FILE]
                   [--members-only] [--quiet] [--help] [--version]
"""

HELP = f"""{USAGE}
A chat server: one room, lines of text over TCP.
Nothing is encrypted, passwords neither. On a network that is not yours, put an SSH tunnel
or a TLS proxy before it (README.md tells how).

  --host HOST             address to listen on (default 127.0.0.1)
  --port PORT             port to listen on; 0 picks a free one (default 8080)
  --max-clients N         connections at a time (default 10000)
  --max-queue BYTES       bytes that may wait for one user before it is dropped;
                          4096 or more (default 1048576)
  --join-timeout SECONDS  time to give a name, and its password (default 60)
  --rate N                lines a second that are taken up from one user; more of them wait
                          (default: as many as come)
  --log FILE              append what happens to FILE, as lines of JSON; opened anew on
                          SIGHUP (default: no log)
  --accounts FILE         names that need a password: a file as `htpasswd -B` makes it;
                          read anew on SIGHUP (default: no accounts)
  --members-only          let in only those who have an account
  --quiet                 do not print what the room sees (default: print it)
  --help                  print this and exit
  --version               print the version and exit

Lines on standard input are announced to all; /help there lists the operator's commands.
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
            answer(f"chat-server {VERSION} (Python, protocol 1)\n")
        elif word in FLAGS:
            setattr(options, field_name(word), True)
        elif name not in VALUES:
            usage_error(f"{'unknown option' if word.startswith('-') else 'not an option'}: {word}")
        else:
            set_option(options, name, value if equals else next(rest, None), equals or " ")
    if options.members_only and options.accounts is None:
        usage_error("--members-only needs --accounts")
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


def host(text: str) -> str:
    """Read a host. An unset variable of a shell must not open the door to the whole network."""
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
    before, point, after = text.partition(".")
    if not is_number(before) or (point and not is_number(after)) or float(text) == 0:
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


def answer(text: str) -> NoReturn:
    """Print what --help or --version asks for."""
    write_all(1, text.encode())
    sys.exit(0)


def usage_error(message: str) -> NoReturn:
    """End the program for a command line that is wrong."""
    fail(2, f"{USAGE}chat-server: error: {message}\n")


def fail(status: int, message: str) -> NoReturn:
    """End the program before it has begun."""
    write_all(2, os.fsencode(message))
    sys.exit(status)
