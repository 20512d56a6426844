"""The load generator as a program that is run: what it says while it works, and its result."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import HOST, CannotMeasure
from bench.child import ending, spawned

PATIENCE = 300.0  # seconds beyond those that were asked for: until all users are in, and out

# What is wrong with a server that does any of it; `dropped` are users whom it ended unasked.
DEFECTS = ("lost", "duplicates", "swapped", "echoes", "damaged", "dropped")

Result = dict[str, Any]
# What to do when it says a word; it goes on meanwhile.
Marks = Mapping[str, Callable[[subprocess.Popen[bytes]], None]]


def generate(
    program: Sequence[str],
    core: int,
    protocol: str,
    port: int,
    words: Sequence[str],
    marks: Marks,
    patience: float = PATIENCE,
) -> Result:
    """Run the load generator to its end, and do what its marks ask for; what it found."""
    address = ["--protocol", protocol, "--host", HOST, "--port", str(port)]
    command = [*program, *address, *words]
    with spawned(command, core, Path.cwd(), subprocess.PIPE, subprocess.PIPE) as process:
        watchdog = threading.Timer(patience, process.kill)
        watchdog.start()
        try:
            return _result(process, marks)
        finally:
            watchdog.cancel()


def _result(process: subprocess.Popen[bytes], marks: Marks) -> Result:
    assert process.stdout
    assert process.stderr
    result: Result = {}
    for line in iter(process.stdout.readline, b""):
        if line.startswith(b"{"):
            result = json.loads(line)
        elif mark := marks.get(line.decode("utf-8", "replace").strip()):
            mark(process)
    complaints = process.stderr.read().decode("utf-8", "replace").strip().splitlines()
    process.wait()
    if process.returncode != 0 or not result:
        why = complaints[-1] if complaints else f"the load {ending(process)}"
        raise CannotMeasure(why)
    return result


def defects(result: Result) -> dict[str, int]:
    """What a result tells that is wrong with the server."""
    return {name: result[name] for name in DEFECTS if result.get(name)}
