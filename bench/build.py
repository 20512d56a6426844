"""What is compiled before a run: the C programs of the bench, and our servers.

It also finds out which contenders take part. It knows nothing of rows and measurements.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from bench import PROJECT, CannotMeasure
from bench.contenders import Contender, installed, ours, threads, yardstick
from bench.peers import PEERS
from conformance.builds.build import Build, Say, build_all
from conformance.mistakes import Place
from conformance.model import Implementation, Role
from conformance.read.manifest import find

# Shared with `make conformance`: builds are named by their inputs, and so found again.
BUILDS = PROJECT / "build" / "conformance"
_COMPILE = "gcc -std=gnu11 -O2 -o {build}/NAME NAME.c"


@dataclass(slots=True)
class Field:
    """The contenders that take part, and the names of the others with the reason for each."""

    contenders: list[Contender] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def servers() -> dict[str, Implementation]:
    """Our servers by name, as their manifests describe them."""
    return {one.name: one for one in find([PROJECT / "servers"])}


def names(known: Mapping[str, Implementation]) -> list[str]:
    """The names of all possible contenders, in the order in which they are shown."""
    return [*known, "yardstick", "threads", *(peer.name for peer in PEERS)]


def compiled(name: str, say: Say) -> str:
    """The path of one of the bench's C programs, compiled unless that was done before."""
    source = Implementation(
        name=name,
        role=Role.SERVER if name == "yardstick" else Role.CLIENT,
        language="C",
        folder=PROJECT / "bench",
        run=f"{{build}}/{name}",
        build=_COMPILE.replace("NAME", name),
        needs=("gcc",),
        place=Place("bench/build.py", 0),
    )
    (build,) = build_all([source], BUILDS, say).values()
    if problem := _problem(build):
        raise CannotMeasure(problem)
    return build.argv[0]


def assemble(wanted: Collection[str], say: Say) -> Field:
    """Build the contenders that are wanted, as far as they are there."""
    found = Field()
    known = [one for name, one in servers().items() if name in wanted]
    for build in build_all(known, BUILDS, say).values():
        if problem := _problem(build):
            found.left_out[build.implementation.name] = problem
        else:
            found.contenders.append(ours(build))
    if "yardstick" in wanted:
        found.contenders.append(yardstick(compiled("yardstick", say)))
    if "threads" in wanted:
        found.contenders.append(threads())
    _add_peers(found, wanted)
    return found


def _add_peers(found: Field, wanted: Collection[str]) -> None:
    for peer in PEERS:
        if peer.name not in wanted:
            continue
        if contender := installed(peer):
            found.contenders.append(contender)
        else:
            reason = f"{peer.program} is not installed (make bench-peers installs it)"
            found.left_out[peer.name] = reason


def _problem(build: Build) -> str:
    return build.unavailable or build.error
