"""Replaces the files of the output folder when a run ends.

A run writes into a temporary folder inside the output folder, its draft. At its end, it locks the
output folder and moves the files there. A listing names all files that runs have written, and only
these are ever removed. Therefore, two runs at the same time do not disturb each other, a run that
is killed leaves the earlier results complete, and a person's own files are never touched.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from conformance.mistakes import Mistake
from conformance.report.folder.results import RESULTS_FILE
from conformance.report.folder.transcripts import TRANSCRIPTS
from conformance.report.reports import REPORTS

LISTING = ".conformance.json"
LOCK = ".conformance.lock"
DRAFT_PREFIX = ".run-"
FILES = (RESULTS_FILE, *REPORTS, TRANSCRIPTS)  # the files and folders that a run may write

# Patterns of the files that the first version wrote. It kept no listing.
_WITHOUT_LISTING = (
    *(RESULTS_FILE, "index.html", "summary.md", "junit.xml"),
    *("badges/*-*.json", "transcripts/*.txt"),
)

_held: set[int] = set()  # descriptors of the locks of this process's drafts


def _close_locks() -> None:
    """Close the locks in a forked worker: it must not hold them if it outlives the run."""
    for lock in _held:
        os.close(lock)
    _held.clear()


os.register_at_fork(after_in_child=_close_locks)


class Draft:
    """The temporary folder of one run."""

    def __init__(self, output: Path) -> None:
        """Make the folder, and remove drafts of killed runs. The output folder must be locked."""
        self._output = output
        with explained(output):
            _remove_abandoned(output)
            folder = tempfile.mkdtemp(prefix=f"{DRAFT_PREFIX}{os.getpid()}-", dir=output)
            self.path = Path(folder).resolve()
            self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
            _held.add(self._lock)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX)
                os.write(self._lock, b"%d\n" % os.getpid())  # fails early if the disk is full
            except OSError:
                self.discard()
                raise

    def swap_in(self, kept: Collection[str] = ()) -> None:
        """Replace the files of the earlier run by those of this draft, except those in `kept`.

        The output folder must be locked. Even after an error, the listing names all files of runs
        that are in it. Raises Mistake.
        """
        new = {name for name in _files_below(self.path) if name != LOCK}
        refuse_foreign_files(self._output, new)
        with explained(self._output), _uninterrupted():
            earlier = listing(self._output)
            listed = new | (earlier & set(kept))
            self._write_listing(earlier | listed)
            for name in sorted(new):
                (self._output / name).parent.mkdir(exist_ok=True)
                (self.path / name).replace(self._output / name)
            for name in earlier - listed:
                (self._output / name).unlink(missing_ok=True)
            self._write_listing(listed)
            _remove_empty(self._output)
        self.discard()

    def discard(self) -> None:
        """Remove the draft, or what is left of it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock in _held:
            _held.remove(self._lock)
            os.close(self._lock)
            self._lock = -1

    def _write_listing(self, names: Iterable[str]) -> None:
        half = self.path / LISTING
        text = json.dumps({"files": sorted(names)}, indent=1) + "\n"
        half.write_text(text, "utf-8")
        half.replace(self._output / LISTING)


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Make the output folder if it does not exist, and lock it. Raises Mistake."""
    with explained(output):
        output.mkdir(parents=True, exist_ok=True)
        lock = os.open(output / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with explained(output):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextmanager
def explained(output: Path) -> Iterator[None]:
    """Turn an OSError about the output folder into a Mistake with a remedy."""
    try:
        yield
    except OSError as error:
        remedy = "name another folder by --output"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            remedy = f"free space there, or {remedy}"
        is_other = isinstance(error, (FileExistsError, NotADirectoryError))
        why = "it is no folder" if is_other else error.strerror
        message = f"{output}: cannot be written to: {why}; {remedy}"
        raise Mistake([message]) from None


def refuse_foreign_files(output: Path, names: Iterable[str]) -> None:
    """Raise Mistake if one of these files would replace a file that no run has written."""
    with explained(output):
        listed = listing(output)
        known = {name.partition("/")[0] for name in listed}
        tops = sorted({name.partition("/")[0] for name in names})
        strange = [top for top in tops if top not in known and _is_taken(output / top)]
        beneath = [name for name in names if "/" in name and name not in listed]
        strange += [name for name in beneath if os.path.lexists(output / name)]
    if strange:
        path = output / strange[0]
        remedy = "move it away, or name another folder by --output"
        raise Mistake([f"{path}: exists already, and no run has written it; {remedy}"])


def _is_taken(path: Path) -> bool:
    """Whether the path exists and is not an empty folder."""
    if path.is_dir() and not path.is_symlink():
        return any(path.iterdir())
    return os.path.lexists(path)


def listing(output: Path) -> set[str]:
    """The paths of the files that runs have written into an output folder. Raises Mistake."""
    path = output / LISTING
    try:
        names = json.loads(path.read_text("utf-8"))["files"]
        return {name for name in names if _may_be_listed(name)}
    except FileNotFoundError:
        return _listing_of_an_older_version(output)
    except NotADirectoryError:
        return set()
    except (ValueError, KeyError, TypeError, RecursionError):
        remedy = "move the whole folder away, or name another folder by --output"
        raise Mistake([f"{path}: is damaged; {remedy}"]) from None


def _may_be_listed(name: str) -> bool:
    parts = name.split("/")
    return parts[0] in FILES and ".." not in parts


def _listing_of_an_older_version(output: Path) -> set[str]:
    """The files that the first version, which wrote no listing, has left."""
    try:
        data = json.loads((output / RESULTS_FILE).read_text("utf-8"))
        is_ours = isinstance(data["schema"], int) and isinstance(data["cases"], list)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()
    if not is_ours:
        return set()
    found = [path for pattern in _WITHOUT_LISTING for path in output.glob(pattern)]
    return {path.relative_to(output).as_posix() for path in found if path.is_file()}


def _files_below(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if not path.is_dir():
            yield path.relative_to(folder).as_posix()


def _remove_empty(output: Path) -> None:
    for name in FILES:
        with suppress(OSError):  # not a folder, or not empty
            (output / name).rmdir()


def _remove_abandoned(output: Path) -> None:
    """Remove the drafts whose locks are free: their runs have ended."""
    for folder in output.glob(f"{DRAFT_PREFIX}*"):
        with suppress(OSError), open(folder / LOCK, "r+") as lock:
            if _is_free(lock):
                shutil.rmtree(folder, ignore_errors=True)


def _is_free(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Block SIGINT, SIGTERM and SIGHUP until the end of the block."""
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
