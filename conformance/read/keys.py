"""Mappings with known keys: how each value is read, and the JSON Schema of each for editors.

It does not depend on the meaning of any file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from conformance.mistakes import Problems
from conformance.read.yaml_tree import Node

Schema: TypeAlias = Mapping[str, Any]

T = TypeVar("T")
V = TypeVar("V", covariant=True)  # the value that a grammar returns
C = TypeVar("C", contravariant=True)  # the context that a reader needs besides the node


@dataclass(frozen=True, slots=True)
class Grammar(Generic[V]):
    """How an argument or an option of a verb is written."""

    read: Callable[[Node], V]
    words: str  # its name in messages and in the table of verbs: `lines, or []`
    schema: Schema  # for editors

    def __call__(self, node: Node) -> V:
        """Read a value; raises Mistake."""
        return self.read(node)


def grammar(words: str, schema: Schema) -> Callable[[Callable[[Node], T]], Grammar[T]]:
    """A decorator that makes a reader a Grammar."""
    return lambda read: Grammar(read, words, schema)


def constant(word: str) -> Grammar[str]:
    """The grammar of a value that can only be this word."""

    def read(node: Node) -> str:
        if node.value != word:
            raise node.fault(f"the only value here is `{word}`; write it, or leave the key out")
        return word

    return Grammar(read, f"`{word}`", {"const": word})


@dataclass(frozen=True, slots=True)
class Key(Generic[C]):
    """One key of a mapping."""

    read: Callable[[Node, C], object]
    schema: Schema
    meaning: str = ""  # which editors show
    required: bool = False


Keys: TypeAlias = Mapping[str, Key[C]]


def no_context(reader: Callable[[Node], T]) -> Callable[[Node, object], T]:
    """The reader of a Key, from one that needs no context."""
    return lambda node, _: reader(node)


def words(name: str) -> Callable[[Node, object], str]:
    """A reader of one line of text, which is not blank; `name` is the key, for messages."""
    return lambda node, _: node.words(f"`{name}`")


def record(node: Node, what: str, keys: Keys[C], context: C) -> dict[str, Any]:
    """The values of a mapping by key; raises Mistake with all problems in it."""
    problems = Problems()
    values = partial_record(node, what, keys, context, problems)
    problems.report()
    return values


def partial_record(
    node: Node, what: str, keys: Keys[C], context: C, problems: Problems
) -> dict[str, Any]:
    """The valid values of a mapping by key; problems with the others are added to `problems`."""
    entries = node.mapping(what)
    with problems.gathered():
        node.allow(keys, what)
    for name, key in keys.items():
        if key.required and name not in entries:
            problems.add(node.fault(f"{what} needs `{name}`"))
    values = {}
    for name, key in keys.items():
        if name in entries:
            with problems.gathered():
                values[name] = key.read(entries[name], context)
    return values


# --- JSON Schema ---


def described(schema: Schema, meaning: str) -> Schema:
    """The schema with a description; a `$ref` is wrapped, since its siblings would be ignored."""
    if not meaning:
        return schema
    return {"description": meaning, **({"allOf": [schema]} if "$ref" in schema else schema)}


def reference(name: str) -> Schema:
    """A reference to a definition of the same document."""
    return {"$ref": f"#/definitions/{name}"}


def mapping_schema(properties: Mapping[str, Schema], **more: object) -> Schema:
    """The schema of a mapping with these keys and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        **more,
        "additionalProperties": False,
    }


def record_schema(keys: Keys[Any]) -> Schema:
    """The schema of a mapping that `record` reads with these keys."""
    required = [name for name, key in keys.items() if key.required]
    properties = {name: described(key.schema, key.meaning) for name, key in keys.items()}
    return mapping_schema(properties, **({"required": required} if required else {}))


TEXT: Schema = {"type": "string"}


def list_of(schema: Schema, **more: object) -> Schema:
    """The schema of a list of such values."""
    return {"type": "array", "items": schema, **more}
