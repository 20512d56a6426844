"""The command lines of PROG-1, PROG-2 and PROG-4, for the right server and the right client."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

VERSION = "0.1.0"


def anything(_: str) -> bool:
    return True


def host(text: str) -> bool:
    return text not in ("", "*")


def number(least: int, most: int = 999_999_999) -> Callable[[str], bool]:
    return lambda text: bool(re.fullmatch("[0-9]{1,9}", text)) and least <= int(text) <= most


def seconds(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text)) and float(text) > 0


@dataclass(frozen=True)
class Option:
    default: str
    good: Callable[[str], bool] = anything
    is_flag: bool = False


class CommandLine:
    """Reads the command line of a program; a wrong program may override a method."""

    bad_status = 2

    def __init__(self, program: str, options: Mapping[str, Option]) -> None:
        self.program = program
        self.options = options

    def parse(self, arguments: list[str]) -> dict[str, str]:
        """The value of every option; a flag that was not given is the empty text."""
        values = {name: option.default for name, option in self.options.items()}
        left = list(arguments)
        while left:
            name, equals, value = (argument := left.pop(0)).partition("=")
            if argument == "--help":
                self.answer(self.help())
            if argument == "--version":
                self.answer(self.version())
            option = self.options.get(name)
            if not option or (option.is_flag and equals):
                self.refuse(f"unrecognized argument: {argument}")
            if option.is_flag:
                values[name] = "yes"
                continue
            if not equals and not left:
                self.refuse(f"{name} needs a value")
            values[name] = value if equals else left.pop(0)
            if not option.good(values[name]):
                self.refuse(f"bad value for {name}: {values[name]}")
        return values

    def help(self) -> str:
        words = [n if o.is_flag else f"{n} ({o.default})" for n, o in self.options.items()]
        words += ["--help", "--version"]
        return f"usage: {self.program} [OPTION VALUE]…\n" + "\n".join(words)

    def version(self) -> str:
        return f"{self.program} {VERSION} (Python, protocol 1)"

    def answer(self, text: str) -> NoReturn:
        print(text, flush=True)
        sys.exit(0)

    def refuse(self, why: str) -> NoReturn:
        print(f"{self.program}: error: {why}", file=sys.stderr, flush=True)
        sys.exit(self.bad_status)
