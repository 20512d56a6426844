"""Mappings with known keys: how each value is read, and what editors are told about it.

It does not know what any file means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from conformance.mistakes import Problems
from conformance.read.yaml_tree import Node

Schema: TypeAlias = Mapping[str, Any]

T = TypeVar("T")
V = TypeVar("V", covariant=True)  # what a grammar makes of a value
C = TypeVar("C", contravariant=True)  # what a reader needs to know besides the value


@dataclass(frozen=True, slots=True)
class Grammar(Generic[V]):
    """How a value is written, for a verb: read, named in a table, and checked by an editor."""

    read: Callable[[Node], V]
    words: str
    schema: Schema

    def __call__(self, node: Node) -> V:
        """Read a value; raises Mistake."""
        return self.read(node)


def grammar(words: str, schema: Schema) -> Callable[[Callable[[Node], T]], Grammar[T]]:
    """Make the function below it a grammar."""
    return lambda read: Grammar(read, words, schema)


@dataclass(frozen=True, slots=True)
class Key(Generic[C]):
    """One key of a mapping."""

    read: Callable[[Node, C], object]
    schema: Schema
    meaning: str = ""  # for people, in their editor
    needed: bool = False


Keys: TypeAlias = Mapping[str, Key[C]]


def alone(reader: Callable[[Node], T]) -> Callable[[Node, object], T]:
    """A reader that needs to know nothing but the value."""
    return lambda node, _: reader(node)


def words(name: str) -> Callable[[Node, object], str]:
    """A reader of one line of text; `name` is the key, for messages."""
    return lambda node, _: node.words(f"`{name}`")


def record(node: Node, what: str, keys: Keys[C], context: C) -> dict[str, Any]:
    """The values of a mapping by key; raises Mistake with all that is wrong in it."""
    problems = Problems()
    values = partial_record(node, what, keys, context, problems)
    problems.report()
    return values


def partial_record(
    node: Node, what: str, keys: Keys[C], context: C, problems: Problems
) -> dict[str, Any]:
    """The values that are present and right; the problems of the others are gathered."""
    entries = node.mapping(what)
    with problems.gathered():
        node.allow(keys, what)
    for name, key in keys.items():
        if key.needed and name not in entries:
            problems.add(node.fault(f"{what} needs `{name}`"))
    values = {}
    for name, key in keys.items():
        if name in entries:
            with problems.gathered():
                values[name] = key.read(entries[name], context)
    return values


# --- JSON Schema ---


def described(schema: Schema, meaning: str) -> Schema:
    """The schema with a description; beside a reference, JSON Schema would ignore it."""
    if not meaning:
        return schema
    return {"description": meaning, **({"allOf": [schema]} if "$ref" in schema else schema)}


def reference(name: str) -> Schema:
    """A reference to a definition of the same document."""
    return {"$ref": f"#/definitions/{name}"}


def mapping_schema(properties: Mapping[str, Schema], **more: object) -> Schema:
    """A mapping with these keys and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        **more,
        "additionalProperties": False,
    }


def record_schema(keys: Keys[Any]) -> Schema:
    """What an editor can check of a mapping with these keys."""
    needed = [name for name, key in keys.items() if key.needed]
    properties = {name: described(key.schema, key.meaning) for name, key in keys.items()}
    return mapping_schema(properties, **({"required": needed} if needed else {}))


TEXT: Schema = {"type": "string"}


def list_of(schema: Schema, **more: object) -> Schema:
    """A list of such values."""
    return {"type": "array", "items": schema, **more}
