"""Steps that are split into dialogues: `either: [[…], […]]` and `together: […]`.

This module reads them, and checks that a run can tell the dialogues of `either` apart. How the
scenario continues after them is decided in `state`.
"""

from __future__ import annotations

from collections.abc import Sequence

from conformance.arguments import patterns_in
from conformance.model import Split, Step
from conformance.read.keys import Schema, list_of, reference
from conformance.read.verbs import VERBS
from conformance.read.yaml_tree import Node

_DIALOGUE: Schema = list_of(reference("step"), minItems=1)

SCHEMAS: dict[str, Schema] = {
    Split.EITHER: {
        "description": "Several dialogues, of which one is played: the one whose first step comes "
        "true.",
        **list_of(_DIALOGUE, minItems=2),
    },
    Split.TOGETHER: {
        "description": "Steps of several actors, played at the same time; steps of the same actor "
        "keep their order.",
        **list_of(reference("step"), minItems=2),
    },
}


def split_of(node: Node) -> tuple[Split, Node] | None:
    """The kind of split and its dialogues, if a step is split; None for a step of actors."""
    entries = node.mapping("a step")
    for split in Split:
        if split in entries:
            if len(entries) > 1:
                raise node.fault(f"`{split}` must be the only key of its step; make two steps")
            return split, entries[split]
    return None


def dialogues(split: Split, node: Node) -> list[list[Node]]:
    """The steps of each dialogue; those of `together` are one list."""
    items = node.items(f"`{split}`")
    if len(items) < 2:
        raise node.fault(f"`{split}` needs two or more entries; with one, leave it out")
    if split is Split.TOGETHER:
        return [items]
    for item in items:
        if not item.items("a dialogue"):
            raise item.fault("a dialogue without steps; its first step decides if it is played")
    return [item.items("a dialogue") for item in items]


def check_begins(branches: Sequence[Sequence[Step]], node: Node) -> None:
    """Raise Fault if the first steps cannot decide which of the dialogues is played."""
    seen: set[tuple[str, str]] = set()
    for branch, item in zip(branches, node.items("dialogues"), strict=True):
        first = branch[0] if branch else None
        if first is None or first.split or not _decides(first):
            able = ", ".join(f"`{verb.name}`" for verb in VERBS.values() if verb.decides)
            remedy = f"a step that must see something: {able}"
            raise item.fault(f"a dialogue of `{Split.EITHER}` begins with {remedy}")
        key = (first.actor, first.source)
        if key in seen:
            remedy = f"put the steps that they share before `{Split.EITHER}`"
            raise item.fault(f"this dialogue begins like an earlier one; {remedy}")
        seen.add(key)


def _decides(step: Step) -> bool:
    """Whether a step can show that its dialogue is the one to play."""
    patterns = list(patterns_in(step.argument))
    return VERBS[step.verb].decides and not (patterns and all(one.optional for one in patterns))


def by_actor(branches: Sequence[Sequence[Step]], node: Node) -> list[tuple[Step, ...]]:
    """The steps of `together`, as one dialogue for each actor; raises Fault."""
    found: dict[str, list[Step]] = {}
    for step in (step for branch in branches for step in branch):
        if step.split:
            raise node.fault(f"`{Split.TOGETHER}` cannot hold `{step.split}`, only steps of actors")
        found.setdefault(step.actor, []).append(step)
    if len(found) < 2:
        remedy = "write its steps one after the other"
        raise node.fault(f"`{Split.TOGETHER}` is for two or more actors; {remedy}")
    return [tuple(steps) for steps in found.values()]
