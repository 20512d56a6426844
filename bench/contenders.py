"""Who is measured: our servers, the yardstick, the server people write first, and the peers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bench import HOST, PROJECT
from bench.peers import PEERS, Peer
from conformance.build import Build

VERSION_SECONDS = 10.0


class Standing(StrEnum):
    """What a contender is to us."""

    OURS = "ours"
    YARDSTICK = "yardstick"  # what is possible; no contender in truth
    FIRST = "first"  # what people write first
    PEER = "peer"


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that can be started."""

    name: str
    title: str
    standing: Standing
    protocol: str
    argv: tuple[str, ...]  # with {port} and {config} to be filled in
    folder: Path  # where it is started
    config: str = ""  # the text of its configuration file, with {host}, {port} and {folder}
    version: str = ""

    def command(self, port: int, scratch: Path) -> list[str]:
        """Its command line for a port; writes its configuration file."""
        path = scratch / f"{self.name}.conf"
        if self.config:
            path.write_text(configured(self.config, port, scratch), encoding="utf-8")
        return [
            word.replace("{port}", str(port)).replace("{config}", str(path)) for word in self.argv
        ]

    @property
    def program_bytes(self) -> int:
        """The size of its program file; of its script, where it is one."""
        files = [self.folder / word for word in self.argv if (self.folder / word).is_file()]
        scripts = [path for path in files[1:] if path.suffix == ".py"]
        return (scripts or files)[0].stat().st_size


def configured(config: str, port: int, scratch: Path) -> str:
    """A configuration file's text with its places filled."""
    return config.format(host=HOST, port=port, folder=scratch)


# --- Those there are -----------------------------------------------------------------------------


def ours(builds: Iterable[Build]) -> list[Contender]:
    """Our servers, from what was built of them; the room's lines are for no one here."""
    options = ("--host", HOST, "--port", "{port}", "--quiet")
    return [
        Contender(
            name=build.implementation.name,
            title=f"ours, in {build.implementation.language}",
            standing=Standing.OURS,
            protocol="chat",
            argv=(*build.argv, *options),
            folder=build.implementation.folder,
            version=version_of(build.argv, build.implementation.folder),
        )
        for build in builds
    ]


def yardstick(program: Path) -> Contender:
    """The bare minimum of a chat server that batches."""
    argv = (str(program), "--host", HOST, "--port", "{port}")
    title = "bare minimum, in C"
    return Contender("yardstick", title, Standing.YARDSTICK, "chat", argv, PROJECT)


def threads() -> Contender:
    """A thread for each client, in Python."""
    script = str(PROJECT / "bench" / "threads.py")
    argv = (sys.executable, "-I", script, "--host", HOST, "--port", "{port}")
    title = "a thread per client, in Python"
    return Contender("threads", title, Standing.FIRST, "chat", argv, PROJECT)


def installed(peer: Peer) -> Contender | None:
    """A peer, where its program is on this machine."""
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


def missing_peers() -> list[Peer]:
    """Those that are not on this machine."""
    return [peer for peer in PEERS if not find_program(peer.program)]


def find_program(name: str) -> str | None:
    """Where a program is; servers are often where only root's PATH leads."""
    places = [os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"]
    return shutil.which(name, path=os.pathsep.join(places))


def version_of(argv: Sequence[str], folder: Path) -> str:
    """The first line that a program says about its version."""
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
