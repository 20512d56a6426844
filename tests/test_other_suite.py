"""A suite for another protocol: the harness itself knows nothing about the chat."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import conformance
from conformance.cli import main
from conformance.cli.common import GREEN

TALLY = Path(__file__).parent / "tally"


def test_a_suite_that_is_no_chat(tmp_path: Path) -> None:
    """Two servers, one of which cannot be told its port and never says that it is ready."""
    assert main(["run", str(TALLY), "--output", str(tmp_path)]) == GREEN
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    verdicts = {(case["server"], case["verdict"]) for case in results["cases"]}
    assert verdicts == {("threads", "PASSED"), ("loop", "PASSED"), ("loop", "UNSUPPORTED")}


def test_its_servers_leave_the_same_transcripts(tmp_path: Path) -> None:
    main(["run", str(TALLY), "--output", str(tmp_path), "-k", "all-watch"])
    found = (tmp_path / "transcripts").glob("*[[]*].txt")  # those without times
    one, other = (path.read_text("utf-8") for path in found)
    assert one == other
    assert "ann < total -7\n" in one


CHAT = re.compile(
    r"\b(chat|screen name|joined the|alice|bob|welcome|goodbye|nick|room)\b|/who|/quit", re.I
)


def words(path: Path) -> Iterator[str]:
    """The texts that a module says or acts on: its strings, but no docstrings and no comments."""
    tree = ast.parse(path.read_text("utf-8"))
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


@pytest.mark.parametrize(
    "path", sorted(Path(conformance.__file__).parent.rglob("*.py")), ids=lambda path: path.stem
)
def test_no_module_says_anything_of_the_chat(path: Path) -> None:
    assert [text for text in words(path) if CHAT.search(text)] == []
