"""The whole matrix again: C programs with ASan and UBSan, Go programs with -race.

Python programs play a part of it with warnings as errors; `make audit` plays all of it. If the tool
stops a program, or writes to standard error, the case fails.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkout import ROOT
from variants import play_under

SCENARIOS = {
    "sanitizers": ["scenarios"],
    "race": ["scenarios"],
    "warnings": ["scenarios/join.yaml", "scenarios/stop.yaml"],
}


@pytest.mark.parametrize("tool", SCENARIOS)
def test_the_matrix_is_clean_under(tool: str, tmp_path: Path) -> None:
    output = ROOT / "build" / "sanitized" / tool
    done = play_under(tool, SCENARIOS[tool], tmp_path, output)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    cases = json.loads((output / "results.json").read_text("utf-8"))["cases"]
    assert {case["verdict"] for case in cases} <= {"PASSED", "UNSUPPORTED"}
