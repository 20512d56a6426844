"""JSON Schemas of the files, for editors, and the table of the verbs, for docs/scenarios.md.

Both are made from the table of verbs and from the keys of the readers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path

from conformance.mistakes import Mistake
from conformance.model import PEERS, PROGRAMS
from conformance.read import dialogues, grammar, lines, manifest, scenario, suite
from conformance.read.keys import Schema, described, list_of, record_schema, reference
from conformance.read.verbs import ALL, ON_SCREEN, SCRIPTED, VERBS, WIRE, Option, Verb

# --- JSON Schemas ---


def documents() -> dict[str, Schema]:
    """The schema of each kind of file, by name."""
    return {
        "implementation": _document(
            "An implementation",
            "implementation.yaml: how to build and run a program, and what it implements.",
            record_schema(manifest.KEYS),
            manifest.DEFINITIONS,
        ),
        "suite": _document(
            "A conformance suite",
            "suite.yaml: all that is specific to one protocol.",
            record_schema(suite.KEYS),
            suite.DEFINITIONS,
        ),
        "scenarios": _document(
            "Scenarios of a conformance suite",
            "A list of scenarios on one subject. `conformance check` finds mistakes that this "
            "schema cannot describe.",
            list_of(reference("scenario"), minItems=1),
            {
                **scenario.DEFINITIONS,
                "step": _STEP,
                "call": {"anyOf": [reference("bare"), reference("verb")]},
                "bare": _bare(),
                "verb": _verb(),
                **lines.DEFINITIONS,
                **grammar.DEFINITIONS,
            },
        ),
    }


def write(folder: Path) -> list[Path]:
    """Write the schemas into a folder, which is made if needed; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, document in documents().items():
        written.append(folder / f"{name}.json")
        written[-1].write_text(as_text(document), "utf-8")
    return written


def as_text(document: Schema) -> str:
    """The content of a schema's file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _document(
    title: str, meaning: str, schema: Schema, definitions: Mapping[str, Schema]
) -> Schema:
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": title,
        "description": meaning,
        **schema,
        "definitions": dict(definitions),
    }


_STEP: Schema = {
    "type": "object",
    "description": "An actor and what it does or sees: `ann: {types: hello}`. Several actors are "
    "named as `ann, tom`, `everyone`, `everyone in GROUP`, `everyone in GROUP but ann`, `everyone "
    "outside GROUP`.",
    "properties": dialogues.SCHEMAS,
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": reference("call"),
}


def _bare() -> Schema:
    """The schema of a verb without argument and options: `server: starts`."""
    alone = [verb.name for verb in VERBS.values() if not (verb.argument and verb.argument_required)]
    own = {
        "type": "string",
        "pattern": r"^([a-z_]+|\{[a-z_]+\})$",
        "description": "A verb of the suite, or a placeholder for a verb.",
    }
    return {"anyOf": [{"enum": alone}, own]}


def _verb() -> Schema:
    options = {name: option for one in VERBS.values() for name, option in one.all_options.items()}
    return {
        "type": "object",
        "description": "One verb with its argument, and its options; unknown keys are verbs of "
        "the suite.",
        "properties": {
            **{one.name: described(_argument(one), one.meaning) for one in VERBS.values()},
            **{name: _option(option) for name, option in options.items()},
        },
        "dependencies": {
            one.name: {"propertyNames": {"enum": [one.name, *one.all_options]}}
            for one in VERBS.values()
        },
        "additionalProperties": {"type": ["string", "null"]},
        "minProperties": 1,
    }


def _argument(one: Verb) -> Schema:
    if one.argument is None:
        return {"type": "null"}
    schema = one.argument.schema
    return schema if one.argument_required else {"anyOf": [schema, {"type": "null"}]}


def _option(option: Option) -> Schema:
    return described(option.value.schema, option.meaning)


# --- The table of the verbs ---

HEADER = ["| verb | for | argument | options | meaning |", "|---|---|---|---|---|"]

_ACTORS = {ALL: "all", PROGRAMS: "programs", PEERS: "connections", WIRE: "wire"}
_ACTORS |= {SCRIPTED: "scripted"}


def table() -> list[str]:
    """The lines of the table, in Markdown."""
    return [*HEADER, *map(_row, VERBS.values())]


def _row(one: Verb) -> str:
    actors = "on a screen" if one.media == ON_SCREEN else _ACTORS[one.kinds]
    argument = one.argument.words if one.argument else ""
    options = ", ".join(f"`{name}`" for name in one.options)
    cells = (f"`{one.name}`", actors, argument, options, one.meaning)
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def rewrite_table(page: Path) -> None:
    """Replace the table of verbs in a Markdown page; raises Mistake if it has none."""
    try:
        text = page.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise Mistake([f"{page}: not UTF-8; save the file as UTF-8"]) from None
    if HEADER[0] not in text:
        raise Mistake([f"{page}: no table of verbs; put `{HEADER[0]}` where it belongs"])
    start = text.index(HEADER[0])
    old = list(takewhile(lambda line: line.startswith("|"), text[start:]))
    text[start : start + len(old)] = table()
    page.write_text("\n".join(text) + "\n", "utf-8")
