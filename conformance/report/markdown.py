"""summary.md: what a CI system shows of a run. It knows nothing of terminals."""

from __future__ import annotations

import html
import re

from conformance.model import Result
from conformance.report.failure import failure_text, finding_text
from conformance.report.findings import findings, others
from conformance.report.grid import CORNER, Grid, at_fault, grid, total, totals
from conformance.report.run import Run, advice, lacking, red
from conformance.text import visible

SHOWN_FAILURES = 20  # in full; CI systems cut long summaries


def summary_markdown(run: Run) -> str:
    """Whether the run is green, the matrix, and each case that is not as expected."""
    lines = [*_head(run), *_table(grid(run.results)), ""]
    told = [*lacking(run), *advice(run), *at_fault(run.results)]
    lines += [*(f"- {_md(line)}" for line in told), ""]
    for finding in findings(run.results):
        lines += _details(finding.title, finding_text(finding, run.requirements, run.folders))
    lines += _surprises(run, others(run.results))
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


def _surprises(run: Run, surprises: list[Result]) -> list[str]:
    """The first ones in full, the others by name."""
    lines = []
    for result in surprises[:SHOWN_FAILURES]:
        text = failure_text(result, run.requirements, run.folders)
        lines += _details(f"{result.id}: {result.verdict}", text)
    if more := surprises[SHOWN_FAILURES:]:
        lines += [f"and {len(more)} more:", ""]
        lines += [f"- {_md(result.id)}: {result.verdict}" for result in more]
    return lines


def _details(title: str, text: str) -> list[str]:
    """A text that is shown when its title is clicked."""
    # The fence is longer than any run of backticks in the text, so that the text cannot close it.
    fence = "`" * max(3, *(len(ticks) + 1 for ticks in re.findall("`+", text) or [""]))
    head = f"<details><summary><code>{html.escape(visible(title))}</code></summary>"
    return [head, "", f"{fence}text", text, fence, "", "</details>", ""]


def _md(text: str) -> str:
    """A text as it is, with nothing in it that Markdown or HTML would act on."""
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", html.escape(visible(text), quote=False))
