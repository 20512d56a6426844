"""Makes implementations ready to run: once, before anything is played, and cached by their inputs.

A build's inputs are the files in its implementation's folder, its command, and the versions of the
programs that it needs. Builds of the same inputs share one folder under `builds/`; what the command
printed stands beside it, in a `.log`. A lock is held while a folder is filled, so that two runs in
one checkout build it once. Each attempt fills a new folder in it, and only one that succeeded is
noted: what a killed run left, or what its compiler still writes there, is never taken for a build.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import os
import platform
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TextIO

from conformance.model import Implementation
from conformance.text import complete

BUILD_SECONDS = 600.0  # a first build may compile a whole standard library
VERSION_SECONDS = 10.0
TURN_SECONDS = 1.0
LOG_LINES = 20  # the last lines of a failed build that are shown; the log has all
LOG_LABEL = "all of it: "  # before the path of the log
COMPLETE = ".complete"  # names the folder of the attempt that succeeded
HASH_DIGITS = 12

# What tools write into a folder by themselves, and no build reads as a source.
CACHES = frozenset({"__pycache__", "node_modules", "target"})

# A Go command must neither fetch another toolchain nor report on this one. Python leaves nothing
# beside the sources.
ENVIRONMENT = {"GOTOOLCHAIN": "local", "GOTELEMETRY": "off", "PYTHONDONTWRITEBYTECODE": "1"}

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
    builds = folder.resolve() / "builds"
    commands = _Commands()
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else a failed command looks like a success
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            done = {
                one.label: pool.submit(_build, one, builds, say, commands)
                for one in implementations
            }
            # A Ctrl+C that comes just before a wait does not end it: it is seen at the next turn.
            while wait(done.values(), TURN_SECONDS).not_done:
                pass
            return {label: future.result() for label, future in done.items()}
        except BaseException:  # Ctrl+C, above all: what was begun would go on to its end
            pool.shutdown(wait=False, cancel_futures=True)
            commands.end()
            raise


def toolchains(implementations: Iterable[Implementation]) -> dict[str, str]:
    """What each program that is needed here says its version is; Python's first."""
    needed = sorted({program for one in implementations for program in one.needs})
    found = [program for program in needed if find_program(program)]
    return {"python": platform.python_version()} | {name: version_of(name) for name in found}


def _build(implementation: Implementation, builds: Path, say: Say, commands: _Commands) -> Build:
    """Build one implementation, unless that was done before."""
    if reason := lacking(implementation):
        return Build(implementation, unavailable=reason)
    try:
        home = builds / f"{implementation.label}-{_fingerprint(implementation, builds)}"
        made, error = home, ""
        if implementation.build is not None:
            made, error = _make(implementation, home, say, commands)
        return Build(implementation, error=error) if error else _ready(implementation, made)
    except OSError as problem:
        error = f"{problem.filename or builds}: {problem.strerror}"
        return Build(implementation, error=f"it could not be built: {error}")


def lacking(implementation: Implementation) -> str:
    """Which of the programs that it needs are not on this machine, in words, or nothing."""
    missing = [program for program in implementation.needs if not find_program(program)]
    return _lacking(implementation, missing) if missing else ""


def find_program(name: str) -> str | None:
    """Where a program is: on PATH, or among those installed beside this Python."""
    return shutil.which(name, path=_search_path())


@functools.cache
def version_of(program: str) -> str:
    """The first line that a program says about its version: `--version`, else `version`."""
    environment = os.environ | ENVIRONMENT | {"PATH": _search_path()}
    for question in ("--version", "version"):
        argv = [find_program(program) or program, question]
        answer = _Commands().run(argv, Path.cwd(), VERSION_SECONDS, environment)
        if answer.status == 0 and answer.output.strip():
            return answer.output.strip().splitlines()[0]
    return "unknown"


def _search_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])


def _lacking(implementation: Implementation, missing: Sequence[str]) -> str:
    are = "is" if len(missing) == 1 else "are"
    return f"{' and '.join(missing)} {are} not on PATH, needed by {implementation.place.file}"


def _ready(implementation: Implementation, made: Path) -> Build:
    """Spell out the command that runs it, and see that there is such a program."""
    name, *arguments = _words(implementation.run, made)
    program = _program(implementation, name)
    if program is None:
        return Build(implementation, unavailable=_lacking(implementation, [name]))
    if not os.access(program, os.X_OK):
        error = f"{implementation.place.file}: `run` names {program}, which is no program"
        return Build(implementation, error=error)
    return Build(implementation, (program, *arguments))


def _make(
    implementation: Implementation, home: Path, say: Say, commands: _Commands
) -> tuple[Path, str]:
    """Build where that was not yet done for these inputs: the folder, and why it failed."""
    label = implementation.label
    with _locked(home, lambda: say(f"another run builds {label}: waiting"), commands.ended):
        if made := _complete(home):
            return made, ""
        say(f"building {label}: {implementation.build}")
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix="", dir=home))
        error = _build_into(made, implementation, home.with_name(home.name + ".log"), commands)
        if not error:
            (home / COMPLETE).write_text(made.name, "utf-8")
        return made, error


def _complete(home: Path) -> Path | None:
    """The folder of the attempt that succeeded, if one did."""
    try:
        name = (home / COMPLETE).read_text("utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return home / name if name and (home / name).is_dir() else None


def _build_into(made: Path, implementation: Implementation, log: Path, commands: _Commands) -> str:
    """Run the build command; why it failed, or nothing."""
    argv = _words(implementation.build or "", made)
    argv[0] = _program(implementation, argv[0]) or argv[0]
    environment = _environment(log.parent)
    answer = commands.run(argv, implementation.folder, BUILD_SECONDS, environment)
    log.write_text(answer.output, encoding="utf-8")
    if answer.status == 0:
        return ""
    shown = answer.output.splitlines()[-LOG_LINES:]
    return "\n".join(
        [f"the build {answer.ending}: `{shlex.join(argv)}`", *shown, f"{LOG_LABEL}{log}"]
    )


def _program(implementation: Implementation, name: str) -> str | None:
    """Where a command's first word leads: with a slash, from the implementation's own folder."""
    return str(implementation.folder.resolve() / name) if "/" in name else find_program(name)


def _words(command: str, made: Path) -> list[str]:
    """Cut a command line into words, then fill in the places, so that these may hold spaces."""
    places = {"build": str(made), "python": sys.executable}
    return [complete(word, places) for word in shlex.split(command)]


def _fingerprint(implementation: Implementation, builds: Path) -> str:
    """A name for all that goes into a build.

    Of the manifest that is its command alone; results and builds that stand in the same folder
    are made anew by every run.
    """
    digest = hashlib.sha256()
    for program in implementation.needs:
        digest.update(f"{find_program(program)} {version_of(program)}\0".encode())
    digest.update(f"{implementation.build}\0".encode())
    folder = implementation.folder.resolve()
    manifest = folder / Path(implementation.place.file).name
    for source in _sources(folder, {manifest, builds, builds.parent}):
        digest.update(os.fsencode(source.relative_to(folder)) + b"\0")
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()[:HASH_DIGITS]


def _sources(folder: Path, others: Collection[Path]) -> Iterator[Path]:
    """The files of a folder, but hidden ones, caches and `others`, in an order of their own."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.name in CACHES or entry in others:
            continue
        if entry.is_dir():
            yield from _sources(entry, others)
        elif entry.is_file():
            yield entry


@contextmanager
def _locked(home: Path, say: Callable[[], None], ended: threading.Event) -> Iterator[None]:
    """Let one process at a time fill a build's folder; the lock ends with its process.

    `say` is called once where another has it; the waiting stops where this run is ended.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    with open(home.with_name(home.name + ".lock"), "w") as lock:
        if not _is_taken(lock):
            say()
            while not _is_taken(lock):
                if ended.wait(TURN_SECONDS):
                    raise InterruptedError(errno.EINTR, "interrupted")
        yield


def _is_taken(lock: TextIO) -> bool:
    """Take the lock, if nobody has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Answer:
    """How a command ended, and all that it printed."""

    status: int | None  # None: it could not be started, or did not end
    ending: str
    output: str


class _Commands:
    """The commands that run, each with its children in a process group of its own."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._running: set[int] = set()
        self._lock = threading.Lock()

    def run(
        self, argv: Sequence[str], folder: Path, seconds: float, environment: Mapping[str, str]
    ) -> _Answer:
        """Run one to its end, with nothing to read and both its outputs in one.

        These go to a file: a process that it leaves behind may hold a pipe open for ever.
        """
        with tempfile.TemporaryFile() as output:
            try:
                process = self._start(argv, folder, environment, output)
            except OSError as error:
                return _Answer(None, f"could not be started: {error.strerror}", "")
            status: int | None = None
            try:
                status = process.wait(seconds)
                ending = _ending(status)
            except subprocess.TimeoutExpired:
                ending = f"did not end within {seconds:g} seconds"
            self._end(process)
            output.seek(0)
            return _Answer(status, ending, output.read().decode(errors="replace"))

    def _start(
        self, argv: Sequence[str], folder: Path, environment: Mapping[str, str], output: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        with self._lock:
            if self.ended.is_set():
                raise InterruptedError(errno.EINTR, "interrupted")
            process = subprocess.Popen(
                argv,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
            self._running.add(process.pid)
            return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.discard(process.pid)
            if process.poll() is None:
                _kill(process.pid)
        process.wait()

    def end(self) -> None:
        """Kill all, and let no other start."""
        with self._lock:
            self.ended.set()
            for group in self._running:
                _kill(group)


def _kill(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _ending(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal
        return f"was killed by signal {-status}"


def _environment(builds: Path) -> dict[str, str]:
    """What commands get: with a home and a folder for temporary files, as compilers need them."""
    own = os.environ | ENVIRONMENT | {"PATH": _search_path()}
    if not Path(own.get("TMPDIR") or "/").is_dir():
        own["TMPDIR"] = tempfile.gettempdir()
    spare = builds / "home"
    if not Path(own.get("HOME") or "?").is_dir():
        own["HOME"] = str(_home_of_the_user() or spare)
    if not os.access(own["HOME"], os.W_OK):
        own.setdefault("XDG_CACHE_HOME", str(spare / ".cache"))
    spare.mkdir(parents=True, exist_ok=True)
    return own


def _home_of_the_user() -> Path | None:
    try:
        home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:  # in a container, for instance
        return None
    return home if home.is_dir() and os.access(home, os.W_OK) else None
