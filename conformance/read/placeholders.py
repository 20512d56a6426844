"""Placeholders in a tree of YAML: filling them in, and refusing unknown ones.

It does not depend on where the values come from.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from conformance.mistakes import Fault, Place, meant
from conformance.read.yaml_tree import Node
from conformance.text import fill, placeholders

# Filled in when the case is played; `n` and `items` only in lines with `times` and `items`.
LATER = frozenset({"port", "host", "scratch", "n", "items"})

Values = Mapping[str, str]


def filled(node: Node, values: Values) -> Node:
    """The tree with `{name}` replaced in its texts and keys; unknown placeholders stay.

    Subtrees that do not change are shared with the old tree.
    """
    if isinstance(node.value, str):
        return replace(node, value=fill(node.value, values)) if "{" in node.value else node
    if isinstance(node.value, list):
        items = [filled(item, values) for item in node.value]
        same = all(new is old for new, old in zip(items, node.value, strict=True))
        return node if same else replace(node, value=items)
    if isinstance(node.value, dict):
        return _filled_mapping(node, node.value, values)
    return node


def _filled_mapping(node: Node, old: Mapping[str, Node], values: Values) -> Node:
    entries: dict[str, Node] = {}
    keys: dict[str, Place] = {}
    for key, item in old.items():
        name = fill(key, values)
        if name in entries:
            raise Fault(node.keys[key], f"`{key}`, when filled in, is a second key `{name}`")
        entries[name], keys[name] = filled(item, values), node.keys[key]
    if all(entries.get(key) is item for key, item in old.items()):
        return node
    return replace(node, value=entries, keys=keys)


class Unfilled(Fault):
    """A placeholder that nothing fills; `name` is its name."""

    def __init__(self, place: Place, message: str, name: str = "") -> None:
        super().__init__(place, message)
        self.name = name


def check_filled(text: str, place: Place, known: Collection[str]) -> None:
    """Raise Unfilled if a text holds a placeholder that is not known."""
    for name in placeholders(text):
        if name not in known:
            remedy = f"; {meant(name, known)}" if known else ""
            message = f"nothing fills the placeholder `{{{name}}}`{remedy}"
            raise Unfilled(place, message, name)


def check_tree(node: Node, known: Collection[str]) -> None:
    """`check_filled` for all texts and keys of a tree."""
    texts = {node.value: node.place} if isinstance(node.value, str) else node.keys
    for text, place in texts.items():
        check_filled(text, place, known)
    for child in node.children:
        check_tree(child, known)
