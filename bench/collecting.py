"""The cost of reading scenarios and planning their cases, as their number grows.

Each number is measured in a process of its own, which runs this module as a program. It knows
nothing of playing cases and of chat servers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import PROJECT, CannotMeasure
from conformance.plan import Selection, plan
from conformance.read.manifest import find
from conformance.read.scenario import load

SCENARIOS = PROJECT / "scenarios"
COPIES = (1, 2, 4)  # of all scenarios


@dataclass(frozen=True, slots=True)
class Collected:
    """The cost of one collection."""

    cases: int
    seconds: float  # of processor time
    bytes: int  # of memory, at the peak


def collect(folder: Path) -> Iterator[Collected]:
    """Collect the cases of one copy of the suite, then of two, and so on."""
    for copies in COPIES:
        suite = folder / f"copies-{copies}"
        write_copies(suite, copies)
        command = [sys.executable, "-m", "bench.collecting", str(suite)]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CannotMeasure(done.stderr)
        yield Collected(**json.loads(done.stdout))


def write_copies(folder: Path, copies: int) -> None:
    """Write the suite with so many copies of each scenario file."""
    folder.mkdir(parents=True, exist_ok=True)
    way_back = os.path.relpath(PROJECT, folder)
    for path in SCENARIOS.glob("*.yaml"):
        text = path.read_text("utf-8")
        if path.name == "suite.yaml":
            (folder / path.name).write_text(text.replace("../", f"{way_back}/"), "utf-8")
            continue
        for number in range(copies):
            (folder / f"{path.stem}-{number}.yaml").write_text(text, "utf-8")


def measured(folder: Path) -> Collected:
    """Read and plan in this process."""
    implementations = find([PROJECT / "servers", PROJECT / "clients"])
    memory, began = _peak(), time.process_time()
    _, scenarios = load([folder])
    cases = plan(scenarios, implementations, Selection())
    return Collected(len(cases), time.process_time() - began, _peak() - memory)


def _peak() -> int:
    """The peak of this program's memory; `ru_maxrss` would include that of the calling program."""
    status = Path("/proc/self/status").read_text("ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def table(rows: Sequence[Collected]) -> Iterator[str]:
    """Lines for people; if the growth is linear, the figures for 1,000 cases stay the same."""
    yield "collecting, cases   CPU, s     MiB   for 1,000: CPU, s     MiB"
    for row in rows:
        thousands, mib = row.cases / 1000, row.bytes / 2**20
        each = f"{row.seconds / thousands:17.2f}  {mib / thousands:6.1f}"
        yield f"{row.cases:17,}  {row.seconds:7.2f}  {mib:6.1f}   {each}"


if __name__ == "__main__":
    print(json.dumps(asdict(measured(Path(sys.argv[1])))))
