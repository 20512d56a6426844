"""summary.md: the summary of a run for CI systems, in Markdown."""

from __future__ import annotations

import html
import re

from conformance.report.findings.flakes import flaky_cases
from conformance.report.findings.grid import CORNER, Grid, at_fault, grid, total, totals
from conformance.report.findings.groups import groups
from conformance.report.run import Run, advice, lacking, red
from conformance.report.terminal.failure import group_text
from conformance.report.terminal.way import bars, entry
from conformance.text import visible

SHOWN_GROUPS = 20  # groups with details; CI systems truncate long summaries


def summary_markdown(run: Run) -> str:
    """The text: green or red, what to mend first, rules kept by section, and the matrix."""
    lines = [*_head(run), *_mend(run), *_bars(run), *_table(grid(run.results)), ""]
    told = [*lacking(run), *advice(run), *flaky_cases(run.results), *at_fault(run.results)]
    lines += [f"- {_md(line)}" for line in told]
    return re.sub("\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _head(run: Run) -> list[str]:
    reasons = red(run)
    title = f"## {'✗' if reasons else '✓'} {_md(run.suite)}: {totals(total(run.results))}"
    return [title, "", *(f"- **{_md(reason)}**" for reason in reasons), ""]


def _table(whole: Grid) -> list[str]:
    lines = ["| " + " | ".join([CORNER, *(_md(name) for _, name in whole.columns)]) + " |"]
    lines.append("|---" * (len(whole.columns) + 1) + "|")
    for row in whole.rows:
        tallies = [whole.cells.get((row, column)) for column in whole.columns]
        cells = [tally.text if tally else "" for tally in tallies]
        lines.append("| " + " | ".join([f"**{_md(row[1])}**", *cells]) + " |")
    return lines if whole.rows else []


def _mend(run: Run) -> list[str]:
    """A line for each group of unexpected results, with folded details for the first groups."""
    found = groups(run.results)
    played = total(run.results).played
    lines = ["### Mend first", ""] if found else []
    for group in found[:SHOWN_GROUPS]:
        text = group_text(group, run.requirements, run.options)
        lines += _details(entry(run, group, played), text)
    if more := found[SHOWN_GROUPS:]:
        lines += [f"and {len(more)} more:", ""]
        lines += [f"- {_md(entry(run, group, played))}" for group in more]
    return [*lines, ""]


def _bars(run: Run) -> list[str]:
    shown = bars(run)
    return ["```text", *shown, "```", ""] if shown else []


def _details(title: str, text: str) -> list[str]:
    """A text that is folded under its title."""
    # A fence longer than any sequence of backticks in the text, which therefore cannot close it.
    fence = "`" * max(3, *(len(ticks) + 1 for ticks in re.findall("`+", text) or [""]))
    head = f"<details><summary><code>{html.escape(visible(title))}</code></summary>"
    return [head, "", f"{fence}text", text, fence, "", "</details>", ""]


def _md(text: str) -> str:
    """A text with all special characters of Markdown and HTML escaped."""
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", html.escape(visible(text), quote=False))
