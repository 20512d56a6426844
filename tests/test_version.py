"""One version for the whole project (PROG-5)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import conformance

PROJECT = Path(__file__).parents[1]
SIX = [PROJECT / role / name for role in ("servers", "clients") for name in ("c", "go", "python")]
VERSION = re.compile(r"^.*\b(?:VERSION|version)\b.*?\"(\d+\.\d+\.\d+)\"", re.M)


def test_the_package_has_the_version_of_the_project() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    assert conformance.__version__ == project["version"]


@pytest.mark.parametrize("path", SIX, ids=lambda path: str(path.relative_to(PROJECT)))
def test_each_of_the_six_programs_has_the_version_of_the_project(path: Path) -> None:
    sources = (file for file in path.rglob("*") if file.suffix in (".py", ".go", ".c", ".h"))
    found = [found for source in sources for found in VERSION.findall(source.read_text("utf-8"))]
    assert found == [conformance.__version__]
