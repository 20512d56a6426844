"""The texts that the command and the pytest plugin show at the end of a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from conformance.report.findings.groups import Group, groups
from conformance.report.folder.transcripts import output_of
from conformance.report.reports import PAGE
from conformance.report.run import Run, advice, red
from conformance.report.terminal.failure import group_text
from conformance.report.terminal.matrix import Look, matrix
from conformance.report.terminal.way import SHOWN_GROUPS, bars, mend_first
from conformance.text import clipped, plain_signs, visible


def groups_shown(run: Run, folder: Path | None) -> list[str]:
    """The list of what to mend first, then a text for each of the largest groups.

    `folder` is the output folder; None: no reports were written.
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
    """The failures of programs as a whole, then what to mend first; pytest shows failed cases."""
    found = groups(run.results)
    texts = _blocks(run, (one for one in found if one.is_of_a_program), folder)
    some = mend_first(run, [one for one in found if not one.is_of_a_program])
    return [*texts, "\n".join(["Mend first:", *some])] if some else texts


def _blocks(run: Run, some: Iterable[Group], folder: Path | None) -> list[str]:
    return [
        group_text(one, run.requirements, run.options, output_of(folder, one.cases[0].id))
        for one in some
    ]


def ending_shown(run: Run, look: Look) -> list[str]:
    """The bars of the sections, the matrix, the advice, and the reasons why the run is red."""
    rules = "\n".join([*(clipped(line, look.width) for line in bars(run)), ""])
    shown = [plain_signs(rules) if look.plain else rules] if rules else []
    advised = [f"advice: {visible(line)}" for line in advice(run)]
    return [*shown, matrix(run, look), *advised, *(f"red: {reason}" for reason in red(run))]
