"""The tables that `conformance compare` measures: start time, memory and size of each program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

from conformance.builds.build import Build, sources_of
from conformance.cli.common import built
from conformance.model import Implementation, Program, Role, Suite
from conformance.play.examine.measure import CONNECTIONS, STARTS, Measured, measure
from conformance.report.folder.attached import Table
from conformance.session.machine import processor

SECONDS = 10.0  # timeout for a program to get ready

_Rows: TypeAlias = dict[str, Callable[[Measured], float | None]]

_MEMORY: _Rows = {"memory then, KiB": lambda one: one.memory // 1024}
_ROWS: dict[Role, _Rows] = {
    Role.SERVER: {
        "time until it is ready, ms": lambda one: round(one.seconds * 1000, 1),
        **_MEMORY,
        "memory for each idle connection, bytes": lambda one: _rounded(one.per_connection),
    },
    Role.CLIENT: {
        "time until it has connected, ms": lambda one: round(one.seconds * 1000, 1),
        **_MEMORY,
    },
}
_SIZE = "size of the built program, or of its sources, KiB"


def tables(found: Sequence[Implementation], suite: Suite, output: Path) -> list[Table]:
    """Build and measure the programs: a table for each role that several programs have."""
    roles = [list(some) for _, some in groupby(found, key=lambda one: one.role)]
    several = [some for some in roles if len(some) > 1]
    builds = built((one for some in several for one in some), output)
    return [_table([builds[one.label] for one in some], suite, output) for some in several]


def _table(builds: Sequence[Build], suite: Suite, output: Path) -> Table:
    role = builds[0].implementation.role
    look = partial(_measured, program=suite.programs.get(role, Program()))
    measured = [look(build) for build in builds]
    rows = [[name, *(one and of(one) for one in measured)] for name, of in _ROWS[role].items()]
    rows.append([_SIZE, *(_size(build, output) for build in builds)])
    return Table(
        title=f"Start, memory and size of {role}s",
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        columns=["", *(build.implementation.label for build in builds)],
        rows=rows,
        notes=[processor(), *_notes(role), *_unmeasured(builds, measured)],
    )


def _measured(build: Build, program: Program) -> Measured | None:
    if build.error or build.unavailable:
        return None
    return measure(build, program, SECONDS)


def _notes(role: Role) -> Iterable[str]:
    yield f"the best of {STARTS} starts; other load on this machine was not prevented"
    if role is Role.SERVER:
        yield f"{CONNECTIONS} connections that send nothing"


def _unmeasured(builds: Sequence[Build], measured: Sequence[Measured | None]) -> Iterable[str]:
    for build, one in zip(builds, measured, strict=True):
        if one is None:
            why = build.unavailable or build.error.partition("\n")[0]
            remedy = f"conformance doctor {build.implementation.folder}"
            yield f"{build.implementation.name}: {why or f'it does not get ready ({remedy})'}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value)


def _size(build: Build, output: Path) -> float | None:
    """KiB of the files that its build made, or of its sources if it has no build."""
    if build.error or build.unavailable:
        return None
    builds = output.resolve() / "builds"
    words = [Path(word) for word in build.argv]
    made = next((word.parent for word in words if word.is_relative_to(builds)), None)
    files = made.rglob("*") if made else sources_of(build.implementation, output)
    return round(sum(file.stat().st_size for file in files if file.is_file()) / 1024, 1)
