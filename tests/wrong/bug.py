"""What is known of a wrong program: the rule that it breaks, and where a scenario must catch it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar


class Program(Protocol):
    @classmethod
    def main(cls, arguments: list[str]) -> int: ...


P = TypeVar("P", bound=Program)


@dataclass(frozen=True)
class Bug:
    program: type[Program]
    rule: str  # its id
    scenario: str  # the key of the scenario that must catch it
    step: str  # at which it must be caught, or how this step begins


def name_of(program: type[Program]) -> str:
    """The name of a program: that of its class, in small letters."""
    return re.sub("(?<!^)([A-Z]|[0-9]+)", r"-\1", program.__name__).lower()


class Bugs(dict[str, Bug]):
    """Wrong programs by name: `LosesTheSecondLine` is `loses-the-second-line`."""

    def wrong(self, rule: str, scenario: str, step: str) -> Callable[[type[P]], type[P]]:
        """Register a program with what is known of it."""

        def register(program: type[P]) -> type[P]:
            self[name_of(program)] = Bug(program, rule, scenario, step)
            return program

        return register

    def main(self) -> int:
        """Run the program of `--bug NAME` with the options that follow."""
        match sys.argv[1:]:
            case ["--bug", name, *arguments] if name in self:
                return self[name].program.main(arguments)
        print("usage: --bug NAME [OPTION]…", "bugs:", *self, sep="\n  ", file=sys.stderr)
        return 2
