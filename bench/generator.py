"""Runs the load generator: acts on the words that it prints meanwhile, and reads its result.

It knows nothing of servers, rows and figures. load.c says what the generator does.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import CannotMeasure
from bench.child import spawned
from conformance.play.processes.process import ending

PATIENCE = 300.0  # seconds: with thousands of users, most of it is their coming and going

# Counts of what a server did wrong; `dropped` are users whose connections it closed by itself.
DEFECTS = ("lost", "duplicates", "swapped", "echoes", "damaged", "dropped")

Result = dict[str, Any]
# What to do when the generator prints a word; the generator does not wait for it.
Marks = Mapping[str, Callable[[subprocess.Popen[bytes]], None]]


def generate(command: Sequence[str], core: int, marks: Marks) -> Result:
    """Run the load generator until it ends, and call the mark of each word; its result."""
    with spawned(command, core, Path.cwd(), subprocess.PIPE) as process:
        watchdog = threading.Timer(PATIENCE, process.kill)
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
    status = process.wait()
    if status != 0 or not result:
        why = complaints[-1] if complaints else f"the load generator ended: {ending(status)}"
        raise CannotMeasure(why)
    return result


def defects(result: Result) -> dict[str, int]:
    """What the server did wrong, by a result of the generator."""
    return {name: result[name] for name in DEFECTS if result.get(name)}
