"""What is known of a wrong program: the rule that it breaks, and who must find out, and where."""

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
    rule: str  # the id of the one that it breaks
    scenario: str  # the key of the one that catches it
    step: str  # the one at which it is caught, or how that begins


class Bugs(dict[str, Bug]):
    """Wrong programs by name: `LosesTheSecondLine` is `loses-the-second-line`."""

    def wrong(self, rule: str, scenario: str, step: str) -> Callable[[type[P]], type[P]]:
        """Enter a program with what is known of it."""

        def register(program: type[P]) -> type[P]:
            name = re.sub("(?<!^)([A-Z]|[0-9]+)", r"-\1", program.__name__).lower()
            self[name] = Bug(program, rule, scenario, step)
            return program

        return register

    def main(self) -> int:
        """Run `--bug NAME` with the options that follow."""
        match sys.argv[1:]:
            case ["--bug", name, *arguments] if name in self:
                return self[name].program.main(arguments)
        print("usage: --bug NAME [OPTION]…", "bugs:", *self, sep="\n  ", file=sys.stderr)
        return 2
