"""What is shown on a terminal at the end of a run, by the command and by pytest's plugin."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from conformance.report.failure import group_text
from conformance.report.groups import Group, groups
from conformance.report.matrix import Look, matrix
from conformance.report.reports import PAGE
from conformance.report.run import Run, red
from conformance.report.transcripts import output_of
from conformance.report.way import SHOWN_GROUPS, bars, mend_first
from conformance.text import clipped, plain_signs


def groups_shown(run: Run, folder: Path | None) -> list[str]:
    """What is to be mended first, then a block for each group; the reports have all groups.

    `folder` is the output folder, if it was written.
    """
    found = groups(run.results)
    texts = ["\n".join(["Mend first:", *some])] if (some := mend_first(run)) else []
    texts += _blocks(run, found[:SHOWN_GROUPS], folder)
    if len(found) > SHOWN_GROUPS:
        where = f", in {folder / PAGE}" if folder else ""
        texts.append(f"... and {len(found) - SHOWN_GROUPS} more{where}")
    return texts


def programs_shown(run: Run, folder: Path | None) -> list[str]:
    """What is to be mended first, and what concerns a program as a whole, beside failed cases."""
    texts = ["\n".join(["Mend first:", *some])] if (some := mend_first(run)) else []
    return texts + _blocks(run, (one for one in groups(run.results) if one.is_of_a_program), folder)


def _blocks(run: Run, some: Iterable[Group], folder: Path | None) -> list[str]:
    return [
        group_text(one, run.requirements, run.folders, output_of(folder, one.cases[0].id))
        for one in some
    ]


def ending_shown(run: Run, look: Look) -> list[str]:
    """How far the programs are, rule by rule; the matrix; why the run is red."""
    rules = "\n".join([*(clipped(line, look.width) for line in bars(run)), ""])
    shown = [plain_signs(rules) if look.plain else rules] if rules else []
    return [*shown, matrix(run, look), *(f"red: {reason}" for reason in red(run))]
