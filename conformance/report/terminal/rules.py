"""The text of `list --requirements`: each rule of a suite, and the scenarios that prove it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from conformance.model import Requirement, Scenario, Suite
from conformance.text import counted, visible

WIDTH = 100  # columns


def requirements_table(suite: Suite, scenarios: Sequence[Scenario]) -> str:
    """A row for each rule, then the number of rules that scenarios prove, and the others."""
    provers = _provers(scenarios)
    wide = max((len(id) for id in suite.requirements), default=0)
    rows = [_row(rule, provers, wide) for rule in suite.requirements.values()]
    bare = [id for id in suite.requirements if id not in provers]
    are = "is" if len(rows) - len(bare) == 1 else "are"
    proven = f"{len(rows) - len(bare)} of {counted(len(rows), 'rule')} {are} proven by a scenario"
    return "\n".join([*rows, "", proven + (f"; not: {', '.join(bare)}" if bare else "")])


def _provers(scenarios: Iterable[Scenario]) -> dict[str, list[str]]:
    """Rule → names of scenarios. The examples of a scenario have one name."""
    provers: dict[str, dict[str, None]] = {}
    for scenario in scenarios:
        for rule in scenario.claims:
            provers.setdefault(rule, {})[scenario.names[-1]] = None
    return {rule: list(keys) for rule, keys in provers.items()}


def _row(rule: Requirement, provers: Mapping[str, Sequence[str]], wide: int) -> str:
    proof = ", ".join(visible(key) for key in provers.get(rule.id, ())) or "no scenario"
    feature = f" ({rule.feature})" if rule.feature else ""
    head = f"{rule.id:{wide}}  {rule.level:6}  "
    return textwrap.fill(
        proof + feature,
        width=WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
