"""Copies of the programs that run under a tool, such as a sanitizer.

If the tool finds something, it ends the program or writes to standard error; both fail the case.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from checkout import ROOT


@dataclass(frozen=True)
class Tool:
    """What a tool changes in the manifests of a language, and in the environment."""

    language: str
    usual: str  # these words of a manifest are replaced ...
    instead: str  # ... by these
    environment: dict[str, str] = field(default_factory=dict)


TOOLS = {
    "sanitizers": Tool(
        "c",
        "gcc -O2",
        "gcc -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all",
        # AddressSanitizer keeps freed memory for a while. Without a bound, the memory of a server
        # would exceed LIMIT-4.
        {"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=1"},
    ),
    "race": Tool(
        "go",
        "go build",
        # bcrypt uses one thread only, and would be twelve times as slow with the race detector: a
        # hash would take so long on a busy machine that cases would time out.
        "go build -race -gcflags=golang.org/x/crypto/blowfish=-race=false",
        # The race detector multiplies the memory of a Go program, garbage included; so garbage is
        # collected earlier, for LIMIT-4. By default, each program would wait for a second before
        # it exits, to report races.
        {"GOGC": "10", "GORACE": "halt_on_error=1 atexit_sleep_ms=0"},
    ),
    # Not `-X dev`: with it, asyncio reports steps that take long, as they do on a busy machine.
    "warnings": Tool("python", 'run: "{python}', 'run: "{python} -W error -bb'),
    "valgrind": Tool(
        "c",
        'run: "',
        'run: "valgrind -q --leak-check=full --errors-for-leak-kinds=definite --error-exitcode=99'
        f" --suppressions={ROOT}/tests/audit/c/readline.supp ",
    ),
}


def copy_under(tool: str, role: str, folder: Path) -> str:
    """Copy a program's folder, and change its manifest for the tool; returns the new name."""
    how = TOOLS[tool]
    name = f"{how.language}-{tool}"
    copy = folder / f"{role}-{name}"
    shutil.copytree(ROOT / f"{role}s" / how.language, copy)
    manifest = copy / "implementation.yaml"
    text = manifest.read_text("utf-8")
    assert how.usual in text, f"{manifest} has other words; change TOOLS"
    text = text.replace(f"name: {how.language}\n", f"name: {name}\n").replace(
        how.usual, how.instead
    )
    manifest.write_text(text, "utf-8")
    return name


def play_under(
    tool: str, scenarios: list[str], folder: Path, output: Path
) -> subprocess.CompletedProcess[str]:
    """Play scenarios with the server and the client of the tool's language, both under the tool."""
    name = copy_under(tool, "server", folder)
    copy_under(tool, "client", folder)
    command = [sys.executable, "-m", "conformance", "run", *scenarios, "-j", "2"]
    command += ["--implementation", str(folder), "--server", name, "--client", name]
    command += ["--require", "--deadline", "30", "--output", str(output)]
    environment = os.environ | TOOLS[tool].environment
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
