"""The whole matrix once more, with the C programs under ASan and UBSan and Go's under -race.

A program that a sanitizer stops, or that complains on standard error, fails the case it is in.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
BUILDS = PROJECT / "build" / "sanitized"

SANITIZED = {
    "c": ("gcc -O2", "gcc -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"),
    "go": ("go build", "go build -race"),
}

ENVIRONMENT = {
    # What was freed is held back for a while: without a bound, memory that grows for no other
    # reason would break LIMIT-4.
    "ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=1",
    # The shadow of a Go program's memory is several times as large, and that of garbage stays: for
    # the same reason there may be less of it.
    "GOGC": "10",
    # Each Go program would wait for a second at its end, for races to be told.
    "GORACE": "halt_on_error=1:atexit_sleep_ms=0".replace(":", " "),
}


def sanitized(role: str, language: str, folder: Path) -> str:
    """A copy of a program's folder, its manifest under another name and with the sanitizers."""
    name = f"{language}-sanitized"
    copy = folder / f"{role}-{name}"
    shutil.copytree(PROJECT / f"{role}s" / language, copy)
    manifest = copy / "implementation.yaml"
    usual, instead = SANITIZED[language]
    text = manifest.read_text("utf-8")
    assert usual in text, f"{manifest} builds by other words; change SANITIZED"
    text = text.replace(f"name: {language}\n", f"name: {name}\n").replace(usual, instead)
    manifest.write_text(text, "utf-8")
    return name


@pytest.mark.parametrize("language", SANITIZED)
def test_the_matrix_is_clean_under_sanitizers(language: str, tmp_path: Path) -> None:
    name = sanitized("server", language, tmp_path)
    sanitized("client", language, tmp_path)
    command = [sys.executable, "-m", "conformance", "run", "scenarios", "-j", "2"]
    command += ["--implementation", str(tmp_path), "--server", name, "--client", name]
    command += ["--require", "--deadline", "30", "--output", str(BUILDS / language)]
    done = subprocess.run(
        command, cwd=PROJECT, env=os.environ | ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    cases = json.loads((BUILDS / language / "results.json").read_text("utf-8"))["cases"]
    assert {case["verdict"] for case in cases} <= {"PASSED", "UNSUPPORTED"}
