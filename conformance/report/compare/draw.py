"""Writes compare.html from the parts of index.html; its own modules replace those of equal name."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from conformance.report.compare.data import Compared, compared_data
from conformance.report.page.data import said_data
from conformance.report.page.draw import REPORT, drawn, packed
from conformance.report.run import Run
from conformance.text import visible

PAGE = "compare.html"

_OWN = files("conformance.report.compare")


def compare_html(what: Compared, run: Run, transcripts: Path | None = None) -> str:
    """The text of the page; `transcripts` is the folder with the transcripts of the run."""
    return drawn(
        (_OWN, REPORT),
        PAGE,
        suite=run.suite,
        own_style=_OWN.joinpath("compare.css").read_text("utf-8"),
        first=packed(compared_data(what, run)),
        said=packed(said_data(run, transcripts, outputs=False)),
        plain=[visible(f"{one.role} {one.name}: {one.folder}") for one in what.implementations],
    )
