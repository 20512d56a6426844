"""badges/: one JSON file for each implementation, in the format of shields.io."""

from __future__ import annotations

import json
from collections.abc import Iterator

from conformance.model import Result, Role, Verdict
from conformance.report.findings.blame import faults
from conformance.report.findings.grid import total
from conformance.report.run import Run
from conformance.text import visible

BADGES = "badges"
COLORS = {"✓": "brightgreen", "~": "yellow", "✗": "red", "!": "orange"}


def badge_files(run: Run) -> dict[str, str]:
    """The text of each file in the folder, by name."""
    return {f"{name}.json": json.dumps(badge) + "\n" for name, badge in badges(run).items()}


def badges(run: Run) -> dict[str, dict[str, object]]:
    """The badge of each implementation, by label (`server-go`)."""
    names = {(Role.SERVER, result.server) for result in run.results if result.server}
    names |= {(Role.CLIENT, name) for result in run.results for name in result.clients}
    return {f"{role}-{name}": _badge(run, role, name) for role, name in sorted(names)}


def _badge(run: Run, role: Role, name: str) -> dict[str, object]:
    tally = total(_own(run, role, name))
    message = f"{tally.passed}/{tally.played}" if tally.played else "not played"
    if unsupported := tally.counts[Verdict.UNSUPPORTED]:
        message += f", {unsupported} unsupported"
    return {
        "schemaVersion": 1,
        "label": f"{visible(name)} {role}",
        "message": message,
        "color": COLORS.get(tally.mark, "lightgrey"),
    }


def _own(run: Run, role: Role, name: str) -> Iterator[Result]:
    """The cases of an implementation, except failures for which another program is at fault."""
    others = {
        (fault.scenario, fault.delivery, *pairing)
        for fault in faults(run.results)
        if fault.role is not None and (fault.role, fault.name) != (role, name)
        for pairing in fault.pairings
    }
    for result in run.results:
        takes_part = name in result.clients if role is Role.CLIENT else name == result.server
        case = (result.scenario, result.delivery, result.server, *result.clients)
        if takes_part and case not in others:
            yield result
