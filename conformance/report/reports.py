"""Every report, drawn from a run alone, so that each can be drawn again from results.json.

Here are the short texts; what a failure shows, junit.xml and the page have modules of their own.
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from conformance.mistakes import Mistake, meant
from conformance.model import Implementation, Requirement, Result, Role, Scenario, Suite, Verdict
from conformance.report.blame import faults, is_mixed
from conformance.report.failure import failure_text, finding_text, replay
from conformance.report.findings import findings, others
from conformance.report.grid import Grid, Heading, Tally, at_fault, grid, legend, total, totals
from conformance.report.junit import junit_xml
from conformance.report.page import index_html
from conformance.report.results import Run, lacking, red
from conformance.text import columns, counted, visible
from conformance.text import plain_signs as plain

__all__ = [
    "badges",
    "comparison",
    "describe",
    "difference",
    "failure_text",
    "finding_text",
    "findings",
    "index_html",
    "junit_xml",
    "matrix",
    "others",
    "replay",
    "requirements_table",
    "summary_markdown",
]

CORNER = "server × client"
REQUIREMENTS_WIDTH = 100  # columns
SHOWN_FAILURES = 20  # in a summary; a CI cuts off long ones

_COLORS = {"✓": "32", "~": "33", "✗": "1;31", "!": "35", "−": "2", "?": "2"}


def describe(implementation: Implementation, unavailable: str = "") -> dict[str, object]:
    """An implementation as a run lists it."""
    return {
        "name": implementation.name,
        "role": str(implementation.role),
        "language": implementation.language,
        "folder": str(implementation.folder),
        "features": sorted(implementation.features),
        "known_failures": dict(implementation.known_failures),
        "unavailable": unavailable,
    }


# The matrix


@dataclass(frozen=True, slots=True)
class Look:
    """How a matrix is shown."""

    color: bool = False
    width: int = 80
    plain: bool = False  # in characters that every encoding has

    def text(self, tally: Tally) -> str:
        """What stands in a cell."""
        return plain(tally.text) if self.plain else tally.text


def matrix(run: Run, color: bool = False, width: int = 80, plainly: bool = False) -> str:
    """Servers × clients with counts; beside them those judged alone; then totals and blame."""
    look = Look(color, width, plainly)
    whole = grid(run.results)
    blocks = [_block(whole, some, look) for some in _fitting(whole, look)]
    notes = [_dim(line, color) for line in _packed(legend(whole), width)]
    lines = ["\n\n".join(blocks), "", *notes, ""] if blocks else []
    counts = f"{totals(total(run.results))} in {run.seconds:.1f} s"
    for line in [counts, *lacking(run), *at_fault(run.results)]:
        lines += textwrap.wrap(
            visible(line),
            width,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    text = "\n".join(lines)
    return plain(text) if plainly else text


def _packed(entries: Iterable[str], width: int) -> list[str]:
    """Entries side by side, as many to a line as there is width for."""
    lines: list[str] = []
    for entry in entries:
        if lines and columns(f"{lines[-1]}   {entry}") <= width:
            lines[-1] += f"   {entry}"
        else:
            lines.append(entry)
    return lines


def _fitting(whole: Grid, look: Look) -> list[list[Heading]]:
    """The columns, cut into as many blocks as the width asks for."""
    blocks: list[list[Heading]] = []
    used = look.width
    for column in whole.columns:
        wide = _width(whole, column, look) + 3
        if used + wide > look.width:
            blocks.append([])
            used = _margin(whole)
        blocks[-1].append(column)
        used += wide
    return blocks


def _margin(whole: Grid) -> int:
    return max(columns(name) for name in [CORNER, *(visible(name) for _, name in whole.rows)]) + 2


def _width(whole: Grid, column: Heading, look: Look) -> int:
    texts = [look.text(tally) for (_, where), tally in whole.cells.items() if where == column]
    return max(columns(text) for text in [visible(column[1]), *texts])


def _block(whole: Grid, some: Sequence[Heading], look: Look) -> str:
    margin = _margin(whole)
    widths = [_width(whole, column, look) for column in some]
    bars = ["│" if i == 0 or some[i - 1][0] != some[i][0] == 1 else " " for i in range(len(some))]
    rule = "─" * (margin - 1)
    for bar, wide in zip(bars, widths, strict=True):
        rule += ("┼" if bar == "│" else "─") + "─" * (wide + 2)
    names = [_padded(visible(name), wide) for (_, name), wide in zip(some, widths, strict=True)]
    lines = [_row(CORNER, names, bars, margin), rule]
    for row in whole.rows:
        if row[0] == 1 and len(lines) > 2:
            lines.append(rule)
        tallies = [whole.cells.get((row, column)) for column in some]
        cells = [_cell(tally, wide, look) for tally, wide in zip(tallies, widths, strict=True)]
        lines.append(_row(visible(row[1]), cells, bars, margin))
    return "\n".join(lines)


def _row(name: str, cells: Sequence[str], bars: Sequence[str], margin: int) -> str:
    parts = (f"{bar} {cell} " for bar, cell in zip(bars, cells, strict=True))
    return (_padded(name, margin - 1) + "".join(parts)).rstrip()


def _cell(tally: Tally | None, width: int, look: Look) -> str:
    if tally is None:
        return " " * width
    text = look.text(tally)
    if not look.color:
        return _padded(text, width)
    padding = " " * (width - columns(text))
    return f"\033[{_COLORS[tally.mark]}m{text}\033[0m{padding}"


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))


def _dim(text: str, color: bool) -> str:
    return f"\033[2m{text}\033[0m" if color else text


# The summary of a CI job


def summary_markdown(run: Run) -> str:
    """Whether the run is green, the matrix, and each case that is not as expected."""
    reasons = red(run)
    head = f"## {'✗' if reasons else '✓'} {_md(run.suite)}: {totals(total(run.results))}"
    lines = [head, "", *(f"- **{_md(reason)}**" for reason in reasons), ""]
    lines += [*_markdown_table(grid(run.results)), ""]
    lines += [*(f"- {_md(line)}" for line in [*lacking(run), *at_fault(run.results)]), ""]
    for finding in findings(run.results):
        text = finding_text(finding, run.requirements, run.folders)
        lines += _markdown_details(finding.title, text)
    surprises = others(run.results)
    for result in surprises[:SHOWN_FAILURES]:
        text = failure_text(result, run.requirements, run.folders)
        lines += _markdown_details(f"{result.id}: {result.verdict}", text)
    if len(surprises) > SHOWN_FAILURES:
        lines += [f"and {len(surprises) - SHOWN_FAILURES} more:", ""]
        lines += [f"- {_md(result.id)}: {result.verdict}" for result in surprises[SHOWN_FAILURES:]]
    return re.sub("\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _markdown_table(whole: Grid) -> list[str]:
    lines = ["| " + " | ".join([CORNER, *(_md(name) for _, name in whole.columns)]) + " |"]
    lines.append("|---" * (len(whole.columns) + 1) + "|")
    for row in whole.rows:
        tallies = [whole.cells.get((row, column)) for column in whole.columns]
        cells = [tally.text if tally else "" for tally in tallies]
        lines.append("| " + " | ".join([f"**{_md(row[1])}**", *cells]) + " |")
    return lines if whole.rows else []


def _markdown_details(title: str, text: str) -> list[str]:
    # A fence longer than any run of backticks in the text, so that nothing in it can close it.
    fence = "`" * max(3, *(len(ticks) + 1 for ticks in re.findall("`+", text) or [""]))
    head = f"<details><summary><code>{html.escape(visible(title))}</code></summary>"
    return [head, "", f"{fence}text", text, fence, "", "</details>", ""]


def _md(text: str) -> str:
    """A text as it is, with nothing in it that Markdown or HTML would act on."""
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", html.escape(visible(text), quote=False))


# Badges


def badges(run: Run) -> dict[str, dict[str, object]]:
    """For each implementation, by role and name, what shields.io calls an endpoint."""
    names = {(Role.SERVER, result.server) for result in run.results if result.server}
    names |= {(Role.CLIENT, name) for result in run.results for name in result.clients}
    return {f"{role}-{name}": _badge(run, role, name) for role, name in sorted(names)}


def _badge(run: Run, role: Role, name: str) -> dict[str, object]:
    tally = total(result for result in _own(run, role, name))
    message = f"{tally.passed}/{tally.played}" if tally.played else "not played"
    if unsupported := tally.counts[Verdict.UNSUPPORTED]:
        message += f", {unsupported} unsupported"
    color = {"✓": "brightgreen", "~": "yellow", "✗": "red", "!": "orange"}
    return {
        "schemaVersion": 1,
        "label": f"{visible(name)} {role}",
        "message": message,
        "color": color.get(tally.mark, "lightgrey"),
    }


def _own(run: Run, role: Role, name: str) -> Iterable[Result]:
    """The cases that an implementation takes part in, but those where its peer is at fault."""
    others = {
        (fault.scenario, *pairing)
        for fault in faults(run.results)
        if fault.role is not None and (fault.role, fault.name) != (role, name)
        for pairing in fault.pairings
    }
    for result in run.results:
        takes_part = name in result.clients if role is Role.CLIENT else name == result.server
        if takes_part and (result.scenario, result.server, *result.clients) not in others:
            yield result


# Rules and what proves them


def requirements_table(suite: Suite, scenarios: Sequence[Scenario]) -> str:
    """Every rule with the scenarios that prove it, and the rules that none proves."""
    provers = _provers(scenarios)
    wide = max((len(id) for id in suite.requirements), default=0)
    rows = [_rule_row(rule, provers, wide) for rule in suite.requirements.values()]
    bare = [id for id in suite.requirements if id not in provers]
    are = "is" if len(rows) - len(bare) == 1 else "are"
    proven = f"{len(rows) - len(bare)} of {counted(len(rows), 'rule')} {are} proven by a scenario"
    return "\n".join([*rows, "", proven + (f"; not: {', '.join(bare)}" if bare else "")])


def _provers(scenarios: Iterable[Scenario]) -> dict[str, list[str]]:
    """Rule → scenarios, the examples of one counted as one."""
    provers: dict[str, dict[str, None]] = {}
    for scenario in scenarios:
        for rule in scenario.claims:
            provers.setdefault(rule, {})[scenario.key.partition(":")[0]] = None
    return {rule: list(keys) for rule, keys in provers.items()}


def _rule_row(rule: Requirement, provers: Mapping[str, Sequence[str]], wide: int) -> str:
    proof = ", ".join(visible(key) for key in provers.get(rule.id, ())) or "no scenario"
    feature = f" ({rule.feature})" if rule.feature else ""
    head = f"{rule.id:{wide}}  {rule.level:6}  "
    return textwrap.fill(
        proof + feature,
        width=REQUIREMENTS_WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )


# What changed between two runs


def difference(old: Run, new: Run) -> str:
    """What broke, what was mended, what changed otherwise, what is new, and what is gone."""
    nothing = f"no case of {len(new.results)} changed its verdict"
    return _grouped(changes(old, new)) or nothing


def _grouped(groups: Mapping[str, Sequence[str]]) -> str:
    return "\n\n".join(
        f"{title} ({len(lines)}):\n" + "\n".join(f"  {line}" for line in lines)
        for title, lines in groups.items()
        if lines
    )


def changes(old: Run, new: Run) -> dict[str, list[str]]:
    """The cases whose verdict is not what it was, by what that means."""
    before = {_name(result): result.verdict for result in old.results}
    after = {_name(result): result.verdict for result in new.results}
    groups: dict[str, list[str]] = {"broke": [], "mended": [], "changed": [], "new": [], "gone": []}
    for name, verdict in after.items():
        was = before.get(name)
        if was is None:
            groups["new"].append(f"{name}: {verdict}")
        elif was is not verdict:
            groups[_meaning(was, verdict)].append(f"{name}: {was} → {verdict}")
    groups["gone"] = [f"{name}: was {was}" for name, was in before.items() if name not in after]
    return groups


def _name(result: Result) -> str:
    """A case's name that does not depend on where the run was started: `chat/to-all[go+c]`."""
    return visible(result.scenario + result.id[result.id.rfind("[") :])


def _meaning(was: Verdict, verdict: Verdict) -> str:
    """FAILED and ERRORED are bad alike; from what was not played, nothing broke or was mended."""
    bad = (Verdict.FAILED, Verdict.ERRORED)
    if was is Verdict.PASSED and verdict in bad:
        return "broke"
    return "mended" if was in bad and verdict is Verdict.PASSED else "changed"


# What differs between two implementations in one run


def comparison(run: Run, role: Role, first: str, second: str) -> str:
    """The cases that two implementations of one role did not end alike; raises Mistake."""
    known = sorted({name for one in run.results if (name := _played_by(one, role))})
    if strangers := [name for name in (first, second) if name not in known]:
        raise Mistake(
            [
                f"--{role} {name}: no such {role} in this run; {meant(name, known)}"
                for name in strangers
            ]
        )
    ours, theirs = (_verdicts_of(run, role, name) for name in (first, second))
    nothing = f"{first} and {second} ended all of {counted(len(ours), 'case')} alike"
    return _grouped(_differences(first, ours, second, theirs)) or nothing


def _differences(
    first: str, ours: Mapping[str, Verdict], second: str, theirs: Mapping[str, Verdict]
) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {
        f"passed by {first} alone": [],
        f"passed by {second} alone": [],
        "otherwise different": [],
        f"without {second}": [f"{name}: {v}" for name, v in ours.items() if name not in theirs],
        f"without {first}": [f"{name}: {v}" for name, v in theirs.items() if name not in ours],
    }
    better, worse, other = list(groups)[:3]
    for name in ours.keys() & theirs.keys():
        one, another = ours[name], theirs[name]
        line = f"{name}: {first} {one}, {second} {another}"
        if one is not another:
            passed = better if one is Verdict.PASSED else worse
            groups[passed if Verdict.PASSED in (one, another) else other].append(line)
    return {title: sorted(lines) for title, lines in groups.items()}


def _played_by(result: Result, role: Role) -> str | None:
    """Who alone has the role in a case."""
    if role is Role.SERVER:
        return result.server
    return None if is_mixed(result) or not result.clients else result.clients[0]


def _verdicts_of(run: Run, role: Role, name: str) -> dict[str, Verdict]:
    """The verdicts of one implementation by cases in which its name is left out."""
    return {
        _name_without(result, role): result.verdict
        for result in run.results
        if _played_by(result, role) == name
    }


def _name_without(result: Result, role: Role) -> str:
    """`chat/to-all[*+c]`: whichever server."""
    server, plus, client = result.id[result.id.rfind("[") + 1 : -1].partition("+")
    pairing = f"*{plus}{client}" if role is Role.SERVER else f"{server}+*" if plus else "*"
    return visible(f"{result.scenario}[{pairing}]")
