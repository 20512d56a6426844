"""The IRC suite of examples/, played against the servers that are installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conformance.builds.build import find_program
from conformance.cli import main
from conformance.cli.common import GREEN

SUITE = Path(__file__).parents[2] / "examples" / "irc"


def play(server: str, files: list[str], output: Path) -> dict[str, str]:
    """The verdict on each case, by its scenario; the run must be as the manifest says."""
    if not find_program(server):
        pytest.skip(f"{server} is not installed: make suites")
    paths = [str(SUITE / file) for file in files]
    options = ["--server", server, "--output", str(output), "-j", "4"]
    assert main(["run", *paths, *options]) == GREEN
    results = json.loads((output / "results.json").read_text("utf-8"))
    return {case["scenario"]: case["verdict"] for case in results["cases"]}


def test_ngircd(tmp_path: Path) -> None:
    verdicts = play("ngircd", ["channel.yaml", "message.yaml", "register.yaml"], tmp_path)
    assert verdicts["channel/names-on-joining"] == "PASSED"
    assert verdicts["register/no-nick:star"] == "FAILED"  # it sends no reply
    assert verdicts["register/curly-brackets:brackets"] == "UNSUPPORTED"


def test_inspircd(tmp_path: Path) -> None:
    """Few cases, since it admits users only once a second."""
    verdicts = play("inspircd", ["message.yaml"], tmp_path)
    assert verdicts["message/to-a-channel:notice"] == "PASSED"
    assert verdicts["message/no-notice-is-answered:no-such-nick"] == "FAILED"
