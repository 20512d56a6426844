"""Programs that were written from the protocol text alone pass all that they claim.

Their authors had not seen the servers, the clients, the scenarios or the harness of this project.
So where one of these fails, the text or a scenario is wrong, unless the program is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path("tests") / "third_party"
ROOT = Path(__file__).parents[2]


def test_a_server_and_a_client_of_strangers_pass_all_that_they_claim(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "conformance", "run", "--output", str(tmp_path)]
    command += ["--server", "javascript", "--client", "rust", "--require", "--probe-features"]
    command += ["--implementation", str(FOLDER), "-j", str(2 * len(os.sched_getaffinity(0)))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    cases = json.loads((tmp_path / "results.json").read_text())["cases"]
    unsupported = [case for case in cases if case["verdict"] == "UNSUPPORTED"]
    absent = {case["reason"] for case in unsupported if "and it is absent" in case["reason"]}
    assert len(absent) == 2  # accounts of the server, line editing of the client
    assert len(cases) - len(unsupported) > 400
