"""README.md is true: its commands work, its matrix is of the implementations that there are."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import checkout
import pytest
from test_quick_start import ACCOUNTS, CLIENTS, NETCAT, NETCAT_PIPE, SERVERS, TELNET, TLS

from conformance.model import Role
from conformance.read import manifest
from conformance.report.grid import CORNER

ROOT = checkout.ROOT
README = "README.md"

# What is run elsewhere: by test_quick_start, by CI, by those two.
BY_HAND = {*SERVERS.values(), *CLIENTS.values(), NETCAT, NETCAT_PIPE, TELNET, *ACCOUNTS, *TLS}
MADE = {"make conformance", "make test", "make suites"}
MADE |= {"make bench", "make bench-harness", "make bench-peers"}
WHOLE = {"conformance run", "pytest -n auto scenarios/"}  # minutes long

# What is run here, in this order.
PLAYED = [line for line in checkout.commands(README) if line not in BY_HAND | MADE | WHOLE]


def test_every_way_by_hand_is_told() -> None:
    assert set(checkout.commands(README)) >= BY_HAND | MADE | WHOLE


def test_the_commands_work(tmp_path: Path) -> None:
    assert len(PLAYED) > 5
    copy = checkout.copy(tmp_path)
    for command in PLAYED:
        done = checkout.run(command, copy)
        assert done.returncode == 0, f"{command}\n{done.stdout}"


@pytest.mark.parametrize("command", sorted(MADE))
def test_make_knows_how(command: str) -> None:
    done = subprocess.run(
        [*command.split(), "-n"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_matrix_is_of_the_implementations_that_there_are() -> None:
    (text,) = re.findall(r"<!-- the matrix .*?-->\n```text\n(.*?)```\n", page(), re.DOTALL)
    matrix = [line for line in text.partition("\n\n")[0].splitlines() if "┼" not in line]
    head, *rows = [re.split(r"[│ ]+", line.strip()) for line in matrix]
    assert head == [*CORNER.split(), *names(Role.CLIENT), "mixed", "wire"]
    assert [row[0] for row in rows] == [*names(Role.SERVER), "scripted"]
    for row, columns in zip(rows, [len(head) - 3] * len(names(Role.SERVER)) + [3], strict=True):
        assert re.fullmatch(r"(✓ [0-9]+ ?)+", " ".join(row[1:]))
        assert row.count("✓") == columns


def names(role: Role) -> list[str]:
    """The implementations of one role, as a run finds them."""
    folders = [path.parent for path in ROOT.glob(f"{role}s/*/implementation.yaml")]
    return [one.name for one in manifest.find(folders)]


@pytest.mark.parametrize("name", [README, "CONTRIBUTING.md", "CHANGELOG.md", "PROTOCOL.md"])
def test_links_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text("utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []


def page() -> str:
    return (ROOT / README).read_text("utf-8")
