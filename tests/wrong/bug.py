"""What is known of a wrong program: the rule that it breaks, and where a scenario must catch it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
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


def run_one(option: str, programs: Mapping[str, type[Program]]) -> int:
    """Run the program that the command line names by this option, with the options that follow."""
    match sys.argv[1:]:
        case [given, name, *arguments] if given == option and name in programs:
            return programs[name].main(arguments)
    print(f"usage: {option} NAME [OPTION]…", "names:", *programs, sep="\n  ", file=sys.stderr)
    return 2


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
        return run_one("--bug", {name: bug.program for name, bug in self.items()})
