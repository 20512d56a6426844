"""The contenders: our servers, the yardstick, the server that people write first, and the peers.

It knows how each is started, and nothing of rows, cores and figures.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bench import HOST, PROJECT
from bench.peers import Peer
from conformance.builds.build import VERSION_SECONDS, Build
from conformance.builds.build import find_program as find_usual_program
from conformance.text import fill

_ADDRESS = ("--host", HOST, "--port", "{port}")


class Standing(StrEnum):
    """What a contender is to us."""

    OURS = "ours"
    YARDSTICK = "yardstick"  # shows what is possible; it is not really a contender
    FIRST = "first"  # what people write first
    PEER = "peer"


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that can be started."""

    name: str
    title: str
    standing: Standing
    protocol: str
    argv: tuple[str, ...]  # {port} and {config} are filled in
    folder: Path  # its working directory
    config: str = ""  # text of its configuration file; {host}, {port}, {folder} are filled in
    version: str = ""

    def command(self, port: int, scratch: Path) -> list[str]:
        """Its command line for a port; its configuration file is written into `scratch`."""
        path = scratch / f"{self.name}.conf"
        places = {"host": HOST, "port": str(port), "folder": str(scratch), "config": str(path)}
        if self.config:
            path.write_text(fill(self.config, places), encoding="utf-8")
        return [fill(word, places) for word in self.argv]

    @property
    def program_bytes(self) -> int:
        """The size of its program file, or of its script if it is one."""
        files = [self.folder / word for word in self.argv if (self.folder / word).is_file()]
        scripts = [path for path in files[1:] if path.suffix == ".py"]
        return (scripts or files)[0].stat().st_size


def ours(build: Build) -> Contender:
    """One of our servers, without the lines that it prints about the room."""
    one = build.implementation
    return Contender(
        name=one.name,
        title=f"ours, in {one.language}",
        standing=Standing.OURS,
        protocol="chat",
        argv=(*build.argv, *_ADDRESS, "--quiet"),
        folder=one.folder,
        version=version_of(build.argv, one.folder),
    )


def yardstick(program: str) -> Contender:
    """The least that a chat server can do, in C."""
    title = "bare minimum, in C"
    return Contender("yardstick", title, Standing.YARDSTICK, "chat", (program, *_ADDRESS), PROJECT)


def threads() -> Contender:
    """A thread for each client, in Python."""
    argv = (sys.executable, "-I", str(PROJECT / "bench" / "threads.py"), *_ADDRESS)
    title = "a thread per client, in Python"
    return Contender("threads", title, Standing.FIRST, "chat", argv, PROJECT)


def installed(peer: Peer) -> Contender | None:
    """A peer, if its program is on this machine."""
    program = find_program(peer.program)
    if not program:
        return None
    return Contender(
        name=peer.name,
        title=peer.title,
        standing=Standing.PEER,
        protocol=peer.protocol,
        argv=(program, *peer.options),
        folder=PROJECT,
        config=peer.config,
        version=version_of((program,), PROJECT),
    )


def find_program(name: str) -> str | None:
    """The path of a program; Debian puts servers where only the PATH of root leads."""
    return find_usual_program(name) or shutil.which(
        name, path=os.pathsep.join(["/usr/sbin", "/usr/local/sbin"])
    )


def version_of(argv: Sequence[str], folder: Path) -> str:
    """The first line that a program prints about its version, whatever its exit status is."""
    try:
        done = subprocess.run(
            [*argv, "--version"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    return lines[0] if lines else "unknown"
