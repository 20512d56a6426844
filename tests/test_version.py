"""One version for the whole project (PROG-5)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import conformance

PROJECT = Path(__file__).parents[1]
PROGRAMS = sorted(
    path
    for role in ("servers", "clients")
    for path in (PROJECT / role).glob("*/*")
    if path.suffix in (".py", ".go", ".c")
)


def test_the_package_has_the_version_of_the_project() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    assert conformance.__version__ == project["version"]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_every_program_has_the_version_of_the_project(path: Path) -> None:
    found = re.findall(
        r"^.*\b(?:VERSION|version)\b.*?\"(\d+\.\d+\.\d+)\"", path.read_text("utf-8"), re.M
    )
    assert found == [conformance.__version__]
