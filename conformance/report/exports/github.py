"""Annotations for GitHub Actions: GitHub shows one for each group of failures, next to its line."""

from __future__ import annotations

import re
from pathlib import Path

from conformance.model import Failure
from conformance.report.findings.groups import Group, groups
from conformance.report.run import Run
from conformance.text import visible

SHOWN = 10  # GitHub shows at most ten annotations for one step

_STEP = re.compile(r"(?P<file>.+?):(?P<line>\d+):(?P<column>\d+)  ")


def annotated(run: Run) -> list[str]:
    """Workflow commands, one line each: `::error file=…,line=…,title=…::message`."""
    return [_command(run, group) for group in groups(run.results)[:SHOWN]]


def _command(run: Run, group: Group) -> str:
    text = "\n".join(_words(group.failure) if group.failure else [group.cases[0].reason])
    properties = _place(run, group) | {"title": visible(group.title)}
    shown = ",".join(f"{key}={_escaped(value)}" for key, value in properties.items())
    return f"::error {shown}::{_message(text)}"


def _words(failure: Failure) -> list[str]:
    seen = [f"expected {visible(failure.expected)}", f"seen     {visible(failure.seen)}"]
    return [f"{visible(failure.reason)}", *seen] if failure.reason else seen


def _place(run: Run, group: Group) -> dict[str, str]:
    """The place of the failed step if its file exists, else the manifest of a program."""
    step = group.failure.step if group.failure and not group.is_of_a_program else ""
    found = _STEP.match(step)
    if found and Path(found["file"]).is_file():
        return {"file": found["file"], "line": found["line"], "col": found["column"]}
    first = group.cases[0]
    names = {("server", first.server), *(("client", name) for name in first.clients)}
    some = [one for one in run.implementations if (one["role"], one["name"]) in names]
    some.sort(key=lambda one: not one.get("given"))
    return {"file": f"{_from_here(some[0]['folder'])}/implementation.yaml", "line": "1"}


def _from_here(folder: str) -> Path:
    """The path relative to the current folder, because GitHub needs paths in the repository."""
    path, here = Path(folder).resolve(), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escaped(text: str) -> str:
    """The escaped value of a property."""
    return _message(text).replace(":", "%3A").replace(",", "%2C")
