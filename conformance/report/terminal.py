"""What is shown on a terminal at the end of a run, by the command and by pytest's plugin."""

from __future__ import annotations

from pathlib import Path

from conformance.report.failure import failure_text, finding_text
from conformance.report.findings import findings, others
from conformance.report.matrix import Look, matrix
from conformance.report.reports import PAGE
from conformance.report.run import Run, advice, red
from conformance.report.transcripts import output_of
from conformance.text import visible

SHOWN_FAILURES = 10  # in full; the reports have them all


def findings_shown(run: Run, folder: Path | None) -> list[str]:
    """What concerns a program as a whole. `folder` is the output folder, if it was written."""
    return [
        finding_text(one, run.requirements, run.folders, output_of(folder, one.cases[0]))
        for one in findings(run.results)
    ]


def failures_shown(run: Run, folder: Path | None) -> list[str]:
    """The first cases that are not as expected, and how many more there are."""
    surprises = others(run.results)
    texts = [
        failure_text(one, run.requirements, run.folders, output_of(folder, one.id))
        for one in surprises[:SHOWN_FAILURES]
    ]
    if more := len(surprises) - len(texts):
        texts.append(f"... and {more} more" + (f", in {folder / PAGE}" if folder else ""))
    return texts


def ending_shown(run: Run, look: Look) -> list[str]:
    """The matrix, what is only advised, and why the run is red."""
    advised = [f"advice: {visible(line)}" for line in advice(run)]
    return [matrix(run, look), *advised, *(f"red: {reason}" for reason in red(run))]
