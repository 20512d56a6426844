"""LEAVE-5: a network cable is unplugged (see vanished.py). It takes two minutes, mostly waiting."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import network
import pytest


def test_who_has_vanished_is_noticed_within_two_minutes(tmp_path: Path) -> None:
    if reason := network.refused():
        pytest.skip(f"no program can have a network of its own on this machine: {reason}")
    script = Path(__file__).with_name("vanished.py")
    done = subprocess.run(
        [*network.IN_ITS_OWN, sys.executable, str(script), str(tmp_path)],
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "all noticed\n"), done.stdout[-3000:]
