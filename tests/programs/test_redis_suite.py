"""The Redis suite of examples/, played against servers that were written elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import checkout
import pytest

from conformance.builds.build import find_program
from conformance.cli import main
from conformance.cli.common import GREEN

SUITE = checkout.ROOT / "examples" / "redis"


def verdicts(server: str, output: Path) -> dict[str, list[dict[str, Any]]]:
    """The cases of one server by verdict; the run must be green."""
    options = ["--server", server, "--require", "--output", str(output)]
    assert main(["run", str(SUITE), *options]) == GREEN
    results = json.loads((output / "results.json").read_text("utf-8"))
    found: dict[str, list[dict[str, Any]]] = {}
    for case in results["cases"]:
        found.setdefault(case["verdict"], []).append(case)
    return found


def test_redis_keeps_the_protocol(tmp_path: Path) -> None:
    if not find_program("redis-server"):
        pytest.skip("redis-server is not installed; `make suites` installs it")
    assert set(verdicts("redis", tmp_path)) == {"PASSED"}


def test_what_is_wrong_on_purpose_is_found(tmp_path: Path) -> None:
    """The known failures of the manifest fail, each by the rule that it breaks, and no others."""
    found = verdicts("hasty", tmp_path)
    assert {case["failure"]["requirement"] for case in found["FAILED"]} == {
        "FORM-3",
        "FORM-4",
        "KEY-3",
        "REPLY-1",
    }
    assert len(found["PASSED"]) > 2 * len(found["FAILED"])
