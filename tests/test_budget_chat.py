"""The Budget Chat suite, played against a right server and against wrong ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance.cli import main
from conformance.cli.common import GREEN, RED

SUITE = Path(__file__).parents[1] / "examples" / "budget-chat"
# All but the file in which one case waits for half a minute where a server is held up.
SHORT = [str(path) for path in SUITE.glob("*.yaml") if path.stem not in ("suite", "many")]

# The rules that each of them breaks.
WRONG = {
    "by-name": {"LINE-2", "NAME-6"},
    "threads": {"LEAVE-1", "NAME-4", "CHAT-5", "CHAT-7", "CHAT-8"},
}

HANGS_UP = """\
import socket, sys

listener = socket.create_server((sys.argv[2], int(sys.argv[4])))
while True:
    listener.accept()[0].close()
"""


def play(folder: Path, *words: str) -> tuple[int, list[dict[str, Any]]]:
    """Play cases; the exit status, and what the results say of each."""
    status = main(["run", *words, "--output", str(folder)])
    return status, json.loads((folder / "results.json").read_text("utf-8"))["cases"]


def broken(cases: list[dict[str, Any]]) -> set[str]:
    """The rules that are not kept."""
    return {case["failure"]["requirement"] for case in cases if "failure" in case}


def test_a_server_that_keeps_the_text_passes_it_all(tmp_path: Path) -> None:
    status, cases = play(tmp_path, str(SUITE), "--server", "right", "--strict")
    assert status == GREEN
    assert [case["verdict"] for case in cases] == ["PASSED"] * len(cases)
    assert f"plays {len(cases)} cases" in (SUITE / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_wrong_server_breaks_the_rules_that_it_is_made_to_break(
    name: str, tmp_path: Path
) -> None:
    """Its known failures are strict: the run is green where each of them fails, and no other."""
    status, cases = play(tmp_path, *SHORT, "--server", name)
    assert broken(cases) == WRONG[name]
    assert status == GREEN


def test_a_server_that_hangs_up_is_told_the_first_rule(tmp_path: Path) -> None:
    (tmp_path / "hangs-up.py").write_text(HANGS_UP)
    (tmp_path / "implementation.yaml").write_text(
        "name: hangs-up\nrole: server\nlanguage: Python\nrun: '{python} -I -S hangs-up.py'\n"
    )
    words = [f"{SUITE}/names.yaml::asked[hangs-up]", "--implementation", str(tmp_path)]
    status, cases = play(tmp_path / "output", *words)
    assert (status, broken(cases)) == (RED, {"NAME-1"})
