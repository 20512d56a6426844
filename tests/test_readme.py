"""README.md and docs/ are true: commands work, links lead somewhere, the matrix is of today."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import checkout
import pytest
from test_quick_start import ACCOUNTS, CLIENTS, NETCAT, NETCAT_PIPE, SERVERS, TELNET, TLS

from conformance.model import Role
from conformance.read import manifest
from conformance.report.findings.grid import CORNER

ROOT = checkout.ROOT
README = "README.md"
PAGES = (
    README,
    "docs/index.md",
    "docs/chat.md",
    "docs/playing.md",
    "docs/languages.md",
)  # whose commands are run here
DOCS = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md"))]

# What is run elsewhere: by test_quick_start, by CI, by those two.
BY_HAND = {*SERVERS.values(), *CLIENTS.values(), NETCAT, NETCAT_PIPE, TELNET, *ACCOUNTS, *TLS}
MADE = {line for page in PAGES for line in checkout.commands(page) if line.startswith("make ")}
WHOLE = {"conformance run", "pytest -n auto scenarios/"}  # minutes long
# What tells that a server does not keep all: exit status 1.
RED = {
    "conformance next",
    "conformance run --implementation mine --server mine --client python JOIN CHAT",
}
SHELL = {". .venv/bin/activate"}

# What is run here, in this order.
PLAYED = {
    page: [line for line in checkout.commands(page) if line not in BY_HAND | MADE | WHOLE | SHELL]
    for page in PAGES
}


def test_every_way_by_hand_is_told() -> None:
    told = {line for page in PAGES for line in checkout.commands(page)}
    assert told >= BY_HAND | MADE | WHOLE


@pytest.mark.parametrize("page", [page for page, lines in PLAYED.items() if lines])
def test_the_commands_work(page: str, tmp_path: Path) -> None:
    copy = checkout.copy(tmp_path)
    for command in PLAYED[page]:
        done = checkout.run(command, copy)
        statuses = (0, 1) if command in RED else (0,)
        assert done.returncode in statuses, f"{command}\n{done.stdout}"


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
        assert re.fullmatch(r"([✓~] [0-9/]+ (−[0-9]+ )?)+", " ".join(filter(None, row[1:])) + " ")
        assert row.count("✓") + row.count("~") == columns


def names(role: Role) -> list[str]:
    """The implementations of one role, as a run finds them."""
    folders = [path.parent for path in ROOT.glob(f"{role}s/*/implementation.yaml")]
    return [one.name for one in manifest.find(folders)]


@pytest.mark.parametrize("name", [README, "CONTRIBUTING.md", "CHANGELOG.md", *DOCS])
def test_links_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text("utf-8"))
    assert [link for link in links if not (ROOT / name).parent.joinpath(link).exists()] == []


def test_the_documentation_is_built_without_a_broken_link(tmp_path: Path) -> None:
    done = checkout.run(f"mkdocs build --strict --quiet --site-dir {tmp_path}", ROOT)
    assert done.returncode == 0, done.stdout
    pages = {Path(page).with_suffix(".html").name for page in DOCS}
    assert pages <= {path.name for path in tmp_path.iterdir()}


def page() -> str:
    return (ROOT / README).read_text("utf-8")
