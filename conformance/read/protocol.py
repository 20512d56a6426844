"""The rules of a protocol text, each with its place.

It does not depend on the scenarios that prove them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from conformance.mistakes import Fault, Place, Problems, meant
from conformance.model import Requirement
from conformance.read.yaml_tree import Node

# `- CHAT-1 (MUST) *(feature: NAME)* text`, continued by indented lines.
_RULE = re.compile(
    r"^- (?P<id>[A-Z][A-Z0-9]*-[0-9]+) \((?P<level>MUST|SHOULD|MAY)\)"
    r"(?: \*\(feature: (?P<feature>[a-z0-9-]+)\)\*)? (?P<text>.*)$"
)
_NEARLY_RULE = re.compile(r"^\s*[-*] [A-Za-z][A-Za-z0-9]*-[0-9]+\b")
_REMEDY = "write rules as `- NAME-1 (MUST) text`, or `- NAME-1 (MUST) *(feature: NAME)* text`"


def requirements(node: Node, folder: Path) -> dict[str, Requirement]:
    """The rules by id, in the text whose path a suite in `folder` names; raises Mistake."""
    path = folder / node.text("`protocol`")
    lines = _lines(node, path)
    rules: dict[str, Requirement] = {}
    problems = Problems()
    for number, line in enumerate(lines, 1):
        place = Place(os.path.normpath(path), number)
        if found := _RULE.match(line):
            if other := rules.get(found["id"]):
                problems.add(Fault(place, f"{other.id} is defined at {other.place} already"))
            text = " ".join([found["text"], *_continuation(lines[number:])])
            rule = Requirement(found["id"], found["level"], text, found["feature"], place)
            rules[rule.id] = rule
        elif _NEARLY_RULE.match(line):
            problems.add(Fault(place, f"not a rule, though it looks like one; {_REMEDY}"))
    problems.report()
    if not rules:
        raise node.fault(f"{path} holds no rule; {_REMEDY}")
    return rules


def ordered(rules: Mapping[str, Requirement], order: Sequence[Node]) -> dict[str, Requirement]:
    """The rules in the order of these rules and sections, in which a program is best built.

    Rules that are not named come last, in the order of the text. Raises Mistake.
    """
    ranks = {node.text("a rule or a section"): rank for rank, node in enumerate(order)}
    known = {name for rule in rules for name in (rule, _section(rule))}
    problems = Problems()
    for node in order:
        if node.value not in known:
            problems.add(node.fault(f"no such rule or section; {meant(str(node.value), known)}"))
    problems.report()

    def rank(rule: str) -> int:
        return ranks.get(rule, ranks.get(_section(rule), len(ranks)))

    return {rule: rules[rule] for rule in sorted(rules, key=rank)}


def _section(rule: str) -> str:
    """`JOIN` of `JOIN-4`."""
    return rule.rpartition("-")[0]


def _lines(node: Node, path: Path) -> Sequence[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except OSError as error:
        raise node.fault(f"the protocol text {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise node.fault(f"the protocol text {path} cannot be read: not UTF-8") from None
    except ValueError:
        raise node.fault("the name of a file cannot hold a NUL") from None


def _continuation(lines: Sequence[str]) -> list[str]:
    rest = []
    for line in lines:
        if not line.startswith("  ") or line.lstrip().startswith("|"):
            break
        rest.append(line.strip())
    return rest
