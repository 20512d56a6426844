"""Makes implementations ready to run: once, before anything is played, and cached by their inputs.

A build's inputs are the files in its implementation's folder, its command, and the versions of the
programs that it needs. Builds of the same inputs share one folder under `builds/`; what the command
printed stands beside it, in a `.log`. A lock is held while a folder is filled, so that two runs in
one checkout build it once, and a build that was cut short leaves no mark and is done again.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conformance.model import Implementation
from conformance.placeholder import complete

BUILD_SECONDS = 600.0  # a first build may compile a whole standard library
VERSION_SECONDS = 10.0
LOG_LINES = 20  # the last lines of a failed build that are shown; the log has all
HASH_DIGITS = 12

# What tools write into a folder by themselves, and no build reads as a source.
CACHES = frozenset({"__pycache__", "node_modules", "target"})

# A Go command must neither fetch another toolchain nor report on this one.
ENVIRONMENT = {"GOTOOLCHAIN": "local", "GOTELEMETRY": "off"}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Build:
    """An implementation that can be started, or the reason why it cannot."""

    implementation: Implementation
    argv: tuple[str, ...] = ()  # to be run in the implementation's folder
    unavailable: str = ""  # what this machine lacks
    error: str = ""  # how the build failed

    def to_json(self) -> dict[str, object]:
        """Plain data, for another process that has found the same implementations."""
        return {"argv": list(self.argv), "unavailable": self.unavailable, "error": self.error}

    @classmethod
    def from_json(cls, implementation: Implementation, data: Mapping[str, object]) -> Build:
        """The other way round."""
        argv = data["argv"]
        assert isinstance(argv, list | tuple)
        return cls(implementation, tuple(argv), str(data["unavailable"]), str(data["error"]))


def build_all(
    implementations: Iterable[Implementation], folder: Path, say: Say = lambda _: None
) -> dict[str, Build]:
    """Build each implementation into a folder under `FOLDER/builds/`; the builds by label."""
    implementations = list(implementations)
    builds = folder.resolve() / "builds"
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(lambda one: build(one, builds, say), implementations)
        return {one.label: made for one, made in zip(implementations, done, strict=True)}


def toolchains(implementations: Iterable[Implementation]) -> dict[str, str]:
    """What each program that is needed here says its version is; Python's first."""
    needed = sorted({program for one in implementations for program in one.needs})
    found = [program for program in needed if find_program(program)]
    return {"python": platform.python_version()} | {name: version_of(name) for name in found}


def build(implementation: Implementation, builds: Path, say: Say) -> Build:
    """Build one implementation, unless that was done before."""
    lacking = [program for program in implementation.needs if not find_program(program)]
    if lacking:
        return _unavailable(implementation, lacking)
    home = builds / f"{implementation.label}-{_fingerprint(implementation)}"
    error = "" if implementation.build is None else _make(implementation, home, say)
    if error:
        return Build(implementation, error=error)
    return _ready(implementation, home)


def find_program(name: str) -> str | None:
    """Where a program is: on PATH, or among those installed beside this Python."""
    return shutil.which(name, path=_search_path())


@functools.cache
def version_of(program: str) -> str:
    """The first line that a program says about its version: `--version`, else `version`."""
    for question in ("--version", "version"):
        answer = _run([find_program(program) or program, question], Path.cwd(), VERSION_SECONDS)
        if answer.status == 0 and answer.output.strip():
            return answer.output.strip().splitlines()[0]
    return "unknown"


def _search_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])


def _unavailable(implementation: Implementation, lacking: Sequence[str]) -> Build:
    programs = " and ".join(lacking)
    verb = "is" if len(lacking) == 1 else "are"
    reason = f"{programs} {verb} not on PATH, needed by {implementation.place.file}"
    return Build(implementation, unavailable=reason)


def _ready(implementation: Implementation, home: Path) -> Build:
    """Spell out the command that runs it, and see that there is such a program."""
    name, *arguments = _words(implementation.run, home)
    program = _program(implementation, name)
    if program is None:
        return _unavailable(implementation, [name])
    if not os.access(program, os.X_OK):
        error = f"{implementation.place.file}: `run` names {program}, which is no program"
        return Build(implementation, error=error)
    return Build(implementation, (program, *arguments))


def _make(implementation: Implementation, home: Path, say: Say) -> str:
    """Build where that was not yet done for these inputs; why it failed, or nothing."""
    complete = home / ".complete"
    with _locked(home):
        if complete.exists():
            return ""
        say(f"building {implementation.label}: {implementation.build}")
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        error = _build_into(home, implementation)
        if not error:
            complete.touch()
        return error


def _build_into(home: Path, implementation: Implementation) -> str:
    """Run the build command; why it failed, or nothing."""
    argv = _words(implementation.build or "", home)
    argv[0] = _program(implementation, argv[0]) or argv[0]
    answer = _run(argv, implementation.folder, BUILD_SECONDS)
    log = home.with_name(home.name + ".log")
    log.write_text(answer.output, encoding="utf-8")
    if answer.status == 0:
        return ""
    shown = answer.output.splitlines()[-LOG_LINES:]
    return "\n".join([f"`{shlex.join(argv)}` {answer.ending} (all of it: {log})", *shown])


def _program(implementation: Implementation, name: str) -> str | None:
    """Where a command's first word leads: with a slash, from the implementation's own folder."""
    return str(implementation.folder.resolve() / name) if "/" in name else find_program(name)


def _words(command: str, home: Path) -> list[str]:
    """Cut a command line into words, then fill in the places, so that these may hold spaces."""
    places = {"build": str(home), "python": sys.executable}
    return [complete(word, places) for word in shlex.split(command)]


def _fingerprint(implementation: Implementation) -> str:
    """A name for all that goes into a build."""
    digest = hashlib.sha256()
    for program in implementation.needs:
        digest.update(f"{find_program(program)} {version_of(program)}\0".encode())
    digest.update(f"{implementation.build}\0".encode())
    for source in _sources(implementation.folder):
        digest.update(f"{source.relative_to(implementation.folder)}\0".encode())
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()[:HASH_DIGITS]


def _sources(folder: Path) -> Iterator[Path]:
    """The files of a folder, but hidden ones and caches, in an order of their own."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.name in CACHES:
            continue
        if entry.is_dir():
            yield from _sources(entry)
        elif entry.is_file():
            yield entry


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Let one process at a time fill a build's folder; the lock ends with its process."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with open(home.with_name(home.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True, slots=True)
class _Answer:
    """How a command ended, and all that it printed."""

    status: int | None  # None: it could not be started, or did not end
    ending: str
    output: str


def _run(argv: Sequence[str], folder: Path, seconds: float) -> _Answer:
    """Run a command to its end, with nothing to read and both its outputs in one."""
    environment = os.environ | ENVIRONMENT | {"PATH": _search_path()}
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        output = (late.output or b"").decode(errors="replace")
        return _Answer(None, f"did not end within {seconds:g} seconds", output)
    except OSError as error:
        return _Answer(None, f"could not be started: {error.strerror}", "")
    ending = f"ended with status {done.returncode}"
    return _Answer(done.returncode, ending, done.stdout.decode(errors="replace"))
