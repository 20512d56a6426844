"""Files that a person edits: which there are, and whether they have changed. It knows no case.

No event of the system covers whole trees of folders, so that they are looked at, in turns.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from conformance.build import CACHES

TURN_SECONDS = 0.3  # between two looks

Look = Mapping[str, tuple[int, int]]  # path → time of its last change, and size


def look(folders: Iterable[Path], others: Collection[Path] = ()) -> Look:
    """All files in these folders, without hidden ones, caches, and what is in `others`."""
    beside = {path.resolve() for path in others}
    seen = {}
    for path in (path for folder in folders for path in _files(folder.resolve(), beside)):
        with suppress(FileNotFoundError):  # it has gone since
            status = os.stat(path)
            seen[path] = (status.st_mtime_ns, status.st_size)
    return seen


def _files(folder: Path, beside: Collection[Path]) -> Iterator[str]:
    for where, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and name not in CACHES and Path(where, name) not in beside
        ]
        yield from (os.path.join(where, name) for name in files if not name.startswith("."))


def changed(before: Look, after: Look) -> set[str]:
    """The files that are new, gone, or different."""
    names = before.keys() | after.keys()
    return {name for name in names if before.get(name) != after.get(name)}


def wait_for_change(before: Look, again: Callable[[], Look]) -> set[str]:
    """Wait until some file has changed, and then until no other does: the files."""
    waiting, last = threading.Event(), before
    while True:
        waiting.wait(TURN_SECONDS)
        now = again()
        if now == last and now != before:
            return changed(before, now)
        last = now
