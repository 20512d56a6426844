"""The fuzz targets in C and Go pass their seeds and changed inputs; `make audit` plays more."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from audit import fuzz

INPUTS = 1000


@pytest.mark.parametrize("target", fuzz.C_TARGETS)
def test_c(target: str, tmp_path: Path) -> None:
    assert fuzz.fuzz_c(target, INPUTS, tmp_path, "gcc").finding == ""


@pytest.mark.parametrize(("role", "target", "package"), fuzz.GO_TARGETS)
def test_go(role: str, target: str, package: str, tmp_path: Path) -> None:
    assert fuzz.fuzz_go(role, target, package, 0, tmp_path).finding == ""


def test_a_finding_is_told(tmp_path: Path) -> None:
    """The finding is the output of a run that fails."""
    played = fuzz.call(["sh", "-c", "echo it broke; exit 1"], tmp_path)
    assert played.finding == "it broke\n"


@pytest.mark.parametrize("end", ["kill -TERM $$", "exit 72"])
def test_a_check_that_somebody_ends_has_found_nothing(end: str, tmp_path: Path) -> None:
    """The fuzzers of libFuzzer answer a signal with status 72."""
    played = fuzz.call(["sh", "-c", end], tmp_path)
    assert (played.missing, played.finding) == ("somebody ended it", "")


def test_keys(tmp_path: Path) -> None:
    assert fuzz.press_keys(100, tmp_path, under=[]).finding == ""


def test_the_table_tells_what_was_played() -> None:
    """A check that `--only` selects, and a word that no check's name contains."""
    audit = [sys.executable, "tests/audit", "--inputs", "200", "--only"]
    played = fuzz.call([*audit, "c: client_options"], fuzz.PROJECT)
    *_, line, end = played.output.splitlines()
    assert (played.status, end) == (0, "1 checks: 0 found something, 0 not run"), played.output
    assert re.fullmatch(r"c: client_options +clean +\d+ s  200 inputs, (clang|gcc)", line)
    assert fuzz.call([*audit, "c: no-such"], fuzz.PROJECT).status == 1
