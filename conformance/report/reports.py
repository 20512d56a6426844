"""The table of the reports that every run writes. To add a report, write a module and an entry.

A report is made only from a Run and the transcripts of its cases. Therefore `conformance report`
can make it again from the output folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from conformance.report.exports import submissions
from conformance.report.exports.badges import BADGES, badge_files
from conformance.report.exports.junit import junit_xml
from conformance.report.exports.markdown import summary_markdown
from conformance.report.page.draw import index_html
from conformance.report.run import Run

PAGE = "index.html"  # the report whose path is shown at the end of a run

# Takes a run and the folder of its transcripts; returns the text of a file, or files by name.
Draw = Callable[[Run, Path], str | Mapping[str, str]]

REPORTS: Mapping[str, Draw] = {
    PAGE: index_html,
    "summary.md": lambda run, _: summary_markdown(run),
    "junit.xml": lambda run, _: junit_xml(run),
    BADGES: lambda run, _: badge_files(run),
    submissions.TABLE: lambda run, _: submissions.table(run),
    submissions.PAGES: submissions.pages,
}


def draw(run: Run, target: Path, transcripts: Path) -> None:
    """Write all reports into the folder `target`, except those that are empty."""
    for name, report in REPORTS.items():
        drawn = report(run, transcripts)
        if isinstance(drawn, str):
            drawn = {name: drawn} if drawn else {}
        else:
            drawn = {f"{name}/{file}": text for file, text in drawn.items()}
        for file, text in drawn.items():
            (target / file).parent.mkdir(exist_ok=True)
            (target / file).write_text(text, "utf-8")
