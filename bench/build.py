"""Programs made ready: the load generator, and the contenders that are to be compiled."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench import PROJECT, CannotMeasure
from bench.contenders import Contender, installed, ours, threads, yardstick
from bench.peers import PEERS
from conformance.build import build_all, find_program
from conformance.model import Implementation
from conformance.read.manifest import find

BUILDS = (
    PROJECT / "build" / "conformance"
)  # shared with `make conformance`, which knows them by inputs
BUILD_SECONDS = 120.0
_COMPILER = ("gcc", "-std=gnu11", "-O2")

Say = Callable[[str], None]


@dataclass(slots=True)
class Field:
    """Those who take part, and those who do not, each with the reason."""

    contenders: list[Contender] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, contender: Contender | None, reason: str) -> None:
        """One more, in the one list or in the other."""
        if contender:
            self.contenders.append(contender)
        else:
            self.left_out[name] = reason


def servers() -> dict[str, Implementation]:
    """Our servers, by name, as their manifests tell them."""
    return {one.name: one for one in find([PROJECT / "servers"])}


def names(known: Mapping[str, Implementation]) -> list[str]:
    """All contenders that there could be, in the order in which they are shown."""
    return [*known, "yardstick", "threads", *(peer.name for peer in PEERS)]


def compiled(source: Path, folder: Path) -> Path:
    """A C program of the bench, compiled anew."""
    if not find_program(_COMPILER[0]):
        raise CannotMeasure(f"{_COMPILER[0]} is not on PATH; install it by: apt-get install gcc")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / source.stem
    done = subprocess.run(
        [*_COMPILER, "-o", target, source],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise CannotMeasure(f"{source} does not compile:\n{done.stdout.decode(errors='replace')}")
    return target


def assemble(wanted: Collection[str], folder: Path, say: Say) -> Field:
    """Build those who are wanted, and find out who is there."""
    found = Field()
    _add_ours(found, wanted, say)
    if "yardstick" in wanted:
        found.contenders.append(yardstick(compiled(PROJECT / "bench" / "yardstick.c", folder)))
    if "threads" in wanted:
        found.contenders.append(threads())
    for peer in PEERS:
        if peer.name in wanted:
            reason = f"{peer.program} is not installed (make bench-peers installs it)"
            found.add(peer.name, installed(peer), reason)
    return found


def _add_ours(found: Field, wanted: Collection[str], say: Say) -> None:
    known = [one for name, one in servers().items() if name in wanted]
    for build in build_all(known, BUILDS, say).values():
        problem = build.unavailable or build.error
        contender = None if problem else ours([build])[0]
        found.add(build.implementation.name, contender, problem)
