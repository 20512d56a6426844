"""Right programs that do in another way what a rule leaves open: no scenario may accuse them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from wrong.bug import Program, name_of, run_one

P = TypeVar("P", bound=Program)


@dataclass(frozen=True)
class Variant:
    program: type[Program]
    scenarios: tuple[str, ...]  # the keys of those that could accuse it


class Variants(dict[str, Variant]):
    """Right programs by name: `ClosesWhatItInherits` is `closes-what-it-inherits`."""

    def right(self, *scenarios: str) -> Callable[[type[P]], type[P]]:
        """Register a program with the scenarios that it must pass."""

        def register(program: type[P]) -> type[P]:
            self[name_of(program)] = Variant(program, scenarios)
            return program

        return register

    def main(self) -> int:
        """Run the program of `--variant NAME` with the options that follow."""
        return run_one("--variant", {name: one.program for name, one in self.items()})
