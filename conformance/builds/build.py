"""Builds implementations before anything is played. It does not depend on scenarios.

The inputs of a build are its command, its sources (all files in its folder, unless the manifest
names them) and the versions of the programs that it needs. The same inputs are built once, in a
folder under `builds/` (see cache). A lock is held during the build, so that two runs in one
checkout do not build the same program twice.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path

from conformance.builds.cache import HASH_DIGITS, TURN_SECONDS, Cached, Held, remove_unused
from conformance.builds.commands import ENVIRONMENT, Commands, environment_of_a_build
from conformance.model import Implementation
from conformance.text import complete, fill, quoted

BUILD_SECONDS = 600.0  # the first build may compile a whole standard library
VERSION_SECONDS = 10.0
# Folders of servers such as redis-server, which are usually not on a user's PATH.
SERVICES = ("/usr/local/sbin", "/usr/sbin")
LOG_LINES = 20  # the last lines of a failed build that are shown; the log has all
LOG_LABEL = "all of it: "  # before the path of the log

# Folders that tools write among the sources; they are no sources themselves.
CACHES = frozenset({"__pycache__", "node_modules", "target"})

# Suffixes of files that programs write there while they run.
WRITTEN = frozenset({".log", ".pid"})

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Build:
    """An implementation and how to start it, or the reason why it cannot be started."""

    implementation: Implementation
    argv: tuple[str, ...] = ()  # the command, to be run in the implementation's folder
    unavailable: str = ""  # what this machine lacks; "": nothing
    error: str = ""  # why the build failed; "": it succeeded
    environment: Mapping[str, str] = field(default_factory=dict)  # may hold {host}, {port}, …
    held: Held | None = field(default=None, compare=False, repr=False)  # the folder of its files


def build_all(
    implementations: Iterable[Implementation], folder: Path, say: Say = lambda _: None
) -> dict[str, Build]:
    """Build each implementation into a folder under `FOLDER/builds/`; return builds by label.

    A build that fails is no exception: see `Build.error`. `say` gets one line per build that runs.
    """
    builds = folder.resolve() / "builds"
    commands = Commands()
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        # If SIGCHLD is ignored, exit statuses are lost, and failures look like successes.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            done = {
                one.label: pool.submit(_build, one, builds, say, commands)
                for one in implementations
            }
            # Ctrl+C just before a wait does not interrupt that wait, so each wait has a time limit.
            while wait(done.values(), TURN_SECONDS).not_done:
                pass
            made = {label: future.result() for label, future in done.items()}
            remove_unused(builds)
            return made
        except BaseException:  # mostly Ctrl+C; the pool alone would let the commands finish
            pool.shutdown(wait=False, cancel_futures=True)
            commands.end()
            raise


def toolchains(implementations: Iterable[Implementation]) -> dict[str, str]:
    """The version of Python, then of each program that the implementations need, by name."""
    needed = sorted({program for one in implementations for program in one.needs})
    found = [program for program in needed if find_program(program)]
    return {"python": platform.python_version()} | {name: version_of(name) for name in found}


def _build(implementation: Implementation, builds: Path, say: Say, commands: Commands) -> Build:
    """Build one implementation, unless it was built before."""
    if reason := lacking(implementation):
        return Build(implementation, unavailable=reason)
    try:
        if implementation.build is None:
            return _ready(implementation, builds, _cache(implementation, builds))
        cached = Cached(builds, implementation.label, _fingerprint(implementation, builds))
        made, error, held = _make(implementation, cached, say, commands)
        if error:
            return Build(implementation, error=error)
        ready = _ready(implementation, made, _cache(implementation, builds))
        return replace(ready, held=held)
    except OSError as problem:
        error = f"{problem.filename or builds}: {problem.strerror}"
        return Build(implementation, error=f"it could not be built: {error}")


def lacking(implementation: Implementation) -> str:
    """Which of the programs that it needs are missing on this machine, in words; "" if none is."""
    missing = [program for program in implementation.needs if not find_program(program)]
    return _lacking(implementation, missing) if missing else ""


def find_program(name: str) -> str | None:
    """The path of a program: on PATH, beside this Python, or in a folder of SERVICES."""
    return shutil.which(name, path=_search_path())


@functools.cache
def version_of(program: str) -> str:
    """The first line that `PROGRAM --version` prints, or else `PROGRAM version`."""
    environment = os.environ | ENVIRONMENT | {"PATH": _search_path()}
    for question in ("--version", "version"):
        argv = [find_program(program) or program, question]
        answer = Commands().run(argv, Path.cwd(), VERSION_SECONDS, environment)
        if answer.status == 0 and answer.output.strip():
            return answer.output.strip().splitlines()[0]
    return "unknown"


def _search_path() -> str:
    given = os.environ.get("PATH", os.defpath)
    return os.pathsep.join([given, str(Path(sys.executable).parent), *SERVICES])


def _lacking(implementation: Implementation, missing: Sequence[str]) -> str:
    are = "is" if len(missing) == 1 else "are"
    return f"{' and '.join(missing)} {are} not on PATH, needed by {implementation.place.file}"


def _cache(implementation: Implementation, builds: Path) -> Path:
    """The folder `{cache}`, in which tools keep files from one build to the next.

    It is made if a command names it, is protected by the lock of the builds, and never removed.
    """
    cache = builds / f"{implementation.label}.cache"
    commands = (implementation.build or "", implementation.run)
    if any("{cache}" in text for text in (*commands, *implementation.environment.values())):
        cache.mkdir(parents=True, exist_ok=True)
    return cache


def _ready(implementation: Implementation, made: Path, cache: Path) -> Build:
    """Find the program that `run` names, and fill in the placeholders of the command."""
    name, *arguments = _words(implementation.run, made, cache)
    program = _program(implementation, name)
    if program is None:
        return Build(implementation, unavailable=_lacking(implementation, [name]))
    if not os.access(program, os.X_OK):
        error = f"{implementation.place.file}: `run` names {program}, which cannot be executed"
        return Build(implementation, error=error)
    values = {name: quoted(value) for name, value in _values(made, cache).items()}
    environment = {name: fill(text, values) for name, text in implementation.environment.items()}
    return Build(implementation, (program, *arguments), environment=environment)


def _make(
    implementation: Implementation, cached: Cached, say: Say, commands: Commands
) -> tuple[Path, str, Held]:
    """Build, unless these inputs were built before; return the folder, why it failed or "", a hold.

    If the sources change meanwhile, nobody knows what was built: the next run builds again.
    """
    label = cached.label
    with cached.locked(lambda: say(f"another run builds {label}: waiting"), commands.ended):
        made, error = cached.made(), ""
        if not made or not _is_there(implementation, made, cached.builds):
            say(f"building {label}: {implementation.build}")
            made = cached.new()
            error = _build_into(made, implementation, cached.log, commands)
            if not error and _fingerprint(implementation, cached.builds) == cached.fingerprint:
                cached.complete(made)
        return made, error, cached.use(alone=_stays_in_folder(implementation))


def _stays_in_folder(implementation: Implementation) -> bool:
    """Whether the build writes its result among the sources, so that only the last one exists."""
    return "{build}" not in f"{implementation.build} {implementation.run}"


def _is_there(implementation: Implementation, made: Path, builds: Path) -> bool:
    """Whether a result that was written among the sources is still there."""
    if not _stays_in_folder(implementation):
        return True
    return not _ready(implementation, made, _cache(implementation, builds)).error


def _build_into(made: Path, implementation: Implementation, log: Path, commands: Commands) -> str:
    """Run the build command; return why it failed, or ""."""
    cache = _cache(implementation, log.parent)
    argv = _words(implementation.build or "", made, cache)
    argv[0] = _program(implementation, argv[0]) or argv[0]
    environment = environment_of_a_build(log.parent / "home", _search_path())
    answer = commands.run(argv, implementation.folder, BUILD_SECONDS, environment)
    log.write_text(answer.output, encoding="utf-8")
    if answer.status == 0:
        return ""
    shown = answer.output.splitlines()[-LOG_LINES:]
    return "\n".join(
        [f"the build {answer.ending}: `{shlex.join(argv)}`", *shown, f"{LOG_LABEL}{log}"]
    )


def _program(implementation: Implementation, name: str) -> str | None:
    """The program of a command; a name with a slash is relative to the implementation's folder."""
    return str(implementation.folder.resolve() / name) if "/" in name else find_program(name)


def _words(command: str, made: Path, cache: Path) -> list[str]:
    """Split a command line into words, then fill in the placeholders: values may hold spaces."""
    return [complete(word, _values(made, cache)) for word in shlex.split(command)]


def _values(made: Path, cache: Path) -> dict[str, str]:
    return {"build": str(made), "cache": str(cache), "python": sys.executable}


def _fingerprint(implementation: Implementation, builds: Path) -> str:
    """A hash over all inputs of a build.

    Of the manifest, only `build`, `needs` and `sources` matter. Results and builds in the same
    folder are no inputs, because every run writes them.
    """
    digest = hashlib.sha256()
    for program in implementation.needs:
        digest.update(f"{find_program(program)} {version_of(program)}\0".encode())
    digest.update(f"{implementation.build}\0".encode())
    folder = implementation.folder.resolve()
    for source in sources_of(implementation, builds.parent):
        digest.update(os.fsencode(source.relative_to(folder)) + b"\0")
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()[:HASH_DIGITS]


def sources_of(implementation: Implementation, output: Path) -> Iterable[Path]:
    """The source files in a fixed order: those that the manifest names, else all in its folder.

    The manifest itself and the files in `output`, the folder of results, are left out.
    """
    folder, output = implementation.folder.resolve(), output.resolve()
    others = {folder / Path(implementation.place.file).name, output / "builds", output}
    if not implementation.sources:
        return _sources(folder, others)
    named = {path for pattern in implementation.sources for path in folder.glob(pattern)}
    files = {path for path in named if path.is_file()}
    within = {file for path in named - files for file in _sources(path, others)}
    return sorted(files | within)


def _sources(folder: Path, others: Collection[Path]) -> Iterator[Path]:
    """The files below a folder in a fixed order, without hidden files, logs, caches, `others`."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.name in CACHES or entry in others:
            continue
        if entry.suffix in WRITTEN:
            continue
        if entry.is_dir():
            yield from _sources(entry, others)
        elif entry.is_file():
            yield entry
