"""One program with one edit, and the verdict on it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).parents[2]
NO_SOURCES = ("__pycache__", "node_modules", "target")


class Verdict(StrEnum):
    """What happened to a mutant."""

    KILLED = "KILLED"  # a case failed
    SURVIVED = "SURVIVED"  # no case failed, and no reason is known
    EQUIVALENT = "EQUIVALENT"  # no rule is broken; the table says why
    DID_NOT_BUILD = "DID NOT BUILD"  # not counted


@dataclass(frozen=True, slots=True)
class Mutant:
    """One edit of one file of a program."""

    id: str  # "server-c/031", or "server-c/bound-3f2a1c" if an operator made it
    program: str  # its label: "server-c"
    folder: Path  # the program's folder, within the project
    file: str  # within this folder
    start: int  # where `before` begins in the text
    before: str
    after: str
    rule: str  # the rule that it breaks; empty if an operator made it
    what: str  # in a few words
    equivalent: str = ""  # why it breaks no rule

    @property
    def path(self) -> Path:
        """The file, within the project."""
        return self.folder / self.file

    @property
    def line(self) -> int:
        """The line of the edit."""
        return text_of(self.path)[: self.start].count("\n") + 1

    @property
    def edited(self) -> str:
        """The whole file, with the edit."""
        text = text_of(self.path)
        return text[: self.start] + self.after + text[self.start + len(self.before) :]

    @property
    def hash(self) -> str:
        """A name for the program with this edit; it depends on all files of the program."""
        return _digest(_hash_of(self.folder), self.file, self.edited)


@dataclass(frozen=True, slots=True)
class Found:
    """The verdict on a mutant, with details."""

    verdict: Verdict
    killed_by: tuple[str, ...] = ()  # keys of cases
    case: str = ""  # the hash of the case that killed it
    rule: str = ""  # the rule that the failure names
    reason: str = ""
    seconds: float = 0.0
    passed: tuple[str, ...] = ()  # the hashes of the cases that did not catch it

    def row(self, mutant: Mutant) -> dict[str, object]:
        """An entry of results.json."""
        return {
            "id": mutant.id,
            "program": mutant.program,
            "file": str(mutant.path),
            "line": mutant.line,
            "rule": mutant.rule or self.rule,
            "what": mutant.what,
            "before": mutant.before,
            "after": mutant.after,
            "verdict": str(self.verdict),
            "killed_by": list(self.killed_by),
            "reason": mutant.equivalent or self.reason,
            "seconds": round(self.seconds, 1),
        }

    def as_data(self) -> dict[str, object]:
        """The data that are kept, for JSON."""
        return asdict(self)


@cache
def text_of(path: Path) -> str:
    """The text of a source in the project."""
    return (PROJECT / path).read_text("utf-8")


@cache
def sources(folder: Path) -> tuple[Path, ...]:
    """All source files of a program, relative to its folder."""
    root = PROJECT / folder
    found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return tuple(sorted(path for path in found if not {*NO_SOURCES} & {*path.parts}))


@cache
def _hash_of(folder: Path) -> str:
    contents = [(PROJECT / folder / path).read_bytes() for path in sources(folder)]
    return _digest(*map(str, sources(folder)), *(hashlib.sha256(c).hexdigest() for c in contents))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
