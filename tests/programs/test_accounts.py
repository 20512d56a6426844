"""The part of accounts that no scenario shows: a program that was built without the library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from checkout import ROOT
from live import Server


def plain(language: str, folder: Path) -> list[str]:
    """The command of a server without installed libraries."""
    if language == "python":
        return [sys.executable, "-E", "-s", "-S", str(ROOT / "servers/python/server.py")]
    program = folder / "chat_server"
    subprocess.run(["gcc", "-o", program, ROOT / "servers/c/server.c"], check=True)
    return [str(program)]


@pytest.mark.parametrize(
    ("language", "remedy"),
    [("python", "pip install bcrypt"), ("c", "gcc -DACCOUNTS -o chat_server server.c -lcrypt")],
)
def test_a_server_without_the_library_says_what_to_do(
    language: str, remedy: str, tmp_path: Path
) -> None:
    command = plain(language, tmp_path)
    done = subprocess.run(
        [*command, "--accounts", "accounts"], capture_output=True, text=True, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert (done.returncode, done.stdout) == (2, "")
    assert "--accounts" in last
    assert remedy in last


@pytest.mark.parametrize("language", ["python", "c"])
def test_a_server_without_the_library_does_all_else(language: str, tmp_path: Path) -> None:
    process = Popen([*plain(language, tmp_path), "--port", "0"], stdin=PIPE, stdout=PIPE)
    assert process.stdout
    ann = Server(process, int(process.stdout.readline().rpartition(b":")[2])).join("ann")
    ann.types("/register open sesame")
    assert ann.reply() == "! unknown command: /register (try /help)"
    process.kill()
    process.wait()
