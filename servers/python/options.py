"""The command line: what it may hold, and what --help and --version print (PROG-1, PROG-4, PROG-7).

Offers: Options, parse_options, usage_error, end.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from log import write_all

TYPE_CHECKING = False  # as in typing, which is slow to import
if TYPE_CHECKING:
    from typing import NoReturn

VERSION = "0.1.0"


class Options:
    """What the command line says; here stands the default of what it leaves out."""

    host = "127.0.0.1"
    port = 8080
    max_clients = 10_000  # connections
    max_queue = 1024 * 1024  # bytes that may wait for one user
    join_timeout = 60.0  # seconds
    rate: int | None = None  # lines a second
    accounts: str | None = None
    members_only = False
    log: str | None = None
    quiet = False


HELP = """\
usage: chat-server [OPTION]...

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
            end(0, HELP)
        elif word == "--version":
            end(0, f"chat-server {VERSION} (Python, protocol 1)\n")
        elif word in FLAGS:
            setattr(options, field_name(word), True)
        elif name in VALUES:
            set_option(options, name, value if equals else next(rest, None))
        else:
            usage_error(f"not an option: {word}")
    if options.members_only and options.accounts is None:
        usage_error("--members-only needs --accounts")
    return options


def set_option(options: Options, name: str, value: str | None) -> None:
    """Set an option, or end the program for a bad value."""
    if value is None:
        usage_error(f"no value for {name}")
    try:
        setattr(options, field_name(name), VALUES[name](value))
    except ValueError:
        usage_error(f"bad value for {name}: {value}")


def field_name(option: str) -> str:
    """Name the field of Options that an option is kept in."""
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


def usage_error(message: str) -> NoReturn:
    """End the program for a command line that is wrong."""
    end(2, f"chat-server: {message} (try --help)\n")


def end(status: int, message: str) -> NoReturn:
    """End the program before it has begun, with its only words."""
    write_all(2 if status else 1, os.fsencode(message))
    sys.exit(status)
