"""The table of reports: a new entry is enough, as CONTRIBUTING.md says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import checkout
from test_report import SMALL, run

import conformance
from conformance.report.exports.submissions import PAGES, TABLE
from conformance.report.folder import results
from conformance.report.reports import REPORTS, draw

PAGE = "CONTRIBUTING.md"


def test_every_report_of_the_table_is_drawn(tmp_path: Path) -> None:
    draw(run(*SMALL), tmp_path, tmp_path / "transcripts")
    assert {path.name for path in tmp_path.iterdir()} == set(REPORTS) - {TABLE, PAGES}


def test_a_report_is_added_as_told(tmp_path: Path) -> None:
    source = Path(conformance.__file__).parent
    package = shutil.copytree(source, tmp_path / "conformance", ignore=checkout.ignored)
    (module,) = [text for text in checkout.blocks(PAGE, "python") if "def slowest" in text]
    (package / "report" / "exports" / "slowest.py").write_text(module)
    found = re.search(r'`("slowest.txt": .*,)`', (checkout.ROOT / PAGE).read_text("utf-8"))
    assert found
    table = package / "report" / "reports.py"
    text = table.read_text("utf-8").replace("    PAGE: ", f"    {found[1]}\n    PAGE: ")
    line = "from conformance.report.run import Run\n"
    table.write_text(
        text.replace(line, line + "from conformance.report.exports.slowest import slowest\n")
    )

    output = tmp_path / "out"
    output.mkdir()
    results.write(run(*SMALL), output)
    command = [sys.executable, "-m", "conformance", "report", "out"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr  # the status of the run of this report
    assert (output / "slowest.txt").read_text().splitlines()[0] == f"    0.25 s  {SMALL[0].id}"
    assert "slowest.txt" in (output / ".conformance.json").read_text()
