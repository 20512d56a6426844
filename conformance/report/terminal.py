"""What is shown on a terminal at the end of a run, by the command and by pytest's plugin."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from conformance.report.failure import group_text
from conformance.report.groups import Group, groups
from conformance.report.matrix import Look, matrix
from conformance.report.reports import PAGE
from conformance.report.run import Run, advice, red
from conformance.report.transcripts import output_of
from conformance.report.way import SHOWN_GROUPS, bars, mend_first
from conformance.text import clipped, plain_signs, visible


def groups_shown(run: Run, folder: Path | None) -> list[str]:
    """What is to be mended first, then a block for each group; the reports have all groups.

    `folder` is the output folder, if it was written.
    """
    found = groups(run.results)
    some = mend_first(run, found)
    texts = ["\n".join(["Mend first:", *some])] if some else []
    texts += _blocks(run, found[:SHOWN_GROUPS], folder)
    if len(found) > SHOWN_GROUPS:
        where = f", in {folder / PAGE}" if folder else ""
        texts.append(f"... and {len(found) - SHOWN_GROUPS} more{where}")
    return texts


def programs_shown(run: Run, folder: Path | None) -> list[str]:
    """What concerns a program as a whole, and what is to be mended first, beside failed cases."""
    found = groups(run.results)
    texts = _blocks(run, (one for one in found if one.is_of_a_program), folder)
    some = mend_first(run, [one for one in found if not one.is_of_a_program])
    return [*texts, "\n".join(["Mend first:", *some])] if some else texts


def _blocks(run: Run, some: Iterable[Group], folder: Path | None) -> list[str]:
    return [
        group_text(one, run.requirements, run.folders, output_of(folder, one.cases[0].id))
        for one in some
    ]


def ending_shown(run: Run, look: Look) -> list[str]:
    """How far the programs are, rule by rule; the matrix; what is only advised; why it is red."""
    rules = "\n".join([*(clipped(line, look.width) for line in bars(run)), ""])
    shown = [plain_signs(rules) if look.plain else rules] if rules else []
    advised = [f"advice: {visible(line)}" for line in advice(run)]
    return [*shown, matrix(run, look), *advised, *(f"red: {reason}" for reason in red(run))]
