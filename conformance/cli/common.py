"""What several commands share: exit statuses, options for a suite, and building."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from conformance.builds.build import Build, build_all
from conformance.cli.streams import complain
from conformance.kit import find
from conformance.model import Implementation
from conformance.report.folder.output import explained

GREEN, RED, MISTAKEN, INTERRUPTED = 0, 1, 2, 130

SUITE = "scenarios"

Arguments = argparse.Namespace


def suite_folder(text: str) -> Path:
    """The folder of a suite: in the current folder, else installed with the package."""
    return find(Path(text))


def add_suite(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Add the option --suite."""
    parser.add_argument(
        "--suite",
        type=suite_folder,
        default=suite_folder(SUITE),
        metavar="DIR",
        help=f"{meaning} (default: {SUITE})",
    )


def add_attach(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the option --attach, for `what`."""
    parser.add_argument(
        "--attach",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help=f"also show the contents of this JSON file: {what}",
    )


def absent(path: Path) -> str:
    """The error message for a path that does not exist."""
    if path == Path(SUITE):  # the default
        return f"{path}: no such folder here; name a suite: conformance run path/to/{SUITE}"
    file, _, line = str(path).rpartition(":")
    if line.isdecimal() and find(Path(file)).is_file():
        return f"{path}: name a scenario by its id, not by its line: {file}::ID (conformance list)"
    return f"{path}: no such file or folder"


def built(found: Iterable[Implementation], output: Path) -> dict[str, Build]:
    """Build implementations into a folder under `output`, and say so; return builds by label.

    Raises Mistake if the folder cannot be made.
    """
    with explained(output):
        output.mkdir(parents=True, exist_ok=True)
    return build_all(found, output, complain)
