"""What is fuzzed, all servers or all clients at once: what is random there, and what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis.strategies import SearchStrategy

from conformance.builds.build import Build, build_all
from conformance.read import manifest
from conformance.session.request import OUTPUT
from fuzz import clients, compare, scenario, scripted
from fuzz.session import Session
from fuzz.sessions import SESSIONS
from fuzz.stages import Stages
from fuzz.visit import Visit
from fuzz.visits import VISITS

ROOT = Path(__file__).parents[2]


@dataclass
class Wrong:
    """What is wrong in a session, and all that was seen in it."""

    what: Any
    seen: Any


class Servers:
    """Sessions, played on all servers at once."""

    sessions: SearchStrategy[Session] = SESSIONS
    batch = 50  # sessions that Hypothesis makes in one go

    def __init__(self, builds: Mapping[str, Build]) -> None:
        self.stages = Stages(builds)
        self.played = self.steps = 0

    def play(self, session: Session) -> Wrong | None:
        seen = self.stages.play(session)
        self.played += 1
        self.steps += len(session.whole())
        found = compare.disagreement(session, seen)
        return Wrong(found, seen) if found else None

    def write(self, path: Path, session: Session, wrong: Wrong) -> str:
        """Write a scenario that shows it; in few words, what it is."""
        scenario.write(path, session, wrong.seen, wrong.what)
        return str(wrong.what)

    def end(self) -> None:
        self.stages.end()


class Clients:
    """Visits, played by all clients."""

    sessions: SearchStrategy[Visit] = VISITS
    batch = 10

    def __init__(self, builds: Mapping[str, Build]) -> None:
        self.builds = builds
        self.played = self.steps = 0

    def play(self, visit: Visit) -> Wrong | None:
        seen = clients.play(self.builds, visit)
        self.played += 1
        self.steps += len(visit.happenings)
        found = clients.differs(visit, seen)
        return Wrong(found, seen) if found else None

    def write(self, path: Path, visit: Visit, wrong: Wrong) -> str:
        """Write a scenario that shows it; in few words, what it is."""
        scripted.write(path, visit, wrong.seen, wrong.what)
        texts = {**wrong.seen, clients.TEXT: clients.expected(visit)}
        told = (f"  {name}: {one.get(wrong.what, b'')!r}" for name, one in texts.items())
        return "\n".join([f"what was {wrong.what}", *told])

    def end(self) -> None:
        """Nothing of it goes on."""


def builds(role: str, folder: Path = ROOT) -> dict[str, Build]:
    """The programs, built as a run builds them, by the names of their implementations."""
    found = manifest.find(sorted((folder / f"{role}s").iterdir()))
    made = build_all(found, ROOT / OUTPUT)
    for one in made.values():
        if problem := one.error or one.unavailable:
            sys.exit(f"{one.implementation.label}: {problem}")
    return {one.implementation.name: one for one in made.values()}
