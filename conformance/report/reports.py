"""The reports that every run writes: one entry for each. To add one, write a module and an entry.

A report is drawn from a run alone, and, if it wants them, from the transcripts of its cases; so
`conformance report` can draw it again from results.json.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from conformance.report.badges import BADGES, badge_files
from conformance.report.junit import junit_xml
from conformance.report.markdown import summary_markdown
from conformance.report.page import index_html
from conformance.report.run import Run

PAGE = "index.html"  # the report that a person is sent to

# From a run, and the folder of its transcripts: the text of a file, or the files of a folder.
Draw = Callable[[Run, Path], str | Mapping[str, str]]

REPORTS: Mapping[str, Draw] = {
    PAGE: index_html,
    "summary.md": lambda run, _: summary_markdown(run),
    "junit.xml": lambda run, _: junit_xml(run),
    BADGES: lambda run, _: badge_files(run),
}


def draw(run: Run, target: Path, transcripts: Path) -> None:
    """Write every report into a folder."""
    for name, report in REPORTS.items():
        drawn = report(run, transcripts)
        if isinstance(drawn, str):
            (target / name).write_text(drawn, "utf-8")
            continue
        (target / name).mkdir()
        for file, text in drawn.items():
            (target / name / file).write_text(text, "utf-8")
