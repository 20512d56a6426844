"""`make suites` finds every suite, and reports which programs are not installed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import checkout
import pytest

SUITES = sorted(path.parent for path in checkout.ROOT.glob("examples/*/suite.yaml"))


def test_make_plays_each_suite() -> None:
    done = checkout.run("make -n suites", checkout.ROOT)
    assert done.returncode == 0, done.stdout
    assert SUITES
    for suite in SUITES:
        assert f"examples/{suite.name}" in done.stdout


@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.name)
def test_each_suite_is_read_without_a_mistake(suite: Path) -> None:
    done = checkout.run(f"python -m conformance check examples/{suite.name}", checkout.ROOT)
    assert done.returncode == 0, done.stdout


def services(folder: Path, installed: str, *packages: str) -> tuple[int, str]:
    """Ask for packages where just one is installed, as somebody who may install none."""
    for name, text in {
        "dpkg-query": f'[ "$4" = {installed} ] && printf installed',
        "id": "echo 1000",
        "apt-get": "exit 1",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    done = subprocess.run(
        [checkout.ROOT / ".ci" / "services", *packages],
        env={**checkout.environment(), "PATH": f"{folder}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    told = "missing; as root, on Debian: apt-get install that\n"
    assert services(tmp_path, "this", "this", "that") == (1, told)


def test_where_nothing_is_missing_nothing_is_done(tmp_path: Path) -> None:
    assert services(tmp_path, "this", "this") == (0, "all are there: this\n")
    assert services(tmp_path, "this") == (0, "")
