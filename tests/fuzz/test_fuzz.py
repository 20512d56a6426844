"""Fuzzing in short: the same seed gives the same sessions, and planted faults are found."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from conformance.builds.build import Build, build_all
from conformance.read import manifest
from fuzz.games import ROOT, Servers
from fuzz.search import search
from fuzz.session import Act, Does, Session
from fuzz.sessions import WHOLE

SEED = 1
RIGHT = "(0x7F, 0x9F), "  # FRAME-6: DEL and C1 are control characters


def test_all_agree_with_each_other_and_the_text() -> None:
    """What `make fuzz SEED=1` plays first."""
    command = [sys.executable, "-m", "fuzz", "--jobs", "1", "--minutes", "0", "--seed", str(SEED)]
    paths = os.pathsep.join([str(ROOT / "tests"), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match("servers: 50 sessions, [0-9]+ steps; clients: 10 sessions", done.stdout)


def wrong_server(folder: Path) -> dict[str, Build]:
    """The Python server with a fault."""
    copy = folder / "wrong"
    shutil.copytree(ROOT / "servers" / "python", copy)
    manifest_file = copy / "implementation.yaml"
    manifest_file.write_text(manifest_file.read_text().replace("name: python", "name: wrong"))
    program = copy / "server.py"
    text = program.read_text("utf-8")
    assert RIGHT in text
    program.write_text(text.replace(RIGHT, ""), "utf-8")
    (build,) = build_all(manifest.find([copy]), folder).values()
    return {"wrong": build}


def test_a_planted_fault_becomes_a_small_scenario(tmp_path: Path) -> None:
    """It is found, is made small, and the scenario is red for it and green for the right one."""
    game = Servers(wrong_server(tmp_path))
    lines = WHOLE.map(lambda line: Session((), ((Act("ann", Does.SENDS, line),),)))
    found = search(lines, game.play, SEED, 300)
    assert found
    assert len(found.session.steps[0][0].data) <= 4
    path = tmp_path / "fuzz" / "found.yaml"
    assert "control characters" in game.write(path, found.session, found.wrong)
    game.end()
    assert "1 PASSED" in played(path, "--server", "python")
    folder = str(tmp_path / "wrong")
    assert "1 FAILED" in played(path, "--server", "wrong", "--implementation", folder)


def played(path: Path, *options: str) -> str:
    command = [sys.executable, "-m", "conformance", "run", str(path), *options]
    command += ["--output", str(path.parent / "results")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
