"""suite.yaml: what is particular to one protocol, so that no other module has to know it.

The package itself knows programs, terminals, connections, lines and steps. The rules of the
protocol, the options of its programs, its own verbs and its fence stand in the suite's folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from conformance.mistakes import Fault, Place, Problems, meant
from conformance.model import ActorKind, Program, Requirement, Role, Suite
from conformance.read.command_line import (
    OPTION_SCHEMA,
    Options,
    check_option,
    options,
    program_arguments,
)
from conformance.read.fences import Fence, Witness
from conformance.read.keys import (
    TEXT,
    Key,
    Keys,
    Schema,
    alone,
    list_of,
    mapping_schema,
    record,
    record_schema,
    reference,
    words,
)
from conformance.read.protocol import ordered, requirements
from conformance.read.ready import READY_SCHEMA, ready
from conformance.read.yaml_tree import Node, read
from conformance.text import places

SUITE_FILE = "suite.yaml"

_ERRORS = ("free", "accounted")
_MOST_LINE_END = 8  # characters


@dataclass(frozen=True, slots=True)
class Shorthand:
    """A verb of the suite's own: it stands for steps, which are filled in where it is used."""

    name: str
    argument: str | None  # the placeholder that its argument fills; None: it takes none
    steps: Mapping[str, list[Node]]  # by the actor's kind; "": for every kind
    place: Place


@dataclass(frozen=True, slots=True)
class SuiteFile(Suite):
    """A suite, with what is needed to read its scenarios: its verbs, a fence, an ending."""

    unmatched: list[Node]  # patterns of implementations' folders that name none
    shorthands: Mapping[str, Shorthand]
    fence: Fence | None
    ending: list[Node]  # played where a scenario leaves the server running
    probe_nodes: Mapping[Role, Mapping[str, Node]]  # where each probe stands


def known_features(suite: Suite) -> frozenset[str]:
    """The features that some rule of the protocol text is marked with."""
    return frozenset(rule.feature for rule in suite.requirements.values() if rule.feature)


def load_suite(folder: Path) -> SuiteFile:
    """The suite in a folder; raises Mistake."""
    path = folder / SUITE_FILE
    if not path.is_file():
        remedy = f"a suite is a folder with a {SUITE_FILE} in it"
        raise Fault(Place(str(path), 1), f"no such file; {remedy}")
    root = read(path)
    parts = record(root, "a suite", KEYS, folder)
    _check_rules(root, parts["protocol"])
    patterns: list[tuple[Node, list[Path]]] = parts.get("implementations", [])
    nodes: dict[Role, dict[str, Node]] = parts.get("probes", {})
    return SuiteFile(
        folder=folder,
        name=parts["name"],
        requirements=ordered(parts["protocol"], parts.get("order", [])),
        implementation_folders=sorted({path for _, found in patterns for path in found}),
        unmatched=[node for node, found in patterns if not found],
        programs=parts["programs"],
        shorthands=parts.get("verbs", {}),
        fence=parts.get("fence"),
        ending=parts.get("ending", []),
        probes={
            role: {feature: str(node.value) for feature, node in some.items()}
            for role, some in nodes.items()
        },
        probe_nodes=nodes,
        line_end=parts.get("line_end", "\n"),
    )


def _check_rules(root: Node, rules: Mapping[str, Requirement]) -> None:
    """Raise Mistake where `proves` in `programs` or `fence` names no rule of the text."""
    sections = root.mapping("a suite")
    nodes = [*sections["programs"].mapping("`programs`").values()]
    nodes += [sections["fence"]] if "fence" in sections else []
    problems = Problems()
    for node in nodes:
        for key, entry in node.mapping("a section").items():
            if key in ("proves", "alone_proves") and entry.value not in rules:
                message = f"no such rule `{entry.value}`; {meant(str(entry.value), rules)}"
                problems.add(entry.fault(message))
    problems.report()


# --- Implementations ---


def _patterns(node: Node, folder: Path) -> list[tuple[Node, list[Path]]]:
    """Patterns such as `../servers/*`, and the folders with a manifest that each of them names."""
    return [(entry, _folders(folder, entry)) for entry in node.items("`implementations`")]


def _folders(folder: Path, node: Node) -> list[Path]:
    base, pattern = folder, node.text("a folder")
    while pattern.startswith("../"):
        base, pattern = base.resolve().parent, pattern.removeprefix("../")
    try:
        folders = sorted(base.glob(pattern))
    except (ValueError, NotImplementedError, IndexError, OSError):
        remedy = "give folders from this file's own on, such as `../servers/*`"
        raise node.fault(f"`{pattern}` names no folders; {remedy}") from None
    for path in folders:
        if (path / "implementation.yml").is_file():
            raise Fault(Place(str(path / "implementation.yml"), 1), "call it `.yaml`")
    return [path for path in folders if (path / "implementation.yaml").is_file()]


# --- Lines ---


def _line_end(node: Node) -> str:
    end = node.text("`line_end`")
    if not 0 < len(end) <= _MOST_LINE_END:
        raise node.fault('a line ends in a few characters; write them in quotes, such as "\\r\\n"')
    return end


# --- Programs ---


def _takes(node: Node) -> frozenset[str]:
    """`[max-clients, quiet]`: the options that scenarios may give."""
    for entry in node.items("`takes`"):
        check_option(entry.text("an option"), entry.place)
    return frozenset(node.texts("an option"))


def _errors(node: Node) -> str:
    word = node.text("`errors`")
    if word not in _ERRORS:
        raise node.fault(f"no such way to treat standard error: `{word}`; {meant(word, _ERRORS)}")
    return word


PROGRAM_KEYS: Keys[object] = {
    "arguments": Key(
        alone(program_arguments),
        TEXT,
        "The end of its command line; `{host}`, `{port}` and, for a client, `{name}` are filled "
        "in.",
    ),
    "options": Key(
        alone(options),
        {"$ref": "scenarios.json#/definitions/options"},
        "Options that it is given unless a step says otherwise.",
    ),
    "ready": Key(
        alone(ready),
        READY_SCHEMA,
        "What a server prints first, once it can be connected to, `Listening on {host}:{port}`; or "
        "a mapping that says how to know the line among others.",
    ),
    "proves": Key(
        lambda node, _: node.text("`proves`"),
        TEXT,
        "The rule that a program breaks that does not get ready.",
    ),
    "errors": Key(
        alone(_errors),
        {"enum": list(_ERRORS)},
        "Whether a line on standard error that no step names is a failure.",
    ),
    "takes": Key(
        alone(_takes),
        list_of(OPTION_SCHEMA),
        "The options that scenarios may give, without their dashes; left out: any.",
    ),
}


def _program(node: Node, _: object) -> Program:
    program = Program(**record(node, "a program", PROGRAM_KEYS, None))
    if isinstance(program.options, Options):
        program.options.check(program.takes)
    return program


_PROGRAMS: Keys[object] = {str(role): Key(_program, reference("program")) for role in Role}


def _programs(node: Node) -> dict[Role, Program]:
    programs = record(node, "`programs`", _PROGRAMS, None)
    return {Role(role): program for role, program in programs.items()}


# --- Verbs of the suite's own ---


def _parameter(node: Node) -> str:
    name = node.text("`argument`")
    if places(f"{{{name}}}") != [name] or name == "actor":
        remedy = "use lower-case letters and `_`, and not `actor`"
        raise node.fault(f"`{name}` cannot be a placeholder; {remedy}")
    return name


def _steps_by_kind(node: Node) -> dict[str, list[Node]]:
    if not node.is_mapping:
        return {"": _some_steps(node)}
    node.allow(map(str, ActorKind), "steps by the actor's kind")
    if not node.value:
        raise node.fault("no steps; name some")
    return {kind: _some_steps(entry) for kind, entry in node.mapping("`steps`").items()}


def _some_steps(node: Node) -> list[Node]:
    if not node.items("steps"):
        raise node.fault("no steps; name some, or leave the key out")
    return node.items("steps")


STEPS = reference("steps")
_DOING: Schema = {"$ref": "scenarios.json#/definitions/doing"}

SHORTHAND_KEYS: Keys[object] = {
    "meaning": Key(words("meaning"), TEXT, "What it says of the actor, for people."),
    "argument": Key(
        alone(_parameter),
        TEXT,
        "The placeholder that its argument fills; left out: it takes none.",
    ),
    "steps": Key(
        alone(_steps_by_kind),
        {"anyOf": [STEPS, mapping_schema(dict.fromkeys(map(str, ActorKind), STEPS))]},
        "The steps, or steps by the actor's kind.",
        needed=True,
    ),
}


def _shorthands(node: Node) -> dict[str, Shorthand]:
    problems = Problems()
    found = {}
    for name, entry in node.mapping("`verbs`").items():
        with problems.gathered():
            parts = record(entry, f"the verb `{name}`", SHORTHAND_KEYS, None)
            found[name] = Shorthand(name, parts.get("argument"), parts["steps"], entry.place)
    problems.report()
    return found


# --- The fence, and the probes ---


def _rule(key: str, meaning: str) -> Key[object]:
    return Key(words(key), TEXT, meaning)


def _lines(key: str, meaning: str) -> Key[object]:
    return Key(alone(partial(_some_lines, key)), {"anyOf": [TEXT, list_of(TEXT)]}, meaning)


def _some_lines(key: str, node: Node) -> tuple[str, ...]:
    """One line with something in it, or a list of lines."""
    if not isinstance(node.value, list):
        return (node.words(f"`{key}`"),)
    if not node.value:
        raise node.fault(f"`{key}` names no line; write one, or leave the key out")
    return tuple(entry.text(f"`{key}`") for entry in node.value)


_PAIRS = (("types", "others_see"), ("alone_types", "alone_sees"))  # what is said, and seen of it


_WITNESS_KEYS: Keys[object] = {
    "comes": Key(lambda node, _: node, _DOING, "What it does to come, such as `joins`.", True),
    "goes": Key(lambda node, _: node, _DOING, "What it does to go, such as `quits`.", True),
}


def _witness(node: Node) -> Witness:
    return Witness(**record(node, "a witness", _WITNESS_KEYS, None))


FENCE_KEYS: Keys[object] = {
    "group": Key(words("group"), TEXT, needed=True),
    "types": _lines(
        "types",
        "What one in the group says to all others; left out, with `others_see`: nothing is passed "
        "on, and each in the group asks by itself.",
    ),
    "others_see": _lines("others_see", "What the others see of it."),
    "alone_types": _lines("alone_types", "What an actor that is alone in the group asks."),
    "alone_sees": _lines("alone_sees", "The answer to it."),
    "witness": Key(
        alone(_witness),
        record_schema(_WITNESS_KEYS),
        "Where nothing is answered to one that is alone: how another connection comes into the "
        "group for a fence, and goes again.",
    ),
    "proves": _rule("proves", "The rule that is broken where its line does not reach the others."),
    "alone_proves": _rule(
        "alone_proves", "The rule that is broken where one that is alone gets no answer."
    ),
}


def _fence(node: Node) -> Fence:
    parts = record(node, "a fence", FENCE_KEYS, None)
    for pair in _PAIRS:
        if len([key for key in pair if key in parts]) == 1:
            raise node.fault(f"a fence has both, or neither: `{'` and `'.join(pair)}`")
    if "witness" in parts and "types" not in parts:
        raise node.fault("a `witness` sees what others say: a fence with one needs `types`")
    if ("alone_types" in parts) == ("witness" in parts):
        remedy = "`alone_types` and `alone_sees`, or `witness: {comes: …, goes: …}`"
        raise node.fault(f"a fence says what is done where one is alone in the group: {remedy}")
    return Fence(**parts)


def _probes(node: Node) -> dict[Role, dict[str, Node]]:
    """`{server: {log: log/a-scenario}}`; the names are checked when the scenarios are read."""
    node.allow(map(str, Role), "`probes`")
    return {
        Role(role): dict(entry.mapping("scenarios by feature"))
        for role, entry in node.mapping("`probes`").items()
    }


# --- The whole ---

KEYS: Keys[Path] = {
    "name": Key(words("name"), TEXT, needed=True),
    "protocol": Key(
        requirements,
        TEXT,
        "The text with the rules, from this folder on; a rule is a line `- NAME-1 (MUST) text`.",
        needed=True,
    ),
    "order": Key(
        lambda node, _: node.items("`order`"),
        list_of(TEXT),
        "The order in which one builds a program: sections of the text (`JOIN`), or single rules "
        "(`PROG-3`). Those that are not named come after them, in the order of the text.",
    ),
    "line_end": Key(
        alone(_line_end),
        {"type": "string", "minLength": 1, "maxLength": _MOST_LINE_END},
        'What each line ends in that goes over a connection, both ways; left out: "\\n". What '
        'programs print ends in "\\n" in any case.',
    ),
    "implementations": Key(
        _patterns, list_of(TEXT), "Folders that hold implementations, such as `../servers/*`."
    ),
    "programs": Key(
        alone(_programs),
        record_schema(_PROGRAMS),
        "How the programs of each role are called, unless their manifests say otherwise.",
        needed=True,
    ),
    "verbs": Key(
        alone(_shorthands),
        {"type": "object", "additionalProperties": reference("shorthand")},
        "Verbs of this suite's own: each stands for steps.",
    ),
    "fence": Key(
        alone(_fence),
        reference("fence"),
        "How to prove that nothing else has come: what one in the group says, and what the others "
        "see of it.",
    ),
    "probes": Key(
        alone(_probes),
        mapping_schema(dict.fromkeys(map(str, Role), reference("probes"))),
        "By role and feature: the scenario that must fail where a manifest does not list the "
        "feature.",
    ),
    "ending": Key(
        alone(_some_steps),
        STEPS,
        "Steps that are played where a scenario leaves the server running.",
    ),
}

DEFINITIONS: dict[str, Schema] = {
    "program": record_schema(PROGRAM_KEYS),
    "shorthand": record_schema(SHORTHAND_KEYS),
    "fence": record_schema(FENCE_KEYS),
    "probes": {"type": "object", "additionalProperties": TEXT},
    "steps": list_of({"$ref": "scenarios.json#/definitions/step"}),
}
