"""A copy of the project as it is after `git clone` and the first `make`, for tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("servers", "clients", "scenarios", "tests/third_party")
FILES = ("PROTOCOL.md", "pyproject.toml")
# What is made beside the sources; other workers of pytest may be making it while these are copied.
ignored = shutil.ignore_patterns("chat_server", "chat_client", "__pycache__")


def copy(folder: Path) -> Path:
    """Copy what programs and scenarios need into a folder."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def environment() -> dict[str, str]:
    """The environment, with this Python as `python`, and without the variables of pytest."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {**kept, "PATH": path}


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run shell lines, up to the first that fails; standard error goes to standard output."""
    return subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", script],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def section(page: str, heading: str) -> str:
    """The text under a heading of a page; the whole page if `heading` is empty."""
    text = (ROOT / page).read_text("utf-8")
    if not heading:
        return text
    _, found, rest = text.partition(f"\n## {heading}\n")
    assert found, f"{page} has no section `{heading}`"
    return rest.partition("\n## ")[0]


def blocks(page: str, language: str, heading: str = "") -> Iterator[str]:
    """The code blocks of one language in a page, without the indentation of a list around them."""
    fence = re.compile(rf"^( *)```{language}\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
    for found in fence.finditer(section(page, heading)):
        yield re.sub(f"(?m)^{found[1]}", "", found[2])


def commands(page: str, heading: str = "") -> Iterator[str]:
    """The lines of a page's shell blocks, without comments."""
    for block in blocks(page, "sh", heading):
        for line in block.splitlines():
            if command := re.sub(r"(^| )\s*# .*", "", line).strip():
                yield command
