"""Builds the six programs, those in C with sanitizers, and plays a cell with one of them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from client_plays import ClientPlay
from play import Play
from server_plays import ServerPlay
from table import LANGUAGES, Cell
from variants import copy_under

from conformance.builds.build import Build, build_all
from conformance.read import manifest
from conformance.session.request import OUTPUT

ROOT = Path(__file__).parents[2]
PLAYS: dict[str, type[Play]] = {"server": ServerPlay, "client": ClientPlay}
Builds = dict[tuple[str, str], Build]


def build_programs(folder: Path) -> Builds:
    """Build the programs as a run does; those in C from copies in the folder."""
    found: Builds = {}
    for role in PLAYS:
        sanitized = copy_under("sanitizers", role, folder)
        places = [ROOT / f"{role}s" / one for one in LANGUAGES[1:]]
        places.append(folder / f"{role}-{sanitized}")
        for build in build_all(manifest.find(places), ROOT / OUTPUT).values():
            assert not build.error, build.error
            found[role, build.implementation.name.removesuffix("-sanitizers")] = build
    return found


def play_cell(builds: Builds, cell: Cell) -> Play:
    """Play a cell; raises AssertionError if something is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        played = PLAYS[cell.role](builds[cell.role, cell.program], cell, Path(folder))
        try:
            played.play()
        finally:
            played.close()
    return played
