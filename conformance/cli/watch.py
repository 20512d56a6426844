"""Finds out which files in some folders have changed.

It polls, because inotify does not watch folders recursively.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from conformance.builds.build import CACHES

POLL_SECONDS = 0.3

Look = Mapping[str, tuple[int, int]]  # path → time of its last change, and size


def look(folders: Iterable[Path], others: Collection[Path] = ()) -> Look:
    """The files in these folders, except hidden ones, caches, and those in the folders `others`."""
    beside = {path.resolve() for path in others}
    seen = {}
    for path in (path for folder in folders for path in _files(folder.resolve(), beside)):
        with suppress(FileNotFoundError):  # removed meanwhile
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
    """The paths of files that were added, removed or modified."""
    names = before.keys() | after.keys()
    return {name for name in names if before.get(name) != after.get(name)}


def wait_for_change(before: Look, again: Callable[[], Look]) -> set[str]:
    """Wait until files have changed and no further change follows; return their paths."""
    waiting, last = threading.Event(), before
    while True:
        waiting.wait(POLL_SECONDS)
        now = again()
        if now == last and now != before:
            return changed(before, now)
        last = now
